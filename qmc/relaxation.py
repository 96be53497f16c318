"""Cheapest chains of tiles by dynamic programming on the divisor lattice. Compiled.

A relaxation of the mapping problem under fixed keep choices and spreads: words and rows are not
rounded up, inputs overlap in the best direction. What an operand costs between two memories is then
one number (``pays``) times what arrives per multiply-accumulate at the node where its *run* ends:
a tile stays while loops run that do not index its operand. Inside out, a chain is a node, what it
has cost, and which operands' innermost-but-last tiles still stay (are *open*).

Several keep choices (*lanes*) are computed side by side; lanes are the fastest axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled
from qmc.nest_records import Floats, Ints

#: Keep choices computed side by side.
LANES = 8
#: Sets of open operands: bit x stands for operand x.
_SETS = 8

Bools = NDArray[np.bool_]
Array = NDArray[Any]


@compiled
def least_below(table: Floats, moves: Ints, stride: Ints, radix: Ints, dims: Ints) -> None:
    """Replace every node's value by the least over all its divisors along ``dims``, in place.

    Args:
        table: (nodes, LANES).
        moves: as in :class:`qmc.lattice.Lattice`.
        stride, radix: likewise.
        dims: (8,) whether to go along a dim.
    """
    nodes = table.shape[0]
    for index in range(moves.shape[0]):
        dim, high, low = moves[index, 0], moves[index, 1], moves[index, 2]
        if not dims[dim]:
            continue
        step = stride[dim]
        block = step * radix[dim]
        for base in range(0, nodes, block):
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
        pays: (4, LANES) cost per arriving element, of all multiply-accumulates; the last for I that
            is seen through a fan-out.
        reuse: (4, nodes) see :func:`qmc.lattice.reuse`, likewise.
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
    chains: Floats,
    live: Bools,
    pays: Floats,
    reuse: Floats,
    looped: Ints,
    irrelevant: Ints,
    moves: Ints,
    stride: Ints,
    radix: Ints,
    before: Floats,
    after: Floats,
    ended: Floats,
) -> None:
    """Extend all chains by the loops in time of one memory over the dims ``looped`` (8,).

    ``before[0]`` becomes :func:`pending` for no operand, ``before[1 + x]`` for operand x;
    ``after[0]`` the least cost with nothing open of all chains whose loops end at a node,
    ``after[1 + x]`` that with x open. ``chains`` and ``live`` are updated; ``ended`` is scratch.
    """
    occurs = live.copy()
    if pending(chains, occurs, pays, reuse, -1, before[0]):
        after[0] = before[0]
        least_below(after[0], moves, stride, radix, looped)
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
        least_below(stays, moves, stride, radix, looped * irrelevant[operand])
        end_run(stays, pays, reuse, operand, ended)
        least_below(ended, moves, stride, radix, looped * (1 - irrelevant[operand]))
        for node in range(ended.shape[0]):
            for lane in range(LANES):
                if ended[node, lane] < after[0, node, lane]:
                    after[0, node, lane] = ended[node, lane]
        chains[1 << operand] = stays
        live[1 << operand] = True
    chains[0] = after[0]
    live[0] = True


@compiled
def outermost_block(
    chains: Floats,
    live: Bools,
    pays: Floats,
    reuse: Floats,
    outer: Ints,
    channels: Floats,
    before: Floats,
    after: Floats,
) -> None:
    """The same for the outermost memory, whose tile is the last node: only that is computed.

    Args:
        outer: nodes from which its loops lead to the whole layer.
        channels: (nodes,) extent of K, under which inputs stay.
    """
    last = chains.shape[1] - 1
    after[:, last] = np.inf
    for operand in range(-1, 3):
        table = before[operand + 1]
        if not pending(chains, live, pays, reuse, operand, table):
            table[:] = np.inf
            continue
        for index in range(outer.shape[0]):
            node = outer[index]
            run = channels[node] / channels[last]
            for lane in range(LANES):
                value = table[node, lane]
                if operand == 1:
                    arriving = pays[1, lane] * reuse[1, node] + pays[3, lane] * reuse[3, node]
                    value += arriving * run
                elif operand >= 0:
                    value += pays[operand, lane] * reuse[operand, last]
                if value < after[0, last, lane]:
                    after[0, last, lane] = value


@compiled
def hold(
    chains: Floats, live: Bools, words: Ints, depth: int, kept: Ints, once: Floats
) -> None:
    """Keep tiles in a memory: chains whose tile does not fit end, kept operands become open.

    Args:
        chains, live: as above.
        words: (4, nodes) words that the tile of W, I, a finished O, a partial O takes.
        depth: words of the memory, 0 is unlimited.
        kept: (LANES, 3) whether a lane keeps an operand there; 2 for O as partial sums.
        once: (3, LANES) least cost between the holder inside and this memory: charged when the
            tile of the holder inside still stays, as its whole cost is not known.
    """
    nodes = chains.shape[1]
    stays = np.zeros(_SETS, np.bool_)
    was = live.copy()
    for lane in range(LANES):
        opening = kept[lane, 0] + 2 * kept[lane, 1] + 4 * min(1, kept[lane, 2])
        if depth > 0:
            for node in range(nodes):
                held = 0
                for operand in range(3):
                    if kept[lane, operand]:
                        held += words[operand + kept[lane, operand] - 1, node]
                if held > depth:
                    for opened in range(_SETS):
                        if was[opened]:
                            chains[opened, node, lane] = np.inf
        for opened in range(_SETS):
            again = opened & opening
            if was[opened] and again:
                extra = 0.0
                for operand in range(3):
                    if again >> operand & 1:
                        extra += once[operand, lane]
                for node in range(nodes):
                    chains[opened, node, lane] += extra
        for opened in range(_SETS):
            merged = opened | opening
            if not was[opened]:
                continue
            stays[merged] = True
            if merged == opened:
                continue
            if not live[merged]:
                chains[merged] = np.inf
                live[merged] = True
            for node in range(nodes):
                value = chains[opened, node, lane]
                if value < chains[merged, node, lane]:
                    chains[merged, node, lane] = value
                chains[opened, node, lane] = np.inf
    for opened in range(_SETS):
        live[opened] = live[opened] and stays[opened]


@compiled
def spread_out(chains: Floats, live: Bools, shifts: Ints) -> None:
    """Put copies of every tile side by side, in the cheapest of several ways. In place.

    Args:
        chains, live: as above.
        shifts: (ways, nodes) node of a tile divided by the extents of a way; -1 if they do not
            divide it.
    """
    nodes = chains.shape[1]
    out = np.empty((nodes, LANES))
    for opened in range(_SETS):
        if not live[opened]:
            continue
        out[:] = np.inf
        for way in range(shifts.shape[0]):
            for node in range(nodes):
                inner = shifts[way, node]
                if inner >= 0:
                    for lane in range(LANES):
                        value = chains[opened, inner, lane]
                        if value < out[node, lane]:
                            out[node, lane] = value
        chains[opened] = out


@compiled
def relax(
    levels: int,
    pays: Floats,
    once: Floats,
    kept: Ints,
    words: Ints,
    depth: Ints,
    shifts: Ints,
    ways: Ints,
    reuse: Floats,
    looped: Ints,
    outer: Ints,
    channels: Floats,
    irrelevant: Ints,
    moves: Ints,
    stride: Ints,
    radix: Ints,
    chains: Floats,
    before: Floats,
    after: Floats,
) -> Floats:
    """Least cost of all chains, by lane.

    Args:
        levels: memories.
        pays: (levels, 4, LANES) what an element of W, I, O costs whose run ends in the loops of a
            level; the last one of I that is seen through a fan-out.
        once: (levels, 3, LANES) see :func:`hold`.
        kept: (levels, LANES, 3).
        words: (levels, 4, nodes). depth: (levels,).
        shifts: (all ways, nodes); those of the fan-out below level l are ``ways[l]`` to
            ``ways[l + 1]``.
        reuse: (3 + levels, nodes) of W, I, O, and of I seen through a fan-out from each level.
        looped: (levels, 8) whether a level may have a loop in time over a dim.
        outer, channels: see :func:`outermost_block`.
        irrelevant, moves, stride, radix: of the lattice.
        chains: (8, nodes, LANES) scratch.
        before, after: (levels, 4, nodes, LANES) filled for :mod:`qmc.descent`.

    Returns:
        (LANES,).
    """
    nodes = chains.shape[1]
    live = np.zeros(_SETS, np.bool_)
    live[0] = True
    chains[0] = np.inf
    chains[0, 0] = 0.0
    ended = np.empty((nodes, LANES))
    seen = np.empty((4, nodes))
    seen[:3] = reuse[:3]
    for level in range(levels - 1, -1, -1):
        first, last = ways[level], ways[level + 1]
        if last - first > 1 or shifts[first, 0] < 0:
            spread_out(chains, live, shifts[first:last])
        seen[3] = reuse[3 + level]
        tables = before[level], after[level]
        if level == 0:
            outermost_block(chains, live, pays[0], seen, outer, channels, *tables)
        else:
            loop_block(
                chains,
                live,
                pays[level],
                seen,
                looped[level],
                irrelevant,
                moves,
                stride,
                radix,
                *tables,
                ended,
            )
            hold(chains, live, words[level], depth[level], kept[level], once[level])
    return after[0, 0, nodes - 1].copy()
