"""Exact search for machines that leave the loops free.

Three steps, each cheaper than what it saves:

1. every candidate (:mod:`qmc.candidates`) is bounded by what must move at least;
2. the promising ones get the optimum of a relaxed problem (:mod:`qmc.relaxation`), many spreads at
   once first;
3. those that could still hold the best mapping are descended into (:mod:`qmc.descent`), with a
   limit just above the best relaxed value first, which is raised until a mapping is found.

All that is left out is bounded from below by the best mapping found, so it is the optimum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from qmc.branch_and_bound import VISITED, State
from qmc.candidates import FOREVER, Candidates, Currency, candidates
from qmc.chain_costs import words_of_tiles
from qmc.descent import PLACE, PLAN, descend, start
from qmc.lattice import (
    IRRELEVANT,
    Lattice,
    arriving_inputs,
    build_lattice,
    reduction_work,
    reuse,
    tile_volumes,
)
from qmc.mapspace import DIMS, MapSpace, loopable_dims
from qmc.nest_bounds import TIE, Choices
from qmc.nest_records import Floats, I, Ints, K, O, Problem, empty_nest
from qmc.relaxation import LANES, relax

#: Limits of the descents, above the best relaxed value; the last one is none.
_LIMITS = (1.01, 1.03, 1.1, 1.3, 2.0, 4.0, np.inf)
#: Priced levels between two looks at the clock.
_SLICE = 1 << 16
#: Batches of relaxed candidates that count as many steps of a search as this.
_BATCH_STEPS = 1 << 12
_WINDOW = np.array([dim.value in "PQRS" for dim in DIMS])
_IRRELEVANT = np.array([[dim in dims for dim in range(8)] for dims in IRRELEVANT], np.int64)
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
        found: all candidates.
        lattice: of the tiles. reuse, words, depth, looped, outer: see
            :func:`qmc.relaxation.relax`.
        chains, before, after: tables.
        groups: (spreads,) number of the group that a spread is relaxed with first.
        inside, seen: of spreads, by extents: nodes inside; inputs that arrive.
        relaxed: lower bounds of the candidates relaxed so far. of_group: of group and keep choice.
        descended: candidates with nothing left.
        winner: keep choice of the best mapping.
        steps, deadline: what is left of them.
    """

    space: MapSpace
    choices: Choices
    problem_of: Callable[[int], Problem]
    found: Candidates
    lattice: Lattice
    reuse: Floats
    words: Ints
    depth: Ints
    looped: Ints
    outer: Ints
    chains: Floats
    before: Floats
    after: Floats
    groups: Ints
    steps: int
    deadline: float | None
    inside: dict[tuple[int, ...], Ints] = field(default_factory=dict)
    seen: dict[tuple[int, ...], Floats] = field(default_factory=dict)
    relaxed: dict[_Candidate, _Keys] = field(default_factory=dict)
    of_group: dict[tuple[int, int], float] = field(default_factory=dict)
    descended: set[_Candidate] = field(default_factory=set)
    winner: int | None = None
    stats: dict[str, object] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        """Take some of the steps.

        Raises:
            _OutOfStepsError: none are left, or no time.
        """
        self.steps -= steps
        if self.steps < 0 or (self.deadline is not None and time.monotonic() >= self.deadline):
            raise _OutOfStepsError


def prepare(
    space: MapSpace,
    choices: Choices,
    problem_of: Callable[[int], Problem],
    objective: int,
    steps: int,
    deadline: float | None,
) -> LatticeSearch:
    """Lay out the search of a map space.

    Args:
        space, choices: the map space.
        problem_of: the problem under a keep choice, by number.
        objective: as in :mod:`qmc.branch_and_bound`.
        steps: limit of the search. deadline: on the monotonic clock.
    """
    memories = space.target.memories
    problem, count = problem_of(0), len(memories)
    lattice = build_lattice(space.bounds)
    table = reuse(lattice, problem)
    found = candidates(space, problem, table, objective)
    looped = np.zeros((count, 8), np.int64)
    for block in space.blocks:
        if block.axis is None:
            looped[block.level, list(loopable_dims(space, block))] = 1
    complete = (lattice.extents == lattice.bounds) | (looped[0] == 1)
    tables = (count, 4, lattice.nodes, LANES)
    stored = problem["stored_bits"][:count]
    return LatticeSearch(
        space=space,
        choices=choices,
        problem_of=problem_of,
        found=found,
        lattice=lattice,
        reuse=table,
        words=words_of_tiles(memories, tile_volumes(lattice, problem), stored),
        depth=problem["depth"][:count].copy(),
        looped=looped,
        outer=np.flatnonzero(complete.all(axis=1)),
        chains=np.empty((8, lattice.nodes, LANES)),
        before=np.empty(tables),
        after=np.empty(tables),
        groups=_groups(found),
        steps=steps,
        deadline=deadline,
    )


