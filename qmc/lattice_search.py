"""Exact search for machines that leave the loops free.

Three steps, each cheaper than what it saves:

1. every candidate (:mod:`qmc.candidates`) is bounded by what must move at least;
2. the promising ones get the optimum of a relaxed problem (:mod:`qmc.relaxation`), eight
   at once;
3. those that could still hold the best mapping are descended into (:mod:`qmc.descent`), with a
   limit just above the best relaxed value first, which is raised until a mapping is found.

All that is left out is bounded from below by the best mapping found, so it is the optimum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import prod

import numpy as np

from qmc.branch_and_bound import VISITED, State
from qmc.candidates import FOREVER, Candidates, Currency, candidates
from qmc.chain_costs import words_of_tiles
from qmc.descent import PLACE, PLAN, Descent, Plan, Tiles, descend, start
from qmc.lattice import (
    IRRELEVANT,
    Lattice,
    arriving_inputs,
    build_lattice,
    reuse,
    tile_volumes,
)
from qmc.layer import Operand
from qmc.mapspace import DIMS, MapSpace, divisors, loopable_dims
from qmc.nest_bounds import TIE, Choices
from qmc.nest_records import Floats, I, Ints, K, O, Problem, empty_nest
from qmc.relaxation import LANES, Grid, Lanes, Memories, Tables, relax
from qmc.spatial_choices import Spread, count_pairs, spreads

#: Limits of the descents, above the best relaxed value; the last one is none.
_LIMITS = (1.03, 1.2, 1.6, 4.0, np.inf)
#: Bytes of tables; pairs of spreads along x and along y of a fan-out; spreads over all fan-outs
#: times sets of memories that keep an operand: beyond these, other methods are better.
_LARGEST_TABLES, _MOST_PAIRS, _MOST_WAYS = 800 << 20, 50_000, 1 << 19
#: Priced levels between two looks at the clock.
_SLICE = 1 << 16
#: Batches of relaxed candidates that count as many steps of a search as this.
_BATCH_STEPS = 1 << 12
#: Steps to look for a mapping when all others are used up.
_LAST_STEPS = 1 << 20
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
        lattice, reuse: of the tiles. slides: whether windows overlap or leave holes.
        memories, grid, tables: see :func:`qmc.relaxation.relax`.
        inside, seen: of spreads, by extents: nodes inside; inputs that arrive.
        through: see :func:`_through`.
        relaxed: lower bounds of the candidates relaxed so far.
        bounded: those whose bound knows the ports. tabled: the candidate that the tables are of.
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
    slides: bool
    memories: Memories
    grid: Grid
    tables: Tables
    steps: int
    deadline: float | None
    inside: dict[tuple[int, ...], Ints] = field(default_factory=dict)
    seen: dict[tuple[int, ...], Floats] = field(default_factory=dict)
    through: dict[tuple[bytes, int], Ints] = field(default_factory=dict)
    relaxed: dict[_Candidate, _Keys] = field(default_factory=dict)
    bounded: set[_Candidate] = field(default_factory=set)
    tabled: _Candidate | None = None
    descended: set[_Candidate] = field(default_factory=set)
    winner: int | None = None

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
    if nodes * LANES * 8 * (8 * len(levels) + 8) > _LARGEST_TABLES:
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
    memories = space.target.memories
    problem, count, layer = problem_of(0), len(memories), space.layer
    lattice = build_lattice(space.bounds)
    table = reuse(lattice, problem)
    found = candidates(space, levels, problem, table, objective)
    looped = np.zeros((count, 8), np.int64)
    for block in space.blocks:
        if block.axis is None:
            looped[block.level, list(loopable_dims(space, block))] = 1
    complete = (lattice.extents == lattice.bounds) | (looped[0] == 1)
    shape = (count, 4, lattice.nodes, LANES)
    stored = problem["stored_bits"][:count]
    return LatticeSearch(
        space=space,
        choices=choices,
        problem_of=problem_of,
        found=found,
        lattice=lattice,
        reuse=table,
        slides=layer.bounds.R * layer.bounds.S > 1 or layer.strides != (1, 1),
        memories=Memories(
            words=words_of_tiles(memories, tile_volumes(lattice, problem), stored),
            depth=problem["depth"][:count].copy(),
            looped=looped,
        ),
        grid=Grid(
            moves=lattice.moves,
            stride=lattice.stride,
            radix=lattice.radix,
            irrelevant=_IRRELEVANT,
            channels=lattice.extents[:, K].astype(np.float64),
            outer=np.flatnonzero(complete.all(axis=1)),
        ),
        tables=Tables(
            chains=np.empty((8, lattice.nodes, LANES)),
            before=np.empty(shape),
            after=np.empty(shape),
            ended=np.empty((lattice.nodes, LANES)),
        ),
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
        for limit in _LIMITS if best[0] > 0 else (np.inf,):
            cutoff = best[0] * limit, np.inf
            _relax_below(search, first[order], order, cutoff)
            state["best"] = cutoff
            _descend_all(search, state)
            if np.isfinite(state["best"][1]):
                return True, float(state["best"][0])
    except _OutOfStepsError:
        bound = _lower_bound(search, first, order)
        if search.winner is None:
            _take_what_is_known(search, state)
        return False, bound
    return True, np.inf


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
        ranked = sorted(
            keep
            for keep, value in enumerate(keys)
            if (index, keep) not in search.relaxed and value < (best if cutoff is None else cutoff)
        )
        ranked.sort(key=lambda keep: keys[keep])
        for at in range(0, len(ranked), LANES):
            limit = best if cutoff is None else cutoff
            lanes = [keep for keep in ranked[at : at + LANES] if keys[keep] < limit]
            if not lanes:
                break
            search.spend(_BATCH_STEPS)
            energy = _relax(search, index, [search.found.energy], lanes)
            cycles = np.full(LANES, search.found.cycles[index])
            values = zip(
                *(part.tolist() for part in search.found.keys(index, energy, cycles)), strict=True
            )
            for keep, value in zip(lanes, values, strict=False):
                search.relaxed[index, keep] = max(value, keys[keep])
                best = min(best, search.relaxed[index, keep])
    return best


def _relax(
    search: LatticeSearch, index: int, currencies: Sequence[Currency], keeps: Sequence[int]
) -> Floats:
    """(LANES,) least cost of one spread, constants included.

    Args:
        search: the search.
        index: the spread.
        currencies: one for all keep choices, or several for one keep choice.
        keeps: up to LANES, likewise.
    """
    found, count = search.found, len(search.found.levels)
    lanes = max(len(currencies), len(keeps))
    lane_of = np.minimum(np.arange(LANES), lanes - 1)
    chosen = np.asarray(keeps)[np.minimum(lane_of, len(keeps) - 1)]
    pays = np.zeros((count, 4, LANES))
    once = np.zeros((count, 3, LANES))
    kept = np.zeros((count, LANES, 3), np.int64)
    constant = np.zeros(LANES)
    for x in range(3):
        held = found.held[x, chosen]
        kept[:, :, x] = found.kept[x][held].T
        if len(currencies) == 1:
            way = currencies[0].ways[x]
            pays[:, x] = way.pays[held, index].T
            once[:, x] = way.once[held, index].T
            constant += way.later[held, index, 0]
        else:
            for lane, at in enumerate(lane_of):
                way = currencies[at].ways[x]
                pays[:, x, lane] = way.pays[held[lane], index]
                once[:, x, lane] = way.once[held[lane], index]
                constant[lane] += way.later[held[lane], index, 0]
    innermost = np.array([found.holders[O][each][-1] for each in found.held[O, chosen]])
    kept[innermost, np.arange(LANES), O] += found.partial[found.held[O, chosen], index]
    through = _through(search, index, int(chosen[0]))
    for lane in range(LANES):
        same = (through >= 0) & (_through(search, index, int(chosen[lane])) == through)
        pays[same, 3, lane], pays[same, I, lane] = pays[same, I, lane], 0.0
    search.tabled = None
    inside, begins, _ = _ways(search, index)
    reuse_seen = _reuse(search, index, through)
    candidate = Lanes(pays, once, kept, inside, begins, reuse_seen)
    least = relax(search.memories, candidate, search.grid, search.tables)
    total: Floats = least + constant
    return total


def _through(search: LatticeSearch, index: int, keep: int) -> Ints:
    """(levels,): the one fan-out in use between a level and the next holder of I; -1 for others."""
    found = search.found
    used = found.degrees.instances[index] > 1
    key = (used.tobytes(), int(found.held[I, keep]))
    if key not in search.through:
        through = np.full(len(used), -1)
        held = found.kept_in(I, keep)
        for level in range(len(used)):
            inner = min((h for h in held if h > level), default=level)
            between = [at for at in range(level, inner) if used[at]]
            if len(between) == 1:
                through[level] = between[0]
        search.through[key] = through
    return search.through[key]


def _reuse(search: LatticeSearch, index: int, through: Ints) -> Floats:
    """(3 + levels, nodes): of W, I, O, and of I as seen from every level through a fan-out."""
    table = np.empty((3 + len(through), search.lattice.nodes))
    table[:3] = search.reuse
    table[3:] = search.reuse[I]
    if not search.slides:
        return table
    for level, at in enumerate(through.tolist()):
        if at >= 0:
            spread = search.found.levels[at][search.found.picked[index, at]]
            seen = [_seen(search, way) for way in spread.factors]
            table[3 + level] = np.clip(np.min(seen, axis=0), search.reuse[I], FOREVER)
    return table


def _seen(search: LatticeSearch, factors: Ints) -> Floats:
    """Inputs that arrive per multiply-accumulate at tiles spread over instances."""
    spread = np.where(_WINDOW, factors, 1)
    key = tuple(spread.ravel().tolist())
    if key not in search.seen:
        search.seen[key] = arriving_inputs(search.lattice, search.problem_of(0), spread)
    return search.seen[key]


def _ways(search: LatticeSearch, index: int) -> tuple[Ints, Ints, Ints]:
    """The ways over all fan-outs: nodes inside, where each fan-out's begin, extents."""
    inside: list[Ints] = []
    begins = [0]
    extents: list[Ints] = []
    for level, found in enumerate(search.found.levels):
        spread = found[search.found.picked[index, level]]
        inside += _inside(search, spread)
        extents.append(spread.factors)
        begins.append(len(inside))
    return np.stack(inside), np.array(begins), np.concatenate(extents)


