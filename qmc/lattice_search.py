"""Exact search for machines that leave the loops free: spreads and keep choices by their bounds.

A *candidate* is one spread of the loops over the fan-outs with one choice of what the memories
keep. Three steps, each cheaper than what it saves:

1. every candidate is bounded by what must move at least;
2. the promising ones get the optimum of a relaxed problem (:mod:`qmc.relaxation`);
3. those that could still hold the best mapping are descended into (:mod:`qmc.descent`), with a
   limit just above the best relaxed value first, which is raised until a mapping is found.

All that is left out is bounded from below by the best mapping found, so it is the optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from qmc.branch_and_bound import EDP, ENERGY, State
from qmc.chain_costs import Degrees, Way, port_units, unit_energies, way, words_of_tiles
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
from qmc.layer import Operand
from qmc.mapspace import DIMS, MapSpace
from qmc.nest_arrays import words_per_element
from qmc.nest_bounds import Choices
from qmc.nest_records import Floats, Ints, Problem, empty_nest
from qmc.relaxation import LANES, relax
from qmc.spatial_choices import Spread, spreads

_OPERANDS = tuple(Operand)
_O = _OPERANDS.index(Operand.O)
#: Limits of the descents, above the best relaxed value; the last one is none.
_LIMITS = (1.01, 1.03, 1.1, 1.3, 2.0, 4.0, np.inf)
#: Cycles that no mapping takes; a candidate without any mapping takes infinitely many.
_FOREVER = 1e30
#: Relative error of a sum of floats.
_ROUNDING = 1e-12
_WINDOW = np.array([dim.value in "PQRS" for dim in DIMS])
_IRRELEVANT = np.array([[dim in dims for dim in range(8)] for dims in IRRELEVANT], np.int64)


@dataclass(frozen=True, slots=True)
class Currency:
    """What candidates cost in one unit: energy, or cycles of one port.

    Attributes:
        ways: by operand, then by its holders.
        port: memory, and 0 for its read port, 1 for its write port; None for energy.
    """

    ways: tuple[dict[tuple[int, ...], Way], ...]
    port: tuple[int, int] | None


@dataclass(slots=True)
class LatticeSearch:
    """Everything that one search computes once.

    Attributes:
        space, choices, objective: as in :mod:`qmc.search`.
        problems: one for each keep choice of the space.
        lattice, reuse, words, depth: see :mod:`qmc.lattice`, :func:`qmc.relaxation.relax`.
        levels: spreads over each fan-out. picked: (spreads, levels) one of each.
        degrees: of the picked spreads. cycles: of the arithmetic. idle: leakage per cycle.
        holders: by operand and keep choice, the levels that keep it.
        energy, ports: the currencies.
        chains, before, after: tables.
        shifts: nodes inside a spread, by its extents.
        seen: inputs arriving at tiles spread over instances, by extents.
        relaxed: values of the candidates relaxed so far.
        winner: the candidate of the best mapping.
    """

    space: MapSpace
    problems: tuple[Problem, ...]
    choices: Choices
    objective: int
    lattice: Lattice
    reuse: Floats
    words: Ints
    depth: Ints
    levels: tuple[tuple[Spread, ...], ...]
    picked: Ints
    degrees: Degrees
    cycles: Floats
    idle: Floats
    holders: tuple[tuple[tuple[int, ...], ...], ...]
    energy: Currency
    ports: tuple[Currency, ...]
    chains: Floats
    before: Floats
    after: Floats
    shifts: dict[tuple[int, ...], Ints] = field(default_factory=dict)
    seen: dict[tuple[int, ...], Floats] = field(default_factory=dict)
    relaxed: dict[tuple[int, int], float] = field(default_factory=dict)
    winner: tuple[int, int] | None = None
    stats: dict[str, float] = field(default_factory=dict)


def prepare(
    space: MapSpace, problems: tuple[Problem, ...], choices: Choices, objective: int
) -> LatticeSearch:
    """Lay out the candidates of a map space."""
    memories = space.target.memories
    problem, count = problems[0], len(memories)
    lattice = build_lattice(space.bounds)
    table = reuse(lattice, problem)
    levels = tuple(spreads(space, level) for level in range(count))
    picked = np.array(list(product(*(range(len(found)) for found in levels))))
    degrees = _degrees(levels, picked)
    work = float(np.prod(lattice.bounds.astype(np.float64)))
    cycles = np.ceil(work / degrees.parallel * problem["mac_cycles"] * (1 - _ROUNDING))
    used = np.cumprod(np.pad(degrees.instances, ((0, 0), (1, 0)), constant_values=1.0), axis=1)
    holders = tuple(
        tuple(
            tuple(at for at, kept in enumerate(keep) if operand in kept.operands)
            for keep in space.keeps
        )
        for operand in _OPERANDS
    )
    least = table.min(axis=1)

    def currency(units: tuple[Floats, Floats], port: tuple[int, int] | None) -> Currency:
        ways = (
            {held: way(problem, held, x, degrees, units, least[x]) for held in set(holders[x])}
            for x in range(3)
        )
        return Currency(tuple(ways), port)

    packed = np.array(
        [
            [words_per_element(memory, int(bits)) for bits in stored]
            for memory, stored in zip(memories, problem["stored_bits"], strict=False)
        ]
    )
    limited = [
        (level, port)
        for level in range(count)
        for port in range(2)
        if np.isfinite(problem["bandwidth"][level, port])
    ]
    tables = (count, 4, lattice.nodes, LANES)
    return LatticeSearch(
        space=space,
        problems=problems,
        choices=choices,
        objective=objective,
        lattice=lattice,
        reuse=table,
        words=words_of_tiles(
            memories, tile_volumes(lattice, problem), problem["stored_bits"][:count]
        ),
        depth=problem["depth"][:count].copy(),
        levels=levels,
        picked=picked,
        degrees=degrees,
        cycles=cycles,
        idle=used @ problem["leakage_pj"][: count + 1],
        holders=holders,
        energy=currency(unit_energies(problem, memories, degrees), None),
        ports=tuple(
            currency(port_units(problem, degrees, *port, packed), port) for port in limited
        ),
        chains=np.empty((8, lattice.nodes, LANES)),
        before=np.empty(tables),
        after=np.empty(tables),
    )


def _degrees(levels: tuple[tuple[Spread, ...], ...], picked: Ints) -> Degrees:
    def table(of: Callable[[Spread], object]) -> Floats:
        columns = [
            np.array([of(spread) for spread in found], np.float64)[picked[:, at]]
            for at, found in enumerate(levels)
        ]
        return np.stack(columns, axis=1)

    shared = table(lambda spread: spread.shared)
    copies = shared.copy()
    copies[:, :, 1] = table(lambda spread: spread.copies)
    return Degrees(shared, copies, table(lambda spread: spread.instances))


def run_lattice(search: LatticeSearch, state: State) -> None:
    """Find the best mapping of the space; it is left in ``state``."""
    import time
    t0 = time.process_time()
    floors = _floors(search)
    order = np.argsort(floors.min(axis=1), kind="stable")
    st = search.stats
    st["cand"] = floors.size
    st["steps"] = st["descents"] = st["batches"] = st["ports"] = 0
    best = np.inf
    best = _relax_below(search, floors, order, None)
    st["relaxed"] = len(search.relaxed)
    st["t1"] = time.process_time() - t0
    st["best_relaxed"] = best
    for limit in _LIMITS:
        cutoff = best * limit
        _relax_below(search, floors, order, cutoff)
        st["t2"] = time.process_time() - t0
        state["best"] = cutoff, np.inf
        for value, index, keep in sorted(
            (value, *at) for at, value in search.relaxed.items() if value < cutoff
        ):
            if value < state["best"][0]:
                _descend(search, state, index, keep)
        st["limit"] = limit
        if np.isfinite(state["best"][1]):
            break
    st["relaxed2"] = len(search.relaxed)
    st["t"] = time.process_time() - t0


def _floors(search: LatticeSearch) -> Floats:
    """(spreads, keep choices) lower bounds of the objective."""
    keeps = range(len(search.space.keeps))

    def total(currency: Currency) -> Floats:
        least = [{held: way.least for held, way in ways.items()} for ways in currency.ways]
        columns = [sum(least[x][search.holders[x][keep]] for x in range(3)) for keep in keeps]
        return np.stack(columns, axis=1)

    cycles = np.repeat(search.cycles[:, None], len(keeps), axis=1)
    for port in search.ports:
        cycles = np.maximum(cycles, np.ceil(total(port) * (1 - _ROUNDING)))
    return _objective(search, total(search.energy), cycles, search.idle[:, None])


def _objective(
    search: LatticeSearch, energy: Floats, cycles: Floats | float, idle: Floats | float
) -> Floats:
    """Objective value of energy (MACs and leakage aside) and cycles."""
    whole = energy + float(search.problems[0]["mac_pj"]) + idle * np.minimum(cycles, _FOREVER)
    if search.objective == EDP:
        return whole * cycles
    if search.objective == ENERGY:
        return whole
    return np.where(np.isfinite(whole), cycles, np.inf)


def _relax_below(
    search: LatticeSearch, floors: Floats, order: NDArray[np.int64], cutoff: float | None
) -> float:
    """Relax every candidate whose floor is below the cutoff; None: below the best relaxed value.

    Returns:
        That value.
    """
    best = np.inf
    for index in order:
        limit = best if cutoff is None else cutoff
        below = np.flatnonzero(floors[index] < limit)
        if len(below) == 0:
            if floors[index].min() >= limit:
                break
            continue
        ranked = below[np.argsort(floors[index, below], kind="stable")]
        missing = [int(keep) for keep in ranked if (int(index), int(keep)) not in search.relaxed]
        for at in range(0, len(missing), LANES):
            lanes = missing[at : at + LANES]
            if floors[index, lanes[0]] >= (best if cutoff is None else cutoff):
                break
            energies = _relax_energy(search, int(index), lanes)
            search.stats["batches"] += 1
            for lane, keep in enumerate(lanes):
                floor = floors[index, keep]
                value = float(
                    _objective(search, energies[lane], search.cycles[index], search.idle[index])
                )
                search.relaxed[int(index), keep] = max(value, float(floor))
                best = min(best, max(value, float(floor)))
    return best


def _relax_energy(search: LatticeSearch, index: int, keeps: Sequence[int]) -> Floats:
    """Least energy of up to LANES keep choices."""
    lanes = [(search.energy, keep) for keep in keeps]
    return _relax(search, index, lanes)[: len(keeps)]


def _relax(search: LatticeSearch, index: int, lanes: Sequence[tuple[Currency, int]]) -> Floats:
    """Least cost of candidates with the same spread in up to LANES currencies or keep choices."""
    count = len(search.levels)
    pays = np.zeros((count, 4, LANES))
    once = np.zeros((count, 3, LANES))
    kept = np.zeros((count, LANES, 3), np.int64)
    constant = np.zeros(LANES)
    work = reduction_work(search.space.bounds)
    for lane in range(LANES):
        currency, keep = lanes[min(lane, len(lanes) - 1)]
        for x in range(3):
            held = search.holders[x][keep]
            found = currency.ways[x][held]
            pays[:, x, lane] = found.pays[index]
            constant[lane] += found.later[index, 0]
            kept[list(held), lane, x] = 1
            for level, deeper in pairwise(held):
                once[level, x, lane] = found.once[index, deeper]
        through = _through(search, index, keep)
        if lane == 0:
            first = through
        same = (through == first) & (through >= 0)
        pays[same, 3, lane], pays[same, 1, lane] = pays[same, 1, lane], 0.0
        innermost = search.holders[_O][keep][-1]
        if work > search.degrees.shared[index, innermost:, _O].prod():
            kept[innermost, lane, _O] = 2
    shifts, ways, _ = _ways(search, index)
    lattice = search.lattice
    least = relax(
        count,
        pays,
        once,
        kept,
        search.words,
        search.depth,
        shifts,
        ways,
        _reuse(search, index, first),
        _IRRELEVANT,
        lattice.moves,
        lattice.stride,
        lattice.radix,
        search.chains,
        search.before,
        search.after,
    )
    return least + constant


def _reuse(search: LatticeSearch, index: int, through: Ints) -> Floats:
    """(3 + levels, nodes): of W, I, O, and of I as seen from every level through a fan-out."""
    table = np.empty((3 + len(search.levels), search.lattice.nodes))
    table[:3] = search.reuse
    table[3:] = search.reuse[1]
    for level, at in enumerate(through):
        if at >= 0:
            spread = search.levels[at][search.picked[index, at]]
            seen = np.min([_seen(search, factors) for factors in spread.factors], axis=0)
            table[3 + level] = np.clip(seen, search.reuse[1], _FOREVER)
    return table


def _seen(search: LatticeSearch, factors: Ints) -> Floats:
    """Inputs that arrive per multiply-accumulate at tiles spread over instances."""
    spread = np.where(_WINDOW, factors, 1)
    key = tuple(spread.ravel().tolist())
    if key not in search.seen:
        search.seen[key] = arriving_inputs(search.lattice, search.problems[0], spread)
    return search.seen[key]


def _through(search: LatticeSearch, index: int, keep: int) -> Ints:
    """(levels,): the one fan-out in use between a level and the next holder of I; -1 for others."""
    through = np.full(len(search.levels), -1)
    held = search.holders[1][keep]
    for level in range(len(search.levels)):
        inner = min((h for h in held if h > level), default=level)
        used = [at for at in range(level, inner) if search.degrees.instances[index, at] > 1]
        if len(used) == 1:
            through[level] = used[0]
    return through


def _ways(search: LatticeSearch, index: int) -> tuple[Ints, Ints, Ints]:
    """The ways to spread, of all fan-outs: nodes inside, where each fan-out's begin, extents."""
    blocks: list[Ints] = []
    begins = [0]
    extents: list[Ints] = []
    for at, found in enumerate(search.levels):
        for factors in found[search.picked[index, at]].factors:
            both = tuple((factors[0] * factors[1]).tolist())
            if both not in search.shifts:
                search.shifts[both] = search.lattice.inside(both)
            blocks.append(search.shifts[both])
            extents.append(factors)
        begins.append(len(blocks))
    return np.stack(blocks), np.array(begins), np.array(extents)