def _groups(found: Candidates) -> Ints:
    """Spreads that differ in the outermost fan-out alone, not in the number of its instances.

    Machines with one fan-out have too few spreads for groups to pay.
    """
    several = [at for at, level in enumerate(found.levels) if len(level) > 1]
    if len(several) < 2:
        return np.arange(len(found.picked))
    key = found.picked.copy()
    key[:, several[0]] = found.degrees.instances[:, several[0]]
    numbers: Ints = np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


def run(search: LatticeSearch, state: State) -> tuple[bool, float]:
    """Find the best mapping; it is left in ``state``, its keep choice in ``search.winner``.

    Returns:
        Whether nothing better is left, and a lower bound of the objective.
    """
    first, second = search.found.floors()
    order = np.lexsort((second, first))
    try:
        best = _relax_below(search, first[order], order, None)
        for limit in _LIMITS if best[0] > 0 else (np.inf,):
            cutoff = best[0] * limit, np.inf
            _relax_below(search, first[order], order, cutoff)
            state["best"] = cutoff
            for keys, at in sorted((keys, at) for at, keys in search.relaxed.items()):
                if _can_win(keys, state):
                    _descend(search, state, at)
            if np.isfinite(state["best"][1]):
                return True, float(state["best"][0])
    except _OutOfStepsError:
        if search.winner is None:
            state["best"] = np.inf
        return False, _lower_bound(search, first, order)
    return True, np.inf


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


def _relax_below(
    search: LatticeSearch, first: Floats, order: Ints, cutoff: _Keys | None
) -> _Keys:
    """Relax every candidate whose floor is below the cutoff; None: below the best relaxed keys.

    Args:
        search: the search.
        first: (spreads,) floors, ascending. order: the spreads.
        cutoff: keys.

    Returns:
        The best relaxed keys of those looked at.
    """
    best = (np.inf, np.inf)
    for floor, index in zip(first.tolist(), order.tolist(), strict=True):
        if floor > (best if cutoff is None else cutoff)[0]:
            break
        keys = list(zip(*(part.tolist() for part in search.found.keep_floors(index)), strict=True))
        ranked = sorted(
            keep
            for keep, value in enumerate(keys)
            if (index, keep) not in search.relaxed
            and value < (best if cutoff is None else cutoff)
        )
        ranked.sort(key=lambda keep: keys[keep])
        for at in range(0, len(ranked), LANES):
            limit = best if cutoff is None else cutoff
            lanes = [keep for keep in ranked[at : at + LANES] if keys[keep] < limit]
            lanes = _passing_group(search, index, lanes, limit)
            if not lanes:
                continue
            search.spend(_BATCH_STEPS)
            energy = _relax(search, [index], [(search.found.energy, keep) for keep in lanes])
            cycles = np.full(LANES, search.found.cycles[index])
            values = zip(*(part.tolist() for part in search.found.keys(index, energy, cycles)), strict=True)
            for keep, value in zip(lanes, values, strict=False):
                search.relaxed[index, keep] = max(value, keys[keep])
                best = min(best, search.relaxed[index, keep])
    return best


