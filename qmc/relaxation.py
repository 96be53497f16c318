"""Cheapest chains of tiles by dynamic programming on the divisor lattice. Compiled.

A relaxation of the mapping problem under fixed keep choices and spreads: words and rows are not
rounded up, inputs overlap in the best direction. What an operand costs between two memories is then
one number (``pays``) times what arrives per multiply-accumulate at the node where its *run* ends:
a tile stays while loops run that do not index its operand. Inside out, a chain is a node, what it
has cost, and which operands' innermost-but-last tiles still stay (are *open*).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled
from qmc.nest_records import Floats, I, Ints, O, W

Bools = NDArray[np.bool_]

#: Sets of open operands: bit x stands for operand x.
_SETS = 8


class Grid(NamedTuple):
    """The lattice: ``moves``, ``stride``, ``radix`` as in :class:`qmc.lattice.Lattice`.

    Attributes:
        irrelevant: (3, 8) dims that do not index an operand.
        looped: (levels, 8) whether a level may have a loop in time over a dim.
        reuse: (3, nodes) see :func:`qmc.lattice.reuse`.
        outer: nodes from which the loops of the outermost memory lead to the whole layer.
        words: (levels, 4, nodes) words that the tile of W, I, a finished O, a partial O takes.
        depth: (levels,) words of the memory, 0 is unlimited.
    """

    moves: Ints
    stride: Ints
    radix: Ints
    irrelevant: Ints
    looped: Ints
    reuse: Floats
    outer: Ints
    words: Floats
    depth: Ints


class Costs(NamedTuple):
    """What one keep choice and spread costs, in one currency.

    Attributes:
        pays: (levels, 3) what an element of W, I, O costs whose run ends in the loops of a level.
        once: (levels, 3) least cost between a memory and the next holder inside.
        kept: (levels, 3) whether a level keeps an operand; 2 for O as partial sums.
        inside: (n, 2) nodes, and those of one of the instances that share the tile.
        begins: of the fan-out below level l the rows of ``inside`` are begins[l] to begins[l + 1].
        inputs: (levels, nodes) elements of I that arrive per multiply-accumulate when its run ends
            in the loops of a level.
        whole: (nodes,) the same when its run goes on to the end of the outermost loops.
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
        chains: (9, nodes) least cost by set of open operands, and one row of scratch.
        before: (levels, 4, nodes) least cost of the chains that the loops of a level extend: with
            none open; when W, I, O stays open and all others end here.
        after: (levels, 4, nodes) least cost of the chains after the loops: with none open, with W,
            I, O open. Either has one level only if it is no more than scratch.
    """

    chains: Floats
    before: Floats
    after: Floats


@compiled
def relax(grid: Grid, costs: Costs, tables: Tables) -> float:
    """Least cost of all chains; ``tables`` keep what :mod:`qmc.descent` looks up."""
    chains = tables.chains
    row = np.arange(_SETS + 1)  # of every set in chains; the last one is scratch
    live = np.zeros(_SETS, np.bool_)
    live[0] = True
    fill(chains[0], np.inf)
    chains[0, 0] = 0.0
    for level in range(grid.depth.shape[0] - 1, -1, -1):
        first, last = costs.begins[level], costs.begins[level + 1]
        if last > first:
            for opened in range(_SETS):
                if live[opened]:
                    spread_out(chains[row[opened]], costs.inside[first:last], chains[row[_SETS]])
                    row[opened], row[_SETS] = row[_SETS], row[opened]
        slot = min(level, tables.before.shape[0] - 1)
        before, after = tables.before[slot], tables.after[slot]
        ends = (grid.reuse[W], costs.inputs[level], grid.reuse[O])
        pays = costs.pays[level]
        some = np.zeros(4, np.bool_)
        for operand in range(-1, 3):
            some[operand + 1] = close_others(
                chains, row, live, pays, ends, operand, before[operand + 1]
            )
        if level == 0:
            return outermost_block(before, after, some, grid, costs)
        loop_block(before, after, some, pays, ends, grid, level)
        live[0] = True
        copy(after[0], chains[row[0]])
        for operand in range(3):
            live[1 << operand] = some[operand + 1]
            copy(after[operand + 1], chains[row[1 << operand]])
        hold(chains, row, live, grid, costs, level)
    return np.inf


@compiled
def fill(table: Floats, value: float) -> None:
    """Set all of a table (nodes,)."""
    for node in range(table.shape[0]):
        table[node] = value


@compiled
def copy(source: Floats, out: Floats) -> None:
    """Copy a table (nodes,)."""
    for node in range(out.shape[0]):
        out[node] = source[node]


@compiled
def spread_out(table: Floats, inside: Ints, out: Floats) -> None:
    """Put copies of every tile side by side, in the cheapest of several ways: (n, 2) nodes."""
    fill(out, np.inf)
    for pair in range(inside.shape[0]):
        node = inside[pair, 0]
        out[node] = min(out[node], table[inside[pair, 1]])


@compiled
def close_others(
    chains: Floats,
    row: Ints,
    live: Bools,
    pays: Floats,
    ends: tuple[Floats, Floats, Floats],
    operand: int,
    out: Floats,
) -> bool:
    """Least cost of a chain when ``operand`` stays open and all other open operands end here.

    Args:
        chains: (9, nodes) least cost by set of open operands.
        row: (8,) of every set.
        live: (8,) sets that occur.
        pays: (3,) cost per arriving element, of all multiply-accumulates.
        ends: (nodes,) elements of every operand that arrive per multiply-accumulate.
        operand: which stays; -1 for chains with none open.
        out: (nodes,), infinite where there are none.

    Returns:
        Whether there are such chains.
    """
    some = False
    for opened in range(_SETS):
        if not live[opened] or (opened != 0 if operand < 0 else not opened >> operand & 1):
            continue
        others = opened if operand < 0 else opened & ~(1 << operand)
        w = pays[W] if others & 1 else 0.0
        i = pays[I] if others & 2 else 0.0
        o = pays[O] if others & 4 else 0.0
        table = chains[row[opened]]
        if not some:
            fill(out, np.inf)
        for node in range(out.shape[0]):
            value = table[node] + w * ends[W][node] + i * ends[I][node] + o * ends[O][node]
            out[node] = min(out[node], value)
        some = True
    if not some:
        fill(out, np.inf)
    return some


@compiled
def loop_block(
    before: Floats,
    after: Floats,
    some: Bools,
    pays: Floats,
    ends: tuple[Floats, Floats, Floats],
    grid: Grid,
    level: int,
) -> None:
    """Extend all chains by the loops in time of one memory: from ``before`` to ``after``.

    An operand stays while loops run that do not index it; then it pays, and all loops may follow.

    Args:
        before: (4, nodes) see :class:`Tables`.
        after: (4, nodes) likewise.
        some: (4,) which parts of ``before`` have chains.
        pays: (3,) cost per arriving element.
        ends: (nodes,) elements of every operand that arrive.
        grid: the lattice.
        level: the memory.
    """
    looped, ended = grid.looped[level], after[0]
    copy(before[0], ended)
    for operand in range(3):
        stays = after[operand + 1]
        copy(before[operand + 1], stays)
        if some[operand + 1]:
            least_below(stays, grid, looped, grid.irrelevant[operand])
            arriving = ends[operand]
            for node in range(ended.shape[0]):
                ended[node] = min(ended[node], stays[node] + pays[operand] * arriving[node])
    least_below(ended, grid, looped, looped)


@compiled
def least_below(table: Floats, grid: Grid, looped: Ints, dims: Ints) -> None:
    """Replace every node's value by the least over all its divisors along dims, in place.

    Args:
        table: (nodes,).
        grid: the lattice.
        looped: (8,) whether to go along a dim.
        dims: (8,) likewise; both must say so.
    """
    nodes = table.shape[0]
    for index in range(grid.moves.shape[0]):
        dim, high, low = grid.moves[index, 0], grid.moves[index, 1], grid.moves[index, 2]
        if not (looped[dim] and dims[dim]):
            continue
        step = grid.stride[dim]
        for base in range(0, nodes, step * grid.radix[dim]):
            if step == 1:
                table[base + high] = min(table[base + high], table[base + low])
                continue
            above = table[base + high * step : base + high * step + step]
            below = table[base + low * step : base + low * step + step]
            for node in range(step):  # slices: their indices are known to be good
                least, other = above[node], below[node]
                above[node] = other if other < least else least


@compiled
def outermost_block(
    before: Floats,
    after: Floats,
    some: Bools,
    grid: Grid,
    costs: Costs,
) -> float:
    """The same for the outermost memory, whose tile is the last node: only that is computed."""
    last = before.shape[1] - 1
    least = np.inf
    for operand in range(-1, 3):
        if not some[operand + 1]:
            continue
        for node in grid.outer:
            value = before[operand + 1, node]
            if operand == I:
                value += costs.pays[0, I] * costs.whole[node]
            elif operand >= 0:
                value += costs.pays[0, operand] * grid.reuse[operand, last]
            least = min(least, value)
    after[0, last] = least
    return least


@compiled
def hold(chains: Floats, row: Ints, live: Bools, grid: Grid, costs: Costs, level: int) -> None:
    """Keep tiles in a memory: chains whose tile does not fit end, kept operands become open.

    Where the tile of the holder inside still stays, ``once`` is charged in the place of its cost,
    which is not known yet.
    """
    if grid.depth[level] > 0:
        _drop_what_overflows(chains, row, live, grid, costs.kept[level], level)
    for operand in range(3):
        if not costs.kept[level, operand]:
            continue
        for opened in range(_SETS):
            closed = opened & ~(1 << operand)
            if opened == closed:
                continue
            if live[opened]:
                table, other = chains[row[opened]], chains[row[closed]]
                once, merge = costs.once[level, operand], live[closed]
                for node in range(table.shape[0]):
                    table[node] += once
                    if merge:
                        table[node] = min(table[node], other[node])
            else:
                row[opened], row[closed] = row[closed], row[opened]
                live[opened] = live[closed]
            live[closed] = False


@compiled
def _drop_what_overflows(
    chains: Floats, row: Ints, live: Bools, grid: Grid, kept: Ints, level: int
) -> None:
    words, over = grid.words[level], chains[row[_SETS]]
    w = 1.0 if kept[W] else 0.0
    i = 1.0 if kept[I] else 0.0
    o = 1.0 if kept[O] == 1 else 0.0
    partial = 1.0 if kept[O] == 2 else 0.0
    depth = float(grid.depth[level])
    for node in range(over.shape[0]):
        held = w * words[0, node] + i * words[1, node] + o * words[2, node]
        held += partial * words[3, node]
        over[node] = np.inf if held > depth else 0.0
    for opened in range(_SETS):
        if live[opened]:
            table = chains[row[opened]]
            for node in range(over.shape[0]):
                table[node] += over[node]
