"""Tiles on flat arrays: their size, what moves when a loop steps, who shares them. Compiled.

The same rules as :mod:`qmc.cost_models.tiles` and :mod:`qmc.cost_models.receivers`.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from qmc.jit import inlined
from qmc.nest_records import (
    DIM,
    EXTENT,
    OUTSIDE,
    REACH,
    C,
    G,
    I,
    Ints,
    K,
    N,
    Nest,
    O,
    P,
    Problem,
    Q,
    R,
    S,
    W,
)


@inlined
def window_height(problem: Problem, tile: Ints) -> int:
    """Rows of I under a tile."""
    return (tile[P] - 1) * problem.window[0] + (tile[R] - 1) * problem.window[1] + 1


@inlined
def window_width(problem: Problem, tile: Ints) -> int:
    """Columns of I under a tile."""
    return (tile[Q] - 1) * problem.window[2] + (tile[S] - 1) * problem.window[3] + 1


@inlined
def tile_elements(problem: Problem, operand: int, tile: Ints) -> int:
    """Elements of an operand's box."""
    if operand == W:
        return tile[G] * tile[K] * tile[C] * tile[R] * tile[S]
    if operand == O:
        return tile[N] * tile[G] * tile[K] * tile[P] * tile[Q]
    depth = tile[N] * tile[G] * tile[C]
    return depth * window_height(problem, tile) * window_width(problem, tile)


@inlined
def distinct_outputs(problem: Problem, nest: Nest, level: int) -> int:
    """Output elements that one instance of ``level`` ever sees."""
    return nest.outputs[level]


@inlined
def moved_elements(problem: Problem, nest: Nest, operand: int, level: int) -> int:
    """Elements that reach one instance of ``level`` over the run."""
    if operand == I:
        return _moved_inputs(problem, nest, level)
    visits = 1
    for row in range(nest.loop_count[level] - 1, -1, -1):
        if problem.relevant[operand, nest.loops[row, DIM]]:
            visits = nest.loops[row, OUTSIDE] * nest.loops[row, EXTENT]
            break
    return tile_elements(problem, operand, nest.tile[level]) * visits


@inlined
def _moved_inputs(problem: Problem, nest: Nest, level: int) -> int:
    """The same for I, whose boxes overlap: only what the previous box did not cover is moved."""
    tile = nest.tile[level]
    height, width = window_height(problem, tile), window_width(problem, tile)
    depth = tile[N] * tile[G] * tile[C]
    volume = depth * height * width
    total = volume
    down, right = 0, 0  # where the loops inside stand when the next one steps
    direction = 0
    last = nest.loop_count[level] - 1
    for row in range(last, -1, -1):
        dim, extent, outside = (
            nest.loops[row, DIM],
            nest.loops[row, EXTENT],
            nest.loops[row, OUTSIDE],
        )
        if dim == N or dim == G or dim == C:  # and whatever steps outside, the box is a new one
            return total + volume * (outside * extent - 1)
        reach = nest.loops[row, REACH]
        step_down, step_right = reach * problem.slide[dim, 0], reach * problem.slide[dim, 1]
        charge, slide = _charge(depth, height, width, step_down - down, step_right - right)
        down += step_down
        right += step_right
        if row == last:
            direction = slide
        elif charge > 0 and direction != 0 and slide != direction:
            charge = volume
        total += charge * (extent - 1) * outside
    return total


@inlined
def _charge(depth: int, height: int, width: int, down: int, right: int) -> tuple[int, int]:
    """Elements of a moved box outside the old one; axis and sign of the move if both overlap."""
    if down == 0 and right == 0:
        return 0, 0
    if (down != 0 and right != 0) or abs(down) >= height or abs(right) >= width:
        return depth * height * width, 0
    if down != 0:
        return depth * width * abs(down), (1 if down > 0 else -1)
    return depth * height * abs(right), (2 if right > 0 else -2)


@inlined
def distinct_receivers(problem: Problem, nest: Nest, operand: int, outer: int, inner: int) -> int:
    """Instances of ``inner`` below one of ``outer`` that need different data at once."""
    count = 1
    for level in range(outer, inner):
        if nest.instances[level + 1] > nest.instances[level]:
            for axis in range(1, 3):
                count *= distinct_along(problem, nest, operand, level, axis)
    return count


@inlined
def distinct_along(problem: Problem, nest: Nest, operand: int, level: int, axis: int) -> int:
    """Different tiles along one axis of the fan-out below ``level``."""
    along = nest.factors[level, axis]
    if operand == W:
        return along[G] * along[K] * along[C] * along[R] * along[S]
    if operand == O:
        return along[N] * along[G] * along[K] * along[P] * along[Q]
    count = along[N] * along[G] * along[C] * along[P] * along[R] * along[Q] * along[S]
    return _share_windows(problem, nest, level, axis, count)


@inlined
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


@inlined
def distinct_sums(a: int, n: int, b: int, m: int) -> int:
    """Number of different values of a*i + b*j for i < n, j < m."""
    x, y = a, b
    while y:
        x, y = y, x % y
    shared = max(0, n - b // x) * max(0, m - a // x)
    return n * m - shared


@inlined
def reduced_in_space(nest: Nest, level: int) -> bool:
    """Whether instances of ``level`` add up the same outputs with others."""
    return nest.summed[level, 1] != 0