def _descend(search: LatticeSearch, state: State, index: int, keep: int) -> None:
    """Search one candidate, ports included."""
    def floor(port: Currency) -> float:
        return float(sum(port.ways[x][search.holders[x][keep]].least[index] for x in range(3)))

    ports = sorted(search.ports, key=floor, reverse=True)[: LANES - 1]
    lanes = [(search.energy, keep), *((port, keep) for port in ports)]
    energy, *busy = _relax(search, index, lanes)[: len(lanes)]
    search.stats["ports"] += 1
    cycles = max([float(search.cycles[index]), *np.ceil(np.array(busy) * (1 - 4 * _ROUNDING))])
    value = float(_objective(search, energy, cycles, search.idle[index]))
    search.relaxed[index, keep] = max(search.relaxed[index, keep], value)
    if value >= state["best"][0] * (1 + _ROUNDING):
        return
    count = len(search.levels)
    plan = np.zeros(1, PLAN)[0]
    for lane, (currency, _) in enumerate(lanes):
        for x in range(3):
            found = currency.ways[x][search.holders[x][keep]]
            plan["pays"][lane, :count, x] = found.pays[index]
            plan["fills"][lane, :count, x] = found.fills[index]
            plan["later"][lane, : count + 1] += found.later[index]
    for at, port in enumerate(ports):
        plan["ports"][at] = port.port
    plan["port_count"] = len(ports)
    through = _through(search, index, keep)
    plan["rows"][:count] = np.arange(3)
    plan["rows"][:count, 1] = np.where(through >= 0, 3 + np.arange(count), 1)
    table = _reuse(search, index, through)
    plan["idle"], plan["compute"] = search.idle[index], search.cycles[index]
    _, begins, extents = _ways(search, index)
    plan["ways"][: count + 1] = begins
    problem, lattice = search.problems[keep], search.lattice
    nest, place = empty_nest(problem["bounds"]), np.zeros(1, PLACE)[0]
    first = state["best"].copy()
    v0=int(state["counts"][1])
    start(
        problem, plan, nest, state, place, search.objective, lattice.stride, table,
        lattice.radix, search.after,
    )
    descend(
        problem, search.choices, plan, nest, state, place, search.objective, lattice.subs,
        lattice.sub_counts, lattice.stride, table, table * lattice.extents[:, 2], extents, search.before, search.after,
        1 << 60,
    )
    search.stats["descents"] += 1
    search.stats["steps"] += int(state["counts"][1]) - v0
    if tuple(state["best"]) < tuple(first):
        search.winner = index, keep
        search.stats["winner"] = (index, keep)
