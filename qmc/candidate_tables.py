"""What the compiled steps of the lattice search need of candidates: arrays by lane and node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from qmc.candidates import FOREVER, Candidates, Currency
from qmc.chain_costs import words_of_tiles
from qmc.descent import PLAN, Plan, Tiles
from qmc.lattice import IRRELEVANT, Lattice, build_lattice, reuse, tile_volumes
from qmc.mapspace import DIMS, MapSpace, loopable_dims
from qmc.nest_records import Floats, I, Ints, K, O, Problem
from qmc.relaxation import LANES, Grid, Lanes, Memories, Tables, relax
from qmc.sliding import ALL_K, NO_K, SOME_K, Windows, arriving_windows, windows
from qmc.spatial_choices import Spread

_WINDOW = np.array([dim.value in "PQRS" for dim in DIMS])
_IRRELEVANT = np.array([[dim in dims for dim in range(8)] for dims in IRRELEVANT], np.int64)
#: Fan-outs between loops and a tile, each with a spread, and whether others lie outside.
_Path = tuple[tuple[tuple[int, int], ...], bool]


@dataclass(slots=True)
class CandidateTables:
    """The candidates of one search, with what is known of their tiles.

    Attributes:
        found: all candidates.
        lattice, windows: of their tiles. slides: whether windows overlap or leave holes.
        cases: (nodes,) row of :func:`qmc.sliding.arriving_windows` that a node has.
        memories, grid, tables: see :func:`qmc.relaxation.relax`.
        inside: of spreads, by extents: nodes of one instance.
        arriving: (3, windows) inputs that arrive, by path.
    """

    found: Candidates
    lattice: Lattice
    windows: Windows
    slides: bool
    cases: Ints
    memories: Memories
    grid: Grid
    tables: Tables
    inside: dict[tuple[int, ...], Ints] = field(default_factory=dict)
    arriving: dict[_Path, Floats] = field(default_factory=dict)


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
    shape = (count, 4, lattice.nodes, LANES)
    stored = problem["stored_bits"][:count]
    return CandidateTables(
        found=found,
        lattice=lattice,
        windows=windows(space.bounds, lattice.digits, problem["window"]),
        slides=layer.bounds.R * layer.bounds.S > 1 or layer.strides != (1, 1),
        cases=np.where(channels == 1, NO_K, np.where(channels < channels[-1], SOME_K, ALL_K)),
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
            reuse=reuse(lattice),
            outer=np.flatnonzero(complete.all(axis=1)),
        ),
        tables=Tables(
            chains=np.empty((8, lattice.nodes, LANES)),
            before=np.empty(shape),
            after=np.empty(shape),
            ended=np.empty((lattice.nodes, LANES)),
        ),
    )


def relax_lanes(
    tables: CandidateTables, index: int, currencies: Sequence[Currency], keeps: Sequence[int]
) -> Floats:
    """(LANES,) least cost of one spread, constants included.

    Args:
        tables: of the search.
        index: the spread.
        currencies: one for all keep choices, or several for one keep choice.
        keeps: up to LANES, likewise; of at most two sets of memories that keep I.
    """
    found, count = tables.found, len(tables.found.levels)
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
    sets = sorted(set(found.held[I, chosen].tolist()))
    second = found.held[I, chosen] != sets[0]
    pays[:, 3, second], pays[:, I, second] = pays[:, I, second], 0.0
    inputs, whole = zip(
        *(_inputs(tables, index, held) for held in (sets[0], sets[-1])), strict=True
    )
    inside, begins, _ = ways_of(tables, index)
    candidate = Lanes(
        *(pays, once, kept, inside, begins), np.stack(inputs, axis=1), np.stack(whole)
    )
    least = relax(tables.memories, candidate, tables.grid, tables.tables)
    total: Floats = least + constant
    return total


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
    if not tables.slides:
        kept = tables.grid.reuse[I]
        return np.tile(kept, (len(tables.found.levels), 1)), np.full(len(kept), kept[-1])
    at = tables.windows.nodes
    rows = [_arriving(tables, path) for path in _paths(tables, index, held)]
    inputs = np.stack([row[tables.cases, at] for row in rows]) * tables.grid.reuse[I]
    return inputs, rows[0][ALL_K, at] * tables.grid.reuse[I, -1]


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


def ways_of(tables: CandidateTables, index: int) -> tuple[Ints, Ints, Ints]:
    """The ways over all fan-outs: nodes inside, where each fan-out's begin, extents."""
    inside: list[Ints] = []
    begins = [0]
    extents: list[Ints] = []
    for level, found in enumerate(tables.found.levels):
        spread = found[tables.found.picked[index, level]]
        inside += _inside(tables, spread)
        extents.append(spread.factors)
        begins.append(len(inside))
    return np.stack(inside), np.array(begins), np.concatenate(extents)


def _inside(tables: CandidateTables, spread: Spread) -> list[Ints]:
    """(nodes,) for every way of a spread: the node of one of its instances; -1 for none."""
    nodes = []
    for both in map(tuple, spread.factors.prod(axis=1).tolist()):
        if both not in tables.inside:
            tables.inside[both] = tables.lattice.inside(both)
        nodes.append(tables.inside[both])
    return nodes


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
    _, begins, extents = ways_of(tables, index)
    plan["ways"][: count + 1] = begins
    return plan, Tiles(
        subs=lattice.subs,
        sub_counts=lattice.sub_counts,
        stride=lattice.stride,
        radix=lattice.radix,
        reuse=tables.grid.reuse,
        inputs=_inputs_by_case(tables, index, int(found.held[I, keep])),
        factors=extents,
        before=tables.tables.before,
        after=tables.tables.after,
    )


def _inputs_by_case(tables: CandidateTables, index: int, held: int) -> Floats:
    """(levels, 3, nodes) inputs that arrive per multiply-accumulate and extent of K."""
    count, nodes = len(tables.found.levels), tables.lattice.nodes
    if not tables.slides:
        return np.ones((count, 3, nodes))
    at = tables.windows.nodes
    return np.stack([_arriving(tables, path)[:, at] for path in _paths(tables, index, held)])