def _passing_group(
    search: LatticeSearch, index: int, keeps: list[int], limit: _Keys
) -> list[int]:
    """Those keep choices under which a spread's group, relaxed as one, stays below the limit."""
    group = int(search.groups[index])
    members = np.flatnonzero(search.groups == group)
    if len(members) == 1 or not keeps:
        return keeps
    missing = [keep for keep in keeps if (group, keep) not in search.of_group]
    if missing:
        search.spend(_BATCH_STEPS)
        lanes = [(search.found.energy, keep) for keep in missing]
        energy = _relax(search, members.tolist(), lanes)
        search.of_group.update(
            ((group, keep), float(value)) for keep, value in zip(missing, energy, strict=False)
        )
    passing = []
    for keep in keeps:
        energy = np.float64(search.of_group[group, keep])
        first, _ = search.found.keys(index, energy, search.found.cycles[index])
        if first <= limit[0] * (1 + TIE):
            passing.append(keep)
    return passing


def _relax(
    search: LatticeSearch, spreads: Sequence[int], lanes: Sequence[tuple[Currency, int]]
) -> Floats:
    """(LANES,) least cost in up to LANES currencies and keep choices, constants included.

    Of several spreads everything that costs is taken from the cheapest, and all their ways are
    allowed: no one of them costs less.
    """
    found, count = search.found, len(search.found.levels)
    pays = np.zeros((count, 4, LANES))
    once = np.zeros((count, 3, LANES))
    kept = np.zeros((count, LANES, 3), np.int64)
    constant = np.zeros(LANES)
    work = reduction_work(search.space.bounds)
    through = _through(found, spreads[0], lanes[0][1])
    for lane in range(LANES):
        currency, keep = lanes[min(lane, len(lanes) - 1)]
        total = np.zeros(len(spreads))
        for x in range(3):
            way = found.way(currency, x, keep)
            held = found.kept_in(x, keep)
            pays[:, x, lane] = way.pays[spreads].min(axis=0)
            total += way.later[spreads, 0]
            kept[list(held), lane, x] = 1
            for level, deeper in pairwise(held):
                once[level, x, lane] = way.once[spreads, deeper].min()
        constant[lane] = total.min()
        same = (_through(found, spreads[0], keep) == through) & (through >= 0)
        pays[same, 3, lane], pays[same, I, lane] = pays[same, I, lane], 0.0
        innermost = found.kept_in(O, keep)[-1]
        if work > found.degrees.shared[spreads, innermost:, O].prod(axis=1).max():
            kept[innermost, lane, O] = 2
    inside, begins, _ = _ways(search, spreads)
    lattice = search.lattice
    least = relax(
        count,
        pays,
        once,
        kept,
        search.words,
        search.depth,
        inside,
        begins,
        _reuse(search, spreads, through),
        search.looped,
        search.outer,
        lattice.extents[:, K].astype(np.float64),
        _IRRELEVANT,
        lattice.moves,
        lattice.stride,
        lattice.radix,
        search.chains,
        search.before,
        search.after,
    )
    total_cost: Floats = least + constant
    return total_cost


def _through(found: Candidates, spread: int, keep: int) -> Ints:
    """(levels,): the one fan-out in use between a level and the next holder of I; -1 for others."""
    through = np.full(len(found.levels), -1)
    held = found.kept_in(I, keep)
    for level in range(len(found.levels)):
        inner = min((h for h in held if h > level), default=level)
        used = [at for at in range(level, inner) if found.degrees.instances[spread, at] > 1]
        if len(used) == 1:
            through[level] = used[0]
    return through


def _factors(search: LatticeSearch, spreads: Sequence[int], level: int) -> list[Ints]:
    """(2, 8) extents along x and y of all ways over the fan-out of a level."""
    chosen = dict.fromkeys(search.found.picked[spreads, level].tolist())
    return [way for each in chosen for way in search.found.levels[level][each].factors]


def _reuse(search: LatticeSearch, spreads: Sequence[int], through: Ints) -> Floats:
    """(3 + levels, nodes): of W, I, O, and of I as seen from every level through a fan-out."""
    table = np.empty((3 + len(through), search.lattice.nodes))
    table[:3] = search.reuse
    table[3:] = search.reuse[I]
    for level, at in enumerate(through.tolist()):
        if at >= 0:
            seen = [_seen(search, way) for way in _factors(search, spreads, at)]
            table[3 + level] = np.clip(np.min(seen, axis=0), search.reuse[I], FOREVER)
    return table


