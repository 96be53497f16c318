"""What the compiled steps of the lattice search need of candidates: arrays by lane and node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from qmc.candidates import FOREVER, Candidates, Currency
from qmc.chain_costs import words_of_tiles
from qmc.descent_bounds import CURRENCIES, PLAN, Plan, Tiles
from qmc.lattice import IRRELEVANT, Lattice, build_lattice, reuse, tile_volumes
from qmc.mapspace import DIMS, MapSpace, loopable_dims
from qmc.nest_records import Floats, I, Ints, K, O, Problem
from qmc.relaxation import Costs, Grid, Tables, relax
from qmc.sliding import ALL_K, NO_K, SOME_K, Windows, arriving_windows, windows

_WINDOW = np.array([dim.value in "PQRS" for dim in DIMS])
_IRRELEVANT = np.array([[dim in dims for dim in range(8)] for dims in IRRELEVANT], np.int64)
#: Spreads and sets times nodes whose inputs are kept.
_MOST_INPUTS = 1 << 21
#: Fan-outs between loops and a tile, each with a spread, and whether others lie outside.
_Path = tuple[tuple[tuple[int, int], ...], bool]


@dataclass(slots=True)
class CandidateTables:
    """The candidates of one search, with what is known of their tiles.

    Attributes:
        found: all candidates.
        lattice, windows: of their tiles. slides: whether windows overlap or leave holes.
        cases: (nodes,) row of :func:`qmc.sliding.arriving_windows` that a node has.
        grid: see :func:`qmc.relaxation.relax`.
        scratch: its tables where only the cost is asked for.
        tables: its tables in every currency; ``before`` and ``after`` of all with an axis more.
        inside: (n, 2) nodes and those of one instance, by extents of a spread.
        arriving: (3, windows) inputs that arrive, by path.
        inputs: (levels, nodes) and (nodes,) of :func:`_inputs`, of the last spread and set.
    """

    found: Candidates
    lattice: Lattice
    windows: Windows
    slides: bool
    cases: Ints
    grid: Grid
    scratch: Tables
    tables: Tables
    inside: dict[tuple[int, ...], Ints] = field(default_factory=dict)
    arriving: dict[_Path, Floats] = field(default_factory=dict)
    inputs: dict[tuple[int, int], tuple[Floats, Floats]] = field(default_factory=dict)


def candidate_tables(space: MapSpace, problem: Problem, found: Candidates) -> CandidateTables:
    """Lay out the tables of a map space; the keep choice of ``problem`` does not matter."""
    memories, layer = space.target.memories, space.layer
    count = len(memories)
    lattice = build_lattice(space.bounds)
    looped = np.zeros((count, 8), np.int64)
    for block in space.blocks:
        if block.axis is None:
            looped[block.level, list(loopable_dims(space, block))] = 1
    complete = (lattice.extents == lattice.bounds) | (looped[0] == 1)
    channels = lattice.extents[:, K]
    stored = problem["stored_bits"][:count]
    words = words_of_tiles(memories, tile_volumes(lattice, problem), stored)
    chains = np.empty((9, lattice.nodes))
    currencies = min(CURRENCIES, 1 + len(found.ports))
    shape = (4, lattice.nodes)
    return CandidateTables(
        found=found,
        lattice=lattice,
        windows=windows(space.bounds, lattice.digits, problem["window"]),
        slides=layer.bounds.R * layer.bounds.S > 1 or layer.strides != (1, 1),
        cases=np.where(channels == 1, NO_K, np.where(channels < channels[-1], SOME_K, ALL_K)),
        grid=Grid(
            moves=lattice.moves,
            stride=lattice.stride,
            radix=lattice.radix,
            irrelevant=_IRRELEVANT,
            looped=looped,
            reuse=reuse(lattice),
            outer=np.flatnonzero(complete.all(axis=1)),
            words=words.astype(np.float64),
            depth=problem["depth"][:count].copy(),
        ),
        scratch=Tables(chains, np.empty((1, *shape)), np.empty((1, *shape))),
        tables=Tables(
            chains,
            before=np.empty((currencies, count, *shape)),
            after=np.empty((currencies, count, *shape)),
        ),
    )


def relaxed(
    tables: CandidateTables, index: int, keep: int, currency: Currency, lane: int | None = None
) -> float:
    """Least cost of one candidate, constants included.

    Args:
        tables: of the search.
        index: the spread.
        keep: the keep choice.
        currency: in which to count.
        lane: where to leave the tables for a descent; None for nowhere.
    """
    found, count = tables.found, len(tables.found.levels)
    pays, once = np.empty((count, 3)), np.empty((count, 3))
    kept = np.empty((count, 3), np.int64)
    constant = 0.0
    for x, way in enumerate(currency.ways):
        held = found.held[x, keep]
        pays[:, x] = way.pays[held, index]
        once[:, x] = way.once[held, index]
        kept[:, x] = found.kept[x][held]
        constant += float(way.later[held, index, 0])
    sums = found.held[O, keep]
    kept[found.holders[O][sums][-1], O] += found.partial[sums, index]
    inputs, whole = _inputs(tables, index, int(found.held[I, keep]))
    inside, begins = _inside(tables, index)
    used = tables.scratch
    if lane is not None:
        used = Tables(used.chains, tables.tables.before[lane], tables.tables.after[lane])
    costs = Costs(pays, once, kept, inside, begins, inputs, whole)
    return float(relax(tables.grid, costs, used)) + constant


def _inputs(tables: CandidateTables, index: int, held: int) -> tuple[Floats, Floats]:
    """Inputs that arrive per multiply-accumulate at a node, at least.

    Args:
        tables: of the search.
        index: the spread.
        held: the set of memories that keep I.

    Returns:
        (levels, nodes) when the run of I ends in the loops of a level; (nodes,) when it goes on to
        the end of the outermost loops.
    """
    if (index, held) not in tables.inputs:
        if len(tables.inputs) * tables.lattice.nodes > _MOST_INPUTS:
            tables.inputs.clear()
        kept, count = tables.grid.reuse[I], len(tables.found.levels)
        rows, whole = np.ones((1, 1)), np.ones(1)
        if tables.slides:
            at = tables.windows.nodes
            seen = [_arriving(tables, path) for path in _paths(tables, index, held)]
            rows, whole = np.stack([row[tables.cases, at] for row in seen]), seen[0][ALL_K, at]
        inputs = np.multiply(rows, kept, out=np.empty((count, len(kept))))
        tables.inputs[index, held] = inputs, np.multiply(whole, kept[-1], out=np.empty(len(kept)))
    return tables.inputs[index, held]


def _paths(tables: CandidateTables, index: int, held: int) -> list[_Path]:
    """The paths from the loops of every level to the next memory inside that keeps I."""
    found = tables.found
    picked = [(level, int(at)) for level, at in enumerate(found.picked[index])]
    used = [way for way in picked if found.degrees.instances[index, way[0]] > 1]
    holders = [*found.holders[I][held], len(picked)]
    paths = []
    for level in range(len(picked)):
        inner = min(at for at in holders if at > level)
        between = tuple(way for way in used if level <= way[0] < inner)
        paths.append((between, any(way[0] < level for way in used)))
    return paths


def _arriving(tables: CandidateTables, path: _Path) -> Floats:
    """(3, windows) of :func:`qmc.sliding.arriving_windows`, in the best ways to spread."""
    if path not in tables.arriving:
        between, jumps = path
        spreads = [tables.found.levels[level][at].factors for level, at in between]
        ways = [np.unique(np.where(_WINDOW, factors, 1), axis=0) for factors in spreads]
        channels = int(tables.lattice.bounds[K])
        each = [
            arriving_windows(tables.windows, chosen, jumps, channels) for chosen in product(*ways)
        ]
        tables.arriving[path] = np.minimum(np.min(each, axis=0), FOREVER)
    return tables.arriving[path]


def _inside(tables: CandidateTables, index: int) -> tuple[Ints, Ints]:
    """Pairs of nodes of all fan-outs, and where each one's begin; see :class:`Costs`."""
    inside: list[Ints] = []
    begins = [0]
    for level, found in enumerate(tables.found.levels):
        used = tables.found.degrees.instances[index, level] > 1
        ways = found[tables.found.picked[index, level]].factors.prod(axis=1) if used else ()
        pairs = [_pairs(tables, extents) for extents in sorted(set(map(tuple, ways)))]
        inside += pairs
        begins.append(begins[-1] + sum(map(len, pairs)))
    together = np.concatenate(inside) if inside else np.zeros((0, 2), np.int64)
    return together, np.array(begins)


