"""The analytical model on flat arrays, compiled: one mapping in a fraction of a microsecond.

Same rules as :mod:`qmc.cost_models.analytical`, which stays the reference; here a *problem* is a
structured array and a mapping is built level by level from the outside, so that a search can
price the outer part of a nest once for all inner parts. Dims are indexed as in ``tuple(LoopDim)``,
operands as in ``tuple(Operand)``.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.cost_models.ports import ROUNDING
from qmc.jit import compiled

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

W, I, O = 0, 1, 2  # noqa: E741 - operands
N, G, K, C, P, Q, R, S = range(8)
WORDS, SINGLE, DENSE, PLANES = range(4)
READ, FILL, UPDATE = range(3)


#: Most memories of a machine.
MAX_LEVELS = 16
#: A row of loops for every dim of every memory.
_MAX_LOOPS = 8 * MAX_LEVELS

#: A layer at its widths on a machine. Fields:
#: levels: L, the number of memories; index L stands for the MACs.
#: bounds: loop bounds. relevant: whether a dim indexes an operand. reduction: whether it is summed.
#: window: stride and dilation of the height, stride and dilation of the width.
#: bits: of W, I, a finished O, a partial sum, as the layer has them.
#: stored_bits: the same as a memory stores them.
#: first_fill_counted: 1 when filling an accumulator with zeros is charged.
#: parent: nearest level outside that keeps the operand, -1 when the level itself does not; the MACs
#: keep everything. holder: the level itself or the nearest outside that keeps the operand.
#: depth: words, 0 is unlimited. clusters: groups of instances that share row accesses.
#: access_pj: energy of a row read, fill, update. leakage_pj: per cycle and used instance.
#: bandwidth: words per cycle read and written, inf is unlimited.
#: mac_pj: energy of all multiply-accumulates. mac_cycles: cycles of one on its unit.
#: element_pj, psum_pj: energy of one access of one element by operand and action, rows and words
#: being full and shared in clusters; of O at the narrower of its widths, and as partial sums.
PROBLEM = np.dtype(
    [
        ("levels", np.int64),
        ("bounds", np.int64, (8,)),
        ("relevant", np.int8, (3, 8)),
        ("reduction", np.int8, (8,)),
        ("window", np.int64, (4,)),
        ("bits", np.int64, (4,)),
        ("first_fill_counted", np.int64),
        ("parent", np.int64, (MAX_LEVELS + 1, 3)),
        ("holder", np.int64, (MAX_LEVELS + 1, 3)),
        ("word_bits", np.int64, (MAX_LEVELS,)),
        ("row_words", np.int64, (MAX_LEVELS,)),
        ("depth", np.int64, (MAX_LEVELS,)),
        ("packing", np.int64, (MAX_LEVELS,)),
        ("stored_bits", np.int64, (MAX_LEVELS, 4)),
        ("clusters", np.int64, (MAX_LEVELS,)),
        ("access_pj", np.float64, (MAX_LEVELS, 3)),
        ("leakage_pj", np.float64, (MAX_LEVELS + 1,)),
        ("bandwidth", np.float64, (MAX_LEVELS, 2)),
        ("mac_pj", np.float64),
        ("mac_cycles", np.float64),
        ("element_pj", np.float64, (MAX_LEVELS, 3, 3)),
        ("psum_pj", np.float64, (MAX_LEVELS, 3)),
    ],
    align=True,
)

#: A mapping under construction; what is known of level l depends on the loops outside it only.
#: factors: temporal, x and y factors of the blocks of a level. tile: extents of the tile it holds.
#: loops: loops in time, outermost first: dim, extent, extent of that dim inside it.
#: loop_count: rows of loops outside a level. steps: their product. instances: loops in space
#: outside.
#: served: elements exchanged between an instance of a level and its parent.
#: energy: of the memories whose inner traffic is known, pJ; port_words and held_words: words they
#: read and write, and words of the tiles they hold.
NEST = np.dtype(
    [
        ("factors", np.int64, (MAX_LEVELS, 3, 8)),
        ("tile", np.int64, (MAX_LEVELS + 1, 8)),
        ("loops", np.int64, (_MAX_LOOPS, 3)),
        ("loop_count", np.int64, (MAX_LEVELS + 1,)),
        ("steps", np.int64, (MAX_LEVELS + 1,)),
        ("instances", np.int64, (MAX_LEVELS + 1,)),
        ("served", np.int64, (MAX_LEVELS + 1, 3)),
        ("energy", np.float64, (MAX_LEVELS + 1,)),
        ("port_words", np.int64, (MAX_LEVELS + 1, MAX_LEVELS, 2)),
        ("held_words", np.int64, (MAX_LEVELS + 1, MAX_LEVELS)),
    ],
    align=True,
)

#: One element of a structured array; the compiled code sees its fields by name.
Problem = Any
Nest = Any


def empty_nest(bounds: Ints) -> Nest:
    """A nest without loops."""
    nest = np.zeros(1, NEST)[0]
    for field in ("factors", "tile", "loops", "steps", "instances"):
        nest[field] = 1
    nest["tile"][0] = bounds
    return nest


@compiled
def ceil_div(numerator: int, denominator: int) -> int:
    """Quotient rounded up."""
    return (numerator + denominator - 1) // denominator


@compiled
def packed_words(problem: Problem, level: int, elements: int, bits: int) -> int:
    """Words of a memory that ``elements`` take; see :mod:`qmc.cost_models.words`."""
    word = problem.word_bits[level]
    packing = problem.packing[level]
    if packing == DENSE:
        return ceil_div(elements * bits, word)
    if packing == PLANES:
        return bits * ceil_div(elements, word)
    if packing == SINGLE or bits > word:
        return elements * ceil_div(bits, word)
    return ceil_div(elements, word // bits)


@compiled
def row_accesses(problem: Problem, level: int, words: int) -> int:
    """Row accesses that move ``words``."""
    return ceil_div(words, problem.row_words[level])


@compiled
def window_height(problem: Problem, tile: Ints) -> int:
    """Rows of I under a tile."""
    return (tile[P] - 1) * problem.window[0] + (tile[R] - 1) * problem.window[1] + 1


@compiled
def window_width(problem: Problem, tile: Ints) -> int:
    """Columns of I under a tile."""
    return (tile[Q] - 1) * problem.window[2] + (tile[S] - 1) * problem.window[3] + 1


@compiled
def tile_elements(problem: Problem, operand: int, tile: Ints) -> int:
    """Elements of an operand's box."""
    if operand == W:
        return tile[G] * tile[K] * tile[C] * tile[R] * tile[S]
    if operand == O:
        return tile[N] * tile[G] * tile[K] * tile[P] * tile[Q]
    depth = tile[N] * tile[G] * tile[C]
    return depth * window_height(problem, tile) * window_width(problem, tile)


