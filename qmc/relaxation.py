"""Cheapest chains of tiles by dynamic programming on the divisor lattice. Compiled.

A relaxation of the mapping problem under fixed keep choices and spreads: words and rows are not
rounded up, inputs overlap in the best direction. What an operand costs between two memories is then
one number (``pays``) times what arrives per multiply-accumulate at the node where its *run* ends:
a tile stays while loops run that do not index its operand. Inside out, a chain is a node, what it
has cost, and which operands' innermost-but-last tiles still stay (are *open*).

Several keep choices (*lanes*) are computed side by side; lanes are the fastest axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled
from qmc.nest_records import Floats, Ints

#: Keep choices computed side by side.
LANES = 8
#: Sets of open operands: bit x stands for operand x.
_SETS = 8

Bools = NDArray[np.bool_]


class Grid(NamedTuple):
    """The lattice: ``moves``, ``stride``, ``radix`` as in :class:`qmc.lattice.Lattice`.

    Attributes:
        irrelevant: (3, 8) dims that do not index an operand.
        reuse: (3, nodes) see :func:`qmc.lattice.reuse`.
        outer: nodes from which the loops of the outermost memory lead to the whole layer.
    """

    moves: Ints
    stride: Ints
    radix: Ints
    irrelevant: Ints
    reuse: Floats
    outer: Ints


class Memories(NamedTuple):
    """What holds for all candidates.

    Attributes:
        words: (levels, 4, nodes) words that the tile of W, I, a finished O, a partial O takes.
        depth: (levels,) words of the memory, 0 is unlimited.
        looped: (levels, 8) whether a level may have a loop in time over a dim.
    """

    words: Ints
    depth: Ints
    looped: Ints


class Lanes(NamedTuple):
    """What the lanes differ in, and their spread.

    Attributes:
        pays: (levels, 4, LANES) what an element of W, I, O costs whose run ends in the loops of a
            level; the last one of I again: in a lane one of the two is 0.
        once: (levels, 3, LANES) least cost between a memory and the next holder inside.
        kept: (levels, LANES, 3) whether a lane keeps an operand; 2 for O as partial sums.
        inside: (all ways, nodes) node of a tile divided by the extents of a way; -1 if they do not
            divide it. begins: the ways of the fan-out below level l are begins[l] to begins[l + 1].
        inputs: (levels, 2, nodes) elements of I that arrive per multiply-accumulate when its run
            ends in the loops of a level, for either cost.
        whole: (2, nodes) the same when its run goes on to the end of the outermost loops.
    """

    pays: Floats
    once: Floats
    kept: Ints
    inside: Ints
    begins: Ints
    inputs: Floats
    whole: Floats


class Tables(NamedTuple):
    """Memory of the computation.

    Attributes:
        chains: (8, nodes, LANES) least cost by set of open operands.
        before, after: (levels, 4, nodes, LANES) see :func:`loop_block`.
        ended: (nodes, LANES) scratch.
    """

    chains: Floats
    before: Floats
    after: Floats
    ended: Floats


@compiled
def least_below(table: Floats, grid: Grid, dims: Ints) -> None:
    """Replace every node's value by the least over all its divisors along ``dims``, in place.

    Args:
        table: (nodes, LANES).
        grid: the lattice.
        dims: (8,) whether to go along a dim.
    """
    nodes = table.shape[0]
    for index in range(grid.moves.shape[0]):
        dim, high, low = grid.moves[index, 0], grid.moves[index, 1], grid.moves[index, 2]
        if not dims[dim]:
            continue
        step = grid.stride[dim]
        for base in range(0, nodes, step * grid.radix[dim]):
            above, below = base + high * step, base + low * step
            for node in range(step):
                for lane in range(LANES):
                    value = table[below + node, lane]
                    if value < table[above + node, lane]:
                        table[above + node, lane] = value


@compiled
def pending(
    chains: Floats, live: Bools, pays: Floats, reuse: Floats, operand: int, out: Floats
) -> bool:
    """Least cost of a chain when ``operand`` stays open and all other open operands end here.

    Args:
        chains: (8, nodes, LANES) least cost by set of open operands.
        live: (8,) sets that occur.
        pays: (4, LANES) cost per arriving element, of all multiply-accumulates; see :class:`Lanes`.
        reuse: (4, nodes) elements that arrive, likewise.
        operand: which stays; -1 for chains with none open.
        out: (nodes, LANES).

    Returns:
        Whether there are such chains.
    """
    nodes = out.shape[0]
    some = False
    for opened in range(_SETS):
        if not live[opened] or (opened != 0 if operand < 0 else not opened >> operand & 1):
            continue
        ends = opened if operand < 0 else opened & ~(1 << operand)
        for node in range(nodes):
            weights = reuse[0, node] if ends & 1 else 0.0
            inputs = reuse[1, node] if ends & 2 else 0.0
            spread = reuse[3, node] if ends & 2 else 0.0
            outputs = reuse[2, node] if ends & 4 else 0.0
            for lane in range(LANES):
                value = (
                    chains[opened, node, lane]
                    + pays[0, lane] * weights
                    + pays[1, lane] * inputs
                    + pays[3, lane] * spread
                    + pays[2, lane] * outputs
                )
                if not some or value < out[node, lane]:
                    out[node, lane] = value
        some = True
    return some


@compiled
def end_run(table: Floats, pays: Floats, reuse: Floats, operand: int, out: Floats) -> None:
    """Add to a table what ``operand`` pays when its run ends at each node."""
    for node in range(table.shape[0]):
        share = reuse[operand, node]
        spread = reuse[3, node] if operand == 1 else 0.0
        for lane in range(LANES):
            paid = pays[operand, lane] * share + pays[3, lane] * spread
            out[node, lane] = table[node, lane] + paid


@compiled
def loop_block(
    tables: Tables, live: Bools, pays: Floats, reuse: Floats, grid: Grid, looped: Ints, level: int
) -> None:
    """Extend all chains by the loops in time of one memory over the dims ``looped`` (8,).

    ``before[level, 0]`` becomes :func:`pending` for no operand, ``before[level, 1 + x]`` for
    operand x; ``after[level, 0]`` the least cost with nothing open of all chains whose loops end at
    a node, ``after[level, 1 + x]`` that with x open. ``chains`` and ``live`` are updated.
    """
    chains, ended = tables.chains, tables.ended
    before, after = tables.before[level], tables.after[level]
    occurs = live.copy()
    if pending(chains, occurs, pays, reuse, -1, before[0]):
        after[0] = before[0]
        least_below(after[0], grid, looped)
    else:
        before[0] = np.inf
        after[0] = np.inf
    for operand in range(3):
        table, stays = before[operand + 1], after[operand + 1]
        if not pending(chains, occurs, pays, reuse, operand, table):
            table[:] = np.inf
            stays[:] = np.inf
            continue
        stays[:] = table
        least_below(stays, grid, looped * grid.irrelevant[operand])
        end_run(stays, pays, reuse, operand, ended)
        least_below(ended, grid, looped * (1 - grid.irrelevant[operand]))
        for node in range(ended.shape[0]):
            for lane in range(LANES):
                if ended[node, lane] < after[0, node, lane]:
                    after[0, node, lane] = ended[node, lane]
    for operand in range(3):
        if stays_open(occurs, operand):
            chains[1 << operand] = after[operand + 1]
            live[1 << operand] = True
    chains[0] = after[0]
    live[0] = True


@compiled
def stays_open(live: Bools, operand: int) -> bool:
    """Whether there are chains with the operand open."""
    some = False
    for opened in range(_SETS):
        some = some or (live[opened] and (opened >> operand & 1) == 1)
    return some


@compiled
def outermost_block(
    tables: Tables, live: Bools, pays: Floats, reuse: Floats, whole: Floats, grid: Grid
) -> None:
    """The same for the outermost memory, whose tile is the last node: only that is computed."""
    before, after = tables.before[0], tables.after[0]
    last = after.shape[1] - 1
    after[:, last] = np.inf
    for operand in range(-1, 3):
        table = before[operand + 1]
        if not pending(tables.chains, live, pays, reuse, operand, table):
            table[:] = np.inf
            continue
        for index in range(grid.outer.shape[0]):
            node = grid.outer[index]
            for lane in range(LANES):
                value = table[node, lane]
                if operand == 1:
                    value += pays[1, lane] * whole[0, node] + pays[3, lane] * whole[1, node]
                elif operand >= 0:
                    value += pays[operand, lane] * reuse[operand, last]
                if value < after[0, last, lane]:
                    after[0, last, lane] = value


@compiled
def hold(chains: Floats, live: Bools, memories: Memories, lanes: Lanes, level: int) -> None:
    """Keep tiles in a memory: chains whose tile does not fit end, kept operands become open.

    Where the tile of the holder inside still stays, ``once`` is charged in the place of its cost,
    which is not known yet.
    """
    was, stays = live.copy(), np.zeros(_SETS, np.bool_)
    for lane in range(LANES):
        kept = lanes.kept[level, lane]
        if memories.depth[level] > 0:
            _drop_what_overflows(chains, was, memories, kept, level, lane)
        opening = kept[0] + 2 * kept[1] + 4 * min(1, kept[2])
        _charge_once(chains, was, lanes, opening, level, lane)
        for opened in range(_SETS):
            if was[opened]:
                merged = opened | opening
                stays[merged] = True
                if merged != opened:
                    _move(chains, live, opened, merged, lane)
    for opened in range(_SETS):
        live[opened] = live[opened] and stays[opened]


@compiled
def _charge_once(
    chains: Floats, live: Bools, lanes: Lanes, opening: int, level: int, lane: int
) -> None:
    for opened in range(_SETS):
        for operand in range(3):
            if live[opened] and (opened & opening) >> operand & 1:
                chains[opened, :, lane] += lanes.once[level, operand, lane]


@compiled
def _drop_what_overflows(
    chains: Floats, live: Bools, memories: Memories, kept: Ints, level: int, lane: int
) -> None:
    words = memories.words[level]
    for node in range(words.shape[1]):
        held = 0
        for operand in range(3):
            if kept[operand]:
                held += words[operand + kept[operand] - 1, node]
        if held > memories.depth[level]:
            for opened in range(_SETS):
                if live[opened]:
                    chains[opened, node, lane] = np.inf


@compiled
def _move(chains: Floats, live: Bools, opened: int, merged: int, lane: int) -> None:
    """Chains of one set of open operands become chains of a larger one, in one lane."""
    if not live[merged]:
        chains[merged] = np.inf
        live[merged] = True
    for node in range(chains.shape[1]):
        value = chains[opened, node, lane]
        if value < chains[merged, node, lane]:
            chains[merged, node, lane] = value
        chains[opened, node, lane] = np.inf


@compiled
def spread_out(tables: Tables, live: Bools, inside: Ints) -> None:
    """Put copies of every tile side by side, in the cheapest of several ways (ways, nodes)."""
    chains, out = tables.chains, tables.ended
    for opened in range(_SETS):
        if not live[opened]:
            continue
        out[:] = np.inf
        for way in range(inside.shape[0]):
            for node in range(out.shape[0]):
                inner = inside[way, node]
                if inner >= 0:
                    for lane in range(LANES):
                        value = chains[opened, inner, lane]
                        if value < out[node, lane]:
                            out[node, lane] = value
        chains[opened] = out


@compiled
def relax(memories: Memories, lanes: Lanes, grid: Grid, tables: Tables) -> Floats:
    """(LANES,) least cost of all chains; ``tables`` keep what :mod:`qmc.descent` looks up."""
    chains = tables.chains
    nodes = chains.shape[1]
    live = np.zeros(_SETS, np.bool_)
    live[0] = True
    chains[0] = np.inf
    chains[0, 0] = 0.0
    seen = np.empty((4, nodes))
    seen[:3] = grid.reuse
    for level in range(memories.depth.shape[0] - 1, -1, -1):
        first, last = lanes.begins[level], lanes.begins[level + 1]
        if last - first > 1 or lanes.inside[first, 0] < 0:
            spread_out(tables, live, lanes.inside[first:last])
        seen[1], seen[3] = lanes.inputs[level, 0], lanes.inputs[level, 1]
        if level == 0:
            outermost_block(tables, live, lanes.pays[0], seen, lanes.whole, grid)
        else:
            looped = memories.looped[level]
            loop_block(tables, live, lanes.pays[level], seen, grid, looped, level)
            hold(chains, live, memories, lanes, level)
    least: Floats = tables.after[0, 0, nodes - 1].copy()
    return least