def _pairs(tables: CandidateTables, extents: tuple[int, ...]) -> Ints:
    """(n, 2) the nodes that extents divide, and what is inside."""
    if extents not in tables.inside:
        inside = tables.lattice.inside(extents)
        nodes = np.flatnonzero(inside >= 0)
        tables.inside[extents] = np.stack([nodes, inside[nodes]], axis=1)
    return tables.inside[extents]


def plan_of(
    tables: CandidateTables, index: int, keep: int, currencies: Sequence[Currency]
) -> tuple[Plan, Tiles]:
    """What :func:`qmc.descent.descend` needs of a candidate, just relaxed in these currencies."""
    found, count, lattice = tables.found, len(tables.found.levels), tables.lattice
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
    plan["idle"], plan["compute"] = found.idle[index], found.cycles[index]
    chosen = [
        level[at].factors for level, at in zip(found.levels, found.picked[index], strict=True)
    ]
    plan["ways"][: count + 1] = np.cumsum([0, *map(len, chosen)])
    return plan, Tiles(
        subs=lattice.subs,
        sub_counts=lattice.sub_counts,
        stride=lattice.stride,
        radix=lattice.radix,
        reuse=tables.grid.reuse,
        inputs=_inputs_by_case(tables, index, int(found.held[I, keep])),
        factors=np.concatenate(chosen),
        before=tables.tables.before,
        after=tables.tables.after,
    )


def _inputs_by_case(tables: CandidateTables, index: int, held: int) -> Floats:
    """(levels, 3, nodes) inputs that arrive per multiply-accumulate and extent of K."""
    count, nodes = len(tables.found.levels), tables.lattice.nodes
    if not tables.slides:
        return np.ones((count, 3, nodes))
    at = tables.windows.nodes
    paths = _paths(tables, index, held)
    return np.stack([_arriving(tables, path).take(at, axis=1) for path in paths])