@compiled
def moved_elements(problem: Problem, nest: Nest, operand: int, level: int) -> int:
    """Elements that reach one instance of ``level`` over the run."""
    if operand == I:
        return _moved_inputs(problem, nest, level)
    visits = nest.steps[level]
    for row in range(nest.loop_count[level] - 1, -1, -1):
        if problem.relevant[operand, nest.loops[row, 0]]:
            break
        visits //= nest.loops[row, 1]
    return tile_elements(problem, operand, nest.tile[level]) * visits


@compiled
def _moved_inputs(problem: Problem, nest: Nest, level: int) -> int:
    """The same for I, whose boxes overlap: only what the previous box did not cover is moved."""
    tile = nest.tile[level]
    height, width = window_height(problem, tile), window_width(problem, tile)
    depth = tile[N] * tile[G] * tile[C]
    volume = depth * height * width
    total = volume
    down, right, elsewhere = 0, 0, False  # where the loops inside stand when the next one steps
    direction = 0
    outside = nest.steps[level]
    last = nest.loop_count[level] - 1
    for row in range(last, -1, -1):
        dim, extent, reach = nest.loops[row, 0], nest.loops[row, 1], nest.loops[row, 2]
        outside //= extent
        step_down, step_right = _window_step(problem, dim, reach)
        move_down, move_right = step_down - down, step_right - right
        down += step_down
        right += step_right
        elsewhere = elsewhere or dim == N or dim == G or dim == C
        charge, slide = _charge(depth, height, width, move_down, move_right, elsewhere)
        if row == last:
            direction = slide
        elif charge > 0 and direction != 0 and slide != direction:
            charge = volume
        total += charge * (extent - 1) * outside
    return total


@compiled
def _window_step(problem: Problem, dim: int, reach: int) -> tuple[int, int]:
    """Rows and columns that I's box moves when ``dim`` steps by ``reach``."""
    if dim == P:
        return problem.window[0] * reach, 0
    if dim == R:
        return problem.window[1] * reach, 0
    if dim == Q:
        return 0, problem.window[2] * reach
    if dim == S:
        return 0, problem.window[3] * reach
    return 0, 0


