"""Exact search for machines that leave the loops free.

Three steps, each cheaper than what it saves:

1. every candidate (:mod:`qmc.candidates`) is bounded by what must move at least;
2. the promising ones get the optimum of a relaxed problem (:mod:`qmc.relaxation`);
3. those that could still hold the best mapping are descended into (:mod:`qmc.descent`), with a
   limit just above the best relaxed value first, which is raised until a mapping is found.

All that is left out is bounded from below by the best mapping found, so it is the optimum.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import prod

import numpy as np

from qmc.branch_and_bound import LATENCY, VISITED, State
from qmc.candidate_tables import CandidateTables, candidate_tables, plan_of, relaxed
from qmc.candidates import Candidates, Currency, candidates
from qmc.descent import descend, descent
from qmc.descent_bounds import CURRENCIES
from qmc.layer import Operand
from qmc.mapspace import MapSpace, divisors
from qmc.nest_bounds import TIE, Choices
from qmc.nest_records import Floats, Ints, Problem
from qmc.spatial_choices import Spread, count_pairs, spreads

#: Limits of the descents, above the best relaxed value; the last one is none.
_LIMITS = (1.03, 1.2, 1.6, 4.0, np.inf)
#: Bytes of tables; pairs of spreads along x and along y of a fan-out; spreads over all fan-outs
#: times sets of memories that keep an operand: beyond these, other methods are better.
_LARGEST_TABLES, _MOST_PAIRS, _MOST_WAYS = 800 << 20, 50_000, 1 << 19
#: Priced levels between two looks at the clock.
_SLICE = 1 << 16
#: A relaxed candidate counts as many steps of a search as this.
_RELAXED_STEPS = 1 << 9
#: Steps to look for a mapping when all others are used up.
_LAST_STEPS = 1 << 20
#: Candidates: spread and keep choice.
_Candidate = tuple[int, int]
_Keys = tuple[float, float]


class _OutOfStepsError(Exception):
    """The search was given no more steps or time."""


@dataclass(slots=True)
class LatticeSearch:
    """One search.

    Attributes:
        space, choices: as in :mod:`qmc.search`.
        problem_of: the problem under a keep choice.
        tables: all candidates and what is known of their tiles.
        relaxed: lower bounds of the candidates relaxed so far.
        bounded: those whose bound knows the ports. tabled: the candidate that the tables are of.
        descended: candidates with nothing left.
        winner: keep choice of the best mapping.
        steps, deadline: what is left of them.
    """

    space: MapSpace
    choices: Choices
    problem_of: Callable[[int], Problem]
    tables: CandidateTables
    steps: int
    deadline: float | None
    relaxed: dict[_Candidate, _Keys] = field(default_factory=dict)
    bounded: set[_Candidate] = field(default_factory=set)
    tabled: _Candidate | None = None
    descended: set[_Candidate] = field(default_factory=set)
    winner: int | None = None

    @property
    def found(self) -> Candidates:
        """All candidates."""
        return self.tables.found

    def cut(self) -> dict[str, int]:
        """Candidates that were ruled out by what must move at least, and by the relaxed problem."""
        total = len(self.found.picked) * len(self.space.keeps)
        return {
            "least traffic": total - len(self.relaxed),
            "relaxed problem": len(self.relaxed) - len(self.descended),
        }

    def spend(self, steps: int) -> None:
        """Take some of the steps.

        Raises:
            _OutOfStepsError: none are left, or no time.
        """
        self.steps -= steps
        if self.steps < 0 or (self.deadline is not None and time.monotonic() >= self.deadline):
            raise _OutOfStepsError


def practical_spreads(space: MapSpace) -> tuple[tuple[Spread, ...], ...] | None:
    """The spreads over each fan-out; None where the tables of the search would be too large."""
    levels = range(len(space.target.memories))
    nodes = prod(len(divisors(bound)) for bound in space.bounds)
    if nodes * CURRENCIES * 8 * (8 * len(levels) + 8) > _LARGEST_TABLES:
        return None
    if max(count_pairs(space, level) for level in levels) > _MOST_PAIRS:
        return None
    found = tuple(spreads(space, level) for level in levels)
    sets = max(2 ** sum(x not in m.keep | m.bypass for m in space.target.memories) for x in Operand)
    return found if prod(map(len, found)) * sets <= _MOST_WAYS else None


def prepare(
    space: MapSpace,
    levels: tuple[tuple[Spread, ...], ...],
    choices: Choices,
    problem_of: Callable[[int], Problem],
    objective: int,
    steps: int,
    deadline: float | None,
) -> LatticeSearch:
    """Lay out the search of a map space.

    Args:
        space: the layer on the machine.
        levels: see :func:`practical_spreads`.
        choices: what may be chosen in it.
        problem_of: the problem under a keep choice, by number.
        objective: as in :mod:`qmc.branch_and_bound`.
        steps: limit of the search.
        deadline: on the monotonic clock; None is none.
    """
    problem = problem_of(0)
    found = candidates(space, levels, problem, objective)
    return LatticeSearch(
        space=space,
        choices=choices,
        problem_of=problem_of,
        tables=candidate_tables(space, problem, found),
        steps=steps,
        deadline=deadline,
    )


def run(search: LatticeSearch, state: State) -> tuple[bool, float]:
    """Find the best mapping; it is left in ``state``, its keep choice in ``search.winner``.

    Returns:
        Whether nothing better is left, and a lower bound of the objective.
    """
    first, second = search.found.floors()
    order = np.lexsort((second, first))
    try:
        best = _relax_below(search, first[order], order, None)
        for cutoff in _cutoffs(best, search.found.objective):
            _relax_below(search, first[order], order, cutoff)
            state["best"] = cutoff
            _descend_all(search, state)
            if search.winner is not None:
                return True, float(state["best"][0])
    except _OutOfStepsError:
        bound = _lower_bound(search, first, order)
        if search.winner is None:
            _take_what_is_known(search, state)
        return False, bound
    return True, np.inf


def _cutoffs(best: _Keys, objective: int) -> list[_Keys]:
    """Limits of the descents, ascending; where most mappings are as fast, their energy first."""
    limits = [(best[0] * limit, np.inf) for limit in (_LIMITS if best[0] > 0 else (np.inf,))]
    if objective == LATENCY:
        limits = [(best[0], best[1] * limit) for limit in _LIMITS[:-1]] + limits
    return limits


def _take_what_is_known(search: LatticeSearch, state: State) -> None:
    """Look for a mapping among the candidates relaxed so far, with a few more steps."""
    search.steps = _LAST_STEPS
    least = min((keys[0] for keys in search.relaxed.values()), default=np.inf)
    for limit in _LIMITS if 0 < least < np.inf else ():
        state["best"] = least * limit, np.inf
        try:
            _descend_all(search, state)
        except _OutOfStepsError:
            break
        if search.winner is not None:
            return
    if search.winner is None:
        state["best"] = np.inf


def _descend_all(search: LatticeSearch, state: State) -> None:
    """Descend into every candidate that can win, the most promising first."""
    heap = [(keys, at) for at, keys in search.relaxed.items() if _can_win(keys, state)]
    heapify(heap)
    while heap:
        keys, at = heappop(heap)
        if not _can_win(keys, state):
            continue
        if at in search.bounded:
            _descend(search, state, at)
        else:
            _bound_ports(search, at)
            heappush(heap, (search.relaxed[at], at))


def _can_win(keys: _Keys, state: State) -> bool:
    first, second = (float(value) for value in state["best"])
    if first == np.inf:
        return keys[0] < np.inf
    return keys[0] < first * (1 - TIE) or (keys[0] <= first * (1 + TIE) and keys[1] < second)


def _lower_bound(search: LatticeSearch, first: Floats, order: Ints) -> float:
    """Least value that anything left can have."""
    keeps = len(search.space.keeps)
    left = [keys[0] for at, keys in search.relaxed.items() if at not in search.descended]
    relaxed = np.bincount([at[0] for at in search.relaxed], minlength=len(order))
    left += [float(first[index]) for index in order if relaxed[index] < keeps][:1]
    return min(left, default=np.inf)


def _relax_below(search: LatticeSearch, first: Floats, order: Ints, cutoff: _Keys | None) -> _Keys:
    """Relax every candidate whose floor is below the cutoff; None: below the best relaxed keys.

    Args:
        search: the search.
        first: (spreads,) floors, ascending.
        order: the spreads, likewise.
        cutoff: keys.

    Returns:
        The best relaxed keys of those looked at.
    """
    best = (np.inf, np.inf)
    for floor, index in zip(first.tolist(), order.tolist(), strict=True):
        if floor > (best if cutoff is None else cutoff)[0]:
            break
        keys = list(zip(*(part.tolist() for part in search.found.keep_floors(index)), strict=True))
        waiting = [
            keep
            for keep, value in enumerate(keys)
            if (index, keep) not in search.relaxed and value < (best if cutoff is None else cutoff)
        ]
        for keep in sorted(waiting, key=lambda keep: keys[keep]):
            if keys[keep] >= (best if cutoff is None else cutoff):
                break
            search.spend(_RELAXED_STEPS)
            energy = relaxed(search.tables, index, keep, search.found.energy)
            value = search.found.keys(index, energy, search.found.cycles[index])
            search.relaxed[index, keep] = max((float(value[0]), float(value[1])), keys[keep])
            best = min(best, search.relaxed[index, keep])
    return best


def _bound_ports(search: LatticeSearch, candidate: _Candidate) -> list[Currency]:
    """Relax a candidate's energy and its busiest ports, which its first bound left out.

    Returns:
        The currencies of the lanes of the tables.
    """
    index, keep = candidate
    found = search.found

    def least(port: Currency) -> float:
        return float(sum(port.least[x][found.held[x, keep], index] for x in range(3)))

    ports = sorted(found.ports, key=least, reverse=True)[: CURRENCIES - 1]
    currencies = [found.energy, *ports]
    if search.tabled != candidate:
        search.spend(_RELAXED_STEPS * len(currencies))
        search.tabled = None
        energy, *busy = (
            relaxed(search.tables, index, keep, currency, lane)
            for lane, currency in enumerate(currencies)
        )
        cycles = max([found.cycles[index], *np.ceil(np.array(busy) * (1 - 4 * TIE))])
        first, second = (float(key) for key in found.keys(index, energy, cycles))
        search.relaxed[candidate] = max(search.relaxed[candidate], (first, second))
        search.bounded.add(candidate)
        search.tabled = candidate
    return currencies


def _descend(search: LatticeSearch, state: State, candidate: _Candidate) -> None:
    """Search one candidate whole."""
    index, keep = candidate
    found = search.found
    currencies = _bound_ports(search, candidate)
    plan, tiles = plan_of(search.tables, index, keep, currencies)
    problem = search.problem_of(keep)
    d = descent(problem, search.choices, state, found.objective, plan, tiles)
    finished, best = False, tuple(state["best"])
    while not finished:
        visited = int(state["counts"][VISITED])
        finished = descend(d, _SLICE)
        if tuple(state["best"]) < best:
            search.winner = keep
        search.spend(int(state["counts"][VISITED]) - visited)
    search.descended.add(candidate)