def _inside(search: LatticeSearch, spread: Spread) -> list[Ints]:
    """(nodes,) for every way of a spread: the node of one of its instances; -1 for none."""
    nodes = []
    for both in map(tuple, spread.factors.prod(axis=1).tolist()):
        if both not in search.inside:
            search.inside[both] = search.lattice.inside(both)
        nodes.append(search.inside[both])
    return nodes


def _bound_ports(search: LatticeSearch, candidate: _Candidate) -> list[Currency]:
    """Relax a candidate's energy and its busiest ports, which its first bound left out.

    Returns:
        The currencies of the lanes of the tables.
    """
    index, keep = candidate
    found = search.found

    def least(port: Currency) -> float:
        return float(sum(port.least[x][found.held[x, keep], index] for x in range(3)))

    ports = sorted(found.ports, key=least, reverse=True)[: LANES - 1]
    currencies = [found.energy, *ports]
    if search.tabled != candidate:
        search.spend(_BATCH_STEPS)
        energy, *busy = _relax(search, index, currencies, [keep])[: len(currencies)]
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
    plan = _plan(search, candidate, _bound_ports(search, candidate))
    table = _reuse(search, index, _through(search, index, keep))
    lattice, problem = search.lattice, search.problem_of(keep)
    _, _, extents = _ways(search, index)
    d = Descent(
        problem=problem,
        choices=search.choices,
        nest=empty_nest(problem["bounds"]),
        state=state,
        objective=found.objective,
        plan=plan,
        place=np.zeros(1, PLACE)[0],
        tiles=Tiles(
            subs=lattice.subs,
            sub_counts=lattice.sub_counts,
            stride=lattice.stride,
            radix=lattice.radix,
            reuse=table,
            sliding=table * search.grid.channels,
            factors=extents,
            before=search.tables.before,
            after=search.tables.after,
        ),
    )
    start(d)
    finished, best = False, tuple(state["best"])
    while not finished:
        visited = int(state["counts"][VISITED])
        finished = descend(d, _SLICE)
        if tuple(state["best"]) < best:
            search.winner = keep
        search.spend(int(state["counts"][VISITED]) - visited)
    search.descended.add(candidate)


def _plan(search: LatticeSearch, candidate: _Candidate, currencies: Sequence[Currency]) -> Plan:
    """What :func:`qmc.descent.descend` needs of a candidate."""
    index, keep = candidate
    found, count = search.found, len(search.found.levels)
    plan = np.zeros(1, PLAN)[0]
    for lane, currency in enumerate(currencies):
        for x, way in enumerate(currency.ways):
            held = found.held[x, keep]
            plan["pays"][lane, :count, x] = way.pays[held, index]
            plan["fills"][lane, :count, x] = way.fills[held, index]
            plan["later"][lane, : count + 1] += way.later[held, index]
        if currency.port is not None:
            plan["ports"][lane - 1] = currency.port
    plan["port_count"] = len(currencies) - 1
    through = _through(search, index, keep)
    plan["rows"][:count] = np.arange(3)
    plan["rows"][:count, I] = np.where(through >= 0, 3 + np.arange(count), I)
    plan["idle"], plan["compute"] = found.idle[index], found.cycles[index]
    _, begins, _ = _ways(search, index)
    plan["ways"][: count + 1] = begins
    return plan