@compiled
def _charge(
    depth: int, height: int, width: int, down: int, right: int, elsewhere: bool
) -> tuple[int, int]:
    """Elements of a moved box outside the old one; axis and sign of the move if both overlap."""
    if not elsewhere and down == 0 and right == 0:
        return 0, 0
    if elsewhere or (down != 0 and right != 0) or abs(down) >= height or abs(right) >= width:
        return depth * height * width, 0
    if down != 0:
        return depth * width * abs(down), (1 if down > 0 else -1)
    return depth * height * abs(right), (2 if right > 0 else -2)


@compiled
def distinct_receivers(problem: Problem, nest: Nest, operand: int, outer: int, inner: int) -> int:
    """Instances of ``inner`` below one of ``outer`` that need different data at once."""
    count = 1
    for level in range(outer, inner):
        for axis in range(1, 3):
            factors = nest.factors[level, axis]
            for dim in range(8):
                if problem.relevant[operand, dim]:
                    count *= factors[dim]
            if operand == I:
                count = _share_windows(problem, nest, level, axis, count)
    return count


@compiled
def _share_windows(problem: Problem, nest: Nest, level: int, axis: int, count: int) -> int:
    """Instances along one axis whose windows start at the same place share them."""
    factors = nest.factors[level, axis]
    for outputs, taps, at in ((P, R, 0), (Q, S, 2)):
        if factors[outputs] > 1 and factors[taps] > 1:
            inside = nest.tile[level + 1]
            reach_p, reach_r = inside[outputs], inside[taps]
            if axis == 1:  # the y axis lies inside the x axis
                reach_p *= nest.factors[level, 2, outputs]
                reach_r *= nest.factors[level, 2, taps]
            a, b = problem.window[at] * reach_p, problem.window[at + 1] * reach_r
            count //= factors[outputs] * factors[taps]
            count *= distinct_sums(a, factors[outputs], b, factors[taps])
    return count