def _seen(search: LatticeSearch, factors: Ints) -> Floats:
    """Inputs that arrive per multiply-accumulate at tiles spread over instances."""
    spread = np.where(_WINDOW, factors, 1)
    key = tuple(spread.ravel().tolist())
    if key not in search.seen:
        search.seen[key] = arriving_inputs(search.lattice, search.problem_of(0), spread)
    return search.seen[key]


def _ways(search: LatticeSearch, spreads: Sequence[int]) -> tuple[Ints, Ints, Ints]:
    """The ways over all fan-outs: nodes inside, where each fan-out's begin, extents."""
    inside: list[Ints] = []
    begins = [0]
    extents: list[Ints] = []
    for level in range(len(search.found.levels)):
        for factors in _factors(search, spreads, level):
            both = tuple(factors.prod(axis=0).tolist())
            if both not in search.inside:
                search.inside[both] = search.lattice.inside(both)
            inside.append(search.inside[both])
            extents.append(factors)
        begins.append(len(inside))
    return np.stack(inside), np.array(begins), np.array(extents)


def _descend(search: LatticeSearch, state: State, candidate: _Candidate) -> None:
    """Search one candidate whole; first the ports, which the relaxed value left out."""
    index, keep = candidate
    found = search.found

    def least(port: Currency) -> float:
        return float(sum(port.least[x][found.held[x, keep], index] for x in range(3)))

    ports = sorted(found.ports, key=least, reverse=True)[: LANES - 1]
    lanes = [(found.energy, keep), *((port, keep) for port in ports)]
    energy, *busy = _relax(search, [index], lanes)[: len(lanes)]
    search.spend(_BATCH_STEPS)
    cycles = max([found.cycles[index], *np.ceil(np.array(busy) * (1 - 4 * TIE))])
    first, second = found.keys(index, energy, cycles)
    search.relaxed[candidate] = max(search.relaxed[candidate], (float(first), float(second)))
    if not _can_win(search.relaxed[candidate], state):
        return
    plan = _plan(search, candidate, lanes)
    through = _through(found, index, keep)
    table = _reuse(search, [index], through)
    lattice, problem = search.lattice, search.problem_of(keep)
    nest, place = empty_nest(problem["bounds"]), np.zeros(1, PLACE)[0]
    _, _, extents = _ways(search, [index])
    before = tuple(state["best"])
    shape = lattice.subs, lattice.sub_counts, lattice.stride
    tables = table, table * lattice.extents[:, K], extents, search.before, search.after
    start(
        *(problem, plan, nest, state, place, found.objective),
        *(lattice.stride, table, lattice.radix, search.after),
    )
    finished = False
    while not finished:
        visited = int(state["counts"][VISITED])
        finished = descend(
            *(problem, search.choices, plan, nest, state, place, found.objective),
            *(*shape, *tables, _SLICE),
        )
        if tuple(state["best"]) < before:
            search.winner = keep
        search.spend(int(state["counts"][VISITED]) - visited)
    search.descended.add(candidate)


def _plan(
    search: LatticeSearch, candidate: _Candidate, lanes: Sequence[tuple[Currency, int]]
) -> np.ndarray:
    """What :func:`qmc.descent.descend` needs of a candidate."""
    index, keep = candidate
    found, count = search.found, len(search.found.levels)
    plan = np.zeros(1, PLAN)[0]
    for lane, (currency, _) in enumerate(lanes):
        for x in range(3):
            way = found.way(currency, x, keep)
            plan["pays"][lane, :count, x] = way.pays[index]
            plan["fills"][lane, :count, x] = way.fills[index]
            plan["later"][lane, : count + 1] += way.later[index]
        if currency.port is not None:
            plan["ports"][lane - 1] = currency.port
    plan["port_count"] = len(lanes) - 1
    plan["rows"][:count] = np.arange(3)
    through = _through(found, index, keep)
    plan["rows"][:count, I] = np.where(through >= 0, 3 + np.arange(count), I)
    plan["idle"], plan["compute"] = found.idle[index], found.cycles[index]
    _, begins, _ = _ways(search, [index])
    plan["ways"][: count + 1] = begins
    result: np.ndarray = plan
    return result