@compiled
def distinct_sums(a: int, n: int, b: int, m: int) -> int:
    """Number of different values of a*i + b*j for i < n, j < m."""
    x, y = a, b
    while y:
        x, y = y, x % y
    shared = max(0, n - b // x) * max(0, m - a // x)
    return n * m - shared


@compiled
def push_loops(nest: Nest, level: int, order: Ints) -> None:
    """Append the loops in time of ``level``; ``order`` lists all dims, innermost first."""
    row = nest.loop_count[level]
    steps = nest.steps[level]
    for position in range(7, -1, -1):
        dim = order[position]
        extent = nest.factors[level, 0, dim]
        if extent > 1:
            nest.loops[row, 0] = dim
            nest.loops[row, 1] = extent
            nest.loops[row, 2] = nest.tile[level, dim] // extent
            row += 1
            steps *= extent
    nest.loop_count[level + 1] = row
    nest.steps[level + 1] = steps


@compiled
def close_level(problem: Problem, nest: Nest, level: int) -> bool:
    """Price what the loops of ``level`` decide; False when a memory's tiles do not fit it.

    All blocks of ``level`` must be filled and its loops pushed.
    """
    inner = level + 1
    used = 1
    for dim in range(8):
        taken = nest.factors[level, 1, dim] * nest.factors[level, 2, dim]
        nest.tile[inner, dim] = nest.tile[level, dim] // (nest.factors[level, 0, dim] * taken)
        used *= taken
    nest.instances[inner] = nest.instances[level] * used
    nest.energy[inner] = nest.energy[level]
    for memory in range(inner):
        nest.port_words[inner, memory, 0] = nest.port_words[level, memory, 0]
        nest.port_words[inner, memory, 1] = nest.port_words[level, memory, 1]
        nest.held_words[inner, memory] = nest.held_words[level, memory]
    for operand in range(3):
        outer = problem.parent[inner, operand]
        if outer >= 0:
            if inner == problem.levels:
                nest.served[inner, operand] = nest.steps[inner]
            else:
                nest.served[inner, operand] = moved_elements(problem, nest, operand, inner)
            _serve(problem, nest, operand, outer, inner)
            held, depth = nest.held_words[inner, outer], problem.depth[outer]
            if depth > 0 and held > depth:
                return False
    return True


@compiled
def _serve(problem: Problem, nest: Nest, operand: int, outer: int, inner: int) -> None:
    """Charge ``outer`` for all its accesses of ``operand``, now that its inner holder is known."""
    receivers = distinct_receivers(problem, nest, operand, outer, inner)
    served = nest.served[inner, operand] * receivers
    arriving = nest.served[outer, operand]
    tile = tile_elements(problem, operand, nest.tile[outer])
    if operand == O:
        reads, fills, updates, held = _output_words(problem, nest, outer, served, arriving, tile)
    else:
        bits = problem.stored_bits[outer, operand]
        reads = packed_words(problem, outer, served, bits)
        fills = packed_words(problem, outer, arriving, bits)
        updates = 0
        held = packed_words(problem, outer, tile, bits)
    rows = (
        row_accesses(problem, outer, reads) * problem.access_pj[outer, READ]
        + row_accesses(problem, outer, fills) * problem.access_pj[outer, FILL]
        + row_accesses(problem, outer, updates) * problem.access_pj[outer, UPDATE]
    )
    nest.energy[inner] += rows * min(nest.instances[outer], problem.clusters[outer])
    nest.port_words[inner, outer, 0] += reads
    nest.port_words[inner, outer, 1] += fills + updates
    nest.held_words[inner, outer] += held


@compiled
def _output_words(
    problem: Problem, nest: Nest, level: int, updates: int, written_back: int, tile: int
) -> tuple[int, int, int, int]:
    """Words read, filled, updated and held of O at ``level``."""
    distinct = tile
    reduced, across = False, False
    for row in range(nest.loop_count[level]):
        dim = nest.loops[row, 0]
        if problem.relevant[O, dim]:
            distinct *= nest.loops[row, 1]
        reduced = reduced or problem.reduction[dim]
    for outer in range(level):
        for dim in (C, R, S):
            if nest.factors[outer, 1, dim] * nest.factors[outer, 2, dim] > 1:
                across = True
    finished, partial = problem.stored_bits[level, 2], problem.stored_bits[level, 3]
    fills = 0
    if written_back > 0:
        fills = written_back if problem.first_fill_counted else written_back - distinct
    final = 0 if across else distinct
    if finished == partial:
        update_words = packed_words(problem, level, updates, finished)
    else:
        update_words = packed_words(problem, level, updates - final, partial)
        update_words += packed_words(problem, level, final, finished)
    holds_partial = reduced or across or updates > distinct
    return (
        packed_words(problem, level, updates - distinct, partial),
        packed_words(problem, level, fills, partial),
        update_words,
        packed_words(problem, level, tile, partial if holds_partial else finished),
    )


@compiled
def port_cycles(problem: Problem, nest: Nest, level: int) -> int:
    """Cycles that the ports of the memories priced outside ``level`` need."""
    cycles = 0.0
    for memory in range(problem.levels):
        for port in range(2):
            if problem.bandwidth[memory, port] < np.inf:
                needed = nest.port_words[level, memory, port] / problem.bandwidth[memory, port]
                cycles = max(cycles, np.ceil(needed))
    return int(cycles)


@compiled
def total_cost(problem: Problem, nest: Nest) -> tuple[float, int]:
    """Energy in pJ and cycles of a finished nest."""
    levels = problem.levels
    compute = int(np.ceil(nest.steps[levels] * problem.mac_cycles * (1 - ROUNDING)))
    cycles = max(compute, port_cycles(problem, nest, levels))
    leakage = 0.0
    for level in range(levels + 1):
        leakage += problem.leakage_pj[level] * nest.instances[level]
    return nest.energy[levels] + problem.mac_pj + leakage * cycles, cycles


@compiled
def price(problem: Problem, nest: Nest, orders: Ints) -> tuple[float, int, bool]:
    """Energy, cycles and fit of a nest with its factors set; ``orders`` (L, 8) innermost first."""
    for level in range(problem.levels):
        push_loops(nest, level, orders[level])
        if not close_level(problem, nest, level):
            return 0.0, 0, False
    energy, cycles = total_cost(problem, nest)
    return energy, cycles, True


@compiled
def price_all(problem: Problem, nest: Nest, factors: Ints, orders: Ints) -> Floats:
    """Energy and cycles of many mappings, NaN where a tile does not fit.

    Args:
        problem: the layer on the machine.
        nest: scratch space.
        factors: (count, L, 3, 8).
        orders: (count, L, 8), innermost first.

    Returns:
        (count, 2).
    """
    results = np.empty((factors.shape[0], 2))
    for index in range(factors.shape[0]):
        nest.factors[: problem.levels] = factors[index]
        energy, cycles, fits = price(problem, nest, orders[index])
        results[index, 0] = energy if fits else np.nan
        results[index, 1] = cycles if fits else np.nan
    return results
