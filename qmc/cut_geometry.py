"""Tiles of nests whose loops do not divide their dims, on flat arrays. Compiled.

The rules of :mod:`qmc.cost_models.cut_tiles`, which stays the reference.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.cut_records import CutNest
from qmc.jit import compiled
from qmc.nest_geometry import distinct_sums, window_height, window_width
from qmc.nest_records import C, G, I, Ints, K, N, O, P, Problem, Q, R, S, W

#: Columns of the loops outside a level along one dim: step, first and last index.
STEP, FIRST, LAST = range(3)
#: Which instances count one by one: none; all; below ``outer`` those with data of their own, and
#: outside it none, or all.
NONE, ALL, SERVED, SERVED_EVERYWHERE = range(4)
#: Which moments count: all up to a loop in time, or that loop's own.
UP_TO, OWN = range(2)
_MOST_SPANS = 48
_MOST_PAIRS = 64


@compiled
def is_apart(problem: Problem, operand: int, dim: int, at: int, outer: int, apart: int) -> bool:
    """Whether the instances along a dim below level ``at`` count one by one."""
    if apart == SERVED or apart == SERVED_EVERYWHERE:
        if at >= outer:
            return problem.relevant[operand, dim] != 0
        return apart == SERVED_EVERYWHERE
    return apart == ALL


@compiled
def tile_pairs(
    problem: Problem,
    nest: CutNest,
    operand: int,
    dim: int,
    level: int,
    outer: int,
    apart: int,
    row: int,
    moments: int,
    pairs: Ints,
) -> int:
    """Extents along a dim of the tiles of a moment, and of those right before them.

    Args:
        problem: the layer on the machine.
        nest: the mapping.
        operand: see :func:`is_apart`.
        dim: along which.
        level: whose tiles.
        outer: see :func:`is_apart`.
        apart: see :func:`is_apart`.
        row: a loop in time; -1 is the first moment.
        moments: that of ``row`` and all before, or its own.
        pairs: (any, 3) takes new extent, old extent and how often both occur.

    Returns:
        How many pairs there are.
    """
    spans = np.empty((_MOST_SPANS, 3), np.int64)
    count, back = 0, 0
    for at in range(level):
        for loop in range(nest.loop_count[at], nest.loop_count[at + 1]):
            if nest.loops[loop, 0] == dim:
                step, last = nest.loops[loop, 2], nest.loops[loop, 1] - 1
                spans[count, STEP] = step
                spans[count, FIRST] = 1 if loop == row and moments == OWN else 0
                spans[count, LAST] = last if loop <= row else 0
                count += 1
                if moments == OWN and loop >= row:
                    back += -step if loop == row else step
        for axis in range(1, 3):
            if nest.factors[at, axis, dim] > 1:
                spans[count, STEP] = nest.inside[at, axis, dim]
                spans[count, FIRST] = 0
                last = nest.factors[at, axis, dim] - 1
                spans[count, LAST] = (
                    last if is_apart(problem, operand, dim, at, outer, apart) else 0
                )
                count += 1
    return _pairs_of(spans, count, problem.bounds[dim], nest.tile[level, dim], back, pairs)


@compiled
def _pairs_of(spans: Ints, count: int, bound: int, full: int, back: int, pairs: Ints) -> int:
    """The same from the loops of the dim outside the level, outermost first.

    Whole blocks of tiles are counted at once, the others entered one by one.
    """
    left = np.empty(_MOST_SPANS + 1, np.int64)  # of the bound, where the loops so far stand
    place = np.empty(_MOST_SPANS + 1, np.int64)  # of each of them, -1 before its first
    stop = np.empty(_MOST_SPANS + 1, np.int64)
    left[0], place[0] = bound, -1
    index, found = 0, 0
    while index >= 0:
        if place[index] < 0:
            deepest, times = 0, 1
            for inner in range(index, count):
                deepest += spans[inner, STEP] * spans[inner, LAST]
                times *= spans[inner, LAST] - spans[inner, FIRST] + 1
            place[index] = stop[index] = 0
            if left[index] - deepest >= full + max(back, 0):
                found = _add_pair(pairs, found, full, full, times)
            elif index == count:
                old = min(full, max(left[index] - back, 0))
                found = _add_pair(pairs, found, min(full, left[index]), old, 1)
            else:
                step, first, last = spans[index, STEP], spans[index, FIRST], spans[index, LAST]
                spare = left[index] - (deepest - step * last + full + max(back, 0))
                whole = min(last, spare // step) - first + 1 if spare >= first * step else 0
                if whole > 0:
                    times = times // (last - first + 1) * whole
                    found = _add_pair(pairs, found, full, full, times)
                place[index] = first + whole
                stop[index] = min(last, (left[index] - 1) // step) + 1
        if place[index] >= stop[index]:
            index -= 1
        else:
            left[index + 1] = left[index] - place[index] * spans[index, STEP]
            place[index + 1] = -1
            place[index] += 1
            index += 1
    return found


@compiled
def _add_pair(pairs: Ints, found: int, new: int, old: int, times: int) -> int:
    for index in range(found):
        if pairs[index, 0] == new and pairs[index, 1] == old:
            pairs[index, 2] += times
            return found
    pairs[found, 0], pairs[found, 1], pairs[found, 2] = new, old, times
    return found + 1


@compiled
def tiles_along(
    problem: Problem,
    nest: CutNest,
    operand: int,
    dim: int,
    level: int,
    outer: int,
    apart: int,
    row: int,
    moments: int,
) -> tuple[int, int]:
    """Tiles of some moments along a dim: how many, and their extents added up."""
    pairs = np.empty((_MOST_PAIRS, 3), np.int64)
    found = tile_pairs(problem, nest, operand, dim, level, outer, apart, row, moments, pairs)
    tiles, extents = 0, 0
    for index in range(found):
        tiles += pairs[index, 2]
        extents += pairs[index, 0] * pairs[index, 2]
    return tiles, extents


@compiled
def _lengths(
    problem: Problem,
    nest: CutNest,
    side: int,
    level: int,
    outer: int,
    apart: int,
    row: int,
    moments: int,
) -> tuple[int, int]:
    """Rows (or columns) of I's boxes of some moments, and those that the boxes before had."""
    outputs, taps = (P, R) if side == 0 else (Q, S)
    stride, dilation = problem.window[2 * side], problem.window[2 * side + 1]
    start = 0
    if moments == OWN:
        for loop in range(row, nest.loop_count[level]):
            sign = -1 if loop == row else 1
            if nest.loops[loop, 0] == outputs:
                start += sign * stride * nest.loops[loop, 2]
            elif nest.loops[loop, 0] == taps:
                start += sign * dilation * nest.loops[loop, 2]
    a = np.empty((_MOST_PAIRS, 3), np.int64)
    b = np.empty((_MOST_PAIRS, 3), np.int64)
    many = tile_pairs(problem, nest, I, outputs, level, outer, apart, row, moments, a)
    more = tile_pairs(problem, nest, I, taps, level, outer, apart, row, moments, b)
    total, kept = 0, 0
    for i in range(many):
        for j in range(more):
            times = a[i, 2] * b[j, 2]
            length = (a[i, 0] - 1) * stride + (b[j, 0] - 1) * dilation + 1
            total += times * length
            if a[i, 1] > 0 and b[j, 1] > 0:
                end = start + (a[i, 1] - 1) * stride + (b[j, 1] - 1) * dilation + 1
                kept += times * max(0, min(length, end) - max(0, start))
    return total, kept


@compiled
def cut_elements(
    problem: Problem,
    nest: CutNest,
    operand: int,
    level: int,
    outer: int,
    apart: int,
    row: int,
    moments: int,
    slides: bool,
) -> int:
    """Elements of the tiles of some moments; where I slides, those that come anew."""
    total = 1
    for dim in range(8):
        if operand != I or dim == N or dim == G or dim == K or dim == C:
            tiles, extents = tiles_along(
                problem, nest, operand, dim, level, outer, apart, row, moments
            )
            total *= extents if problem.relevant[operand, dim] else tiles
    if operand == I:
        high, high_kept = _lengths(problem, nest, 0, level, outer, apart, row, moments)
        wide, wide_kept = _lengths(problem, nest, 1, level, outer, apart, row, moments)
        total *= high * wide - (high_kept * wide_kept if slides else 0)
    return total


@compiled
def cut_moved(
    problem: Problem, nest: CutNest, operand: int, level: int, outer: int, apart: int
) -> int:
    """Elements that reach the tiles of ``level`` over the run."""
    last = nest.loop_count[level] - 1
    if level == problem.levels:
        total = 1
        for dim in range(8):
            tiles, _ = tiles_along(problem, nest, operand, dim, level, outer, apart, last, UP_TO)
            total *= tiles
        return total
    if operand == I:
        return _moved_inputs(problem, nest, level, outer, apart)
    while last >= 0 and not problem.relevant[operand, nest.loops[last, 0]]:
        last -= 1
    return cut_elements(problem, nest, operand, level, outer, apart, last, UP_TO, False)


@compiled
def _moved_inputs(problem: Problem, nest: CutNest, level: int, outer: int, apart: int) -> int:
    """The same for I: what happens to a box is decided by the nest that is not cut."""
    tile = nest.tile[level]
    height, width = window_height(problem, tile), window_width(problem, tile)
    last = nest.loop_count[level] - 1
    total, down, right, direction = 0, 0, 0, 0
    for row in range(last, -1, -1):
        dim, step = nest.loops[row, 0], nest.loops[row, 2]
        if dim == N or dim == G or dim == C:  # this and whatever steps outside bring whole boxes
            return total + cut_elements(problem, nest, I, level, outer, apart, row, UP_TO, False)
        step_down, step_right = step * problem.slide[dim, 0], step * problem.slide[dim, 1]
        kind = _kind(height, width, step_down - down, step_right - right)
        down += step_down
        right += step_right
        slide = kind if kind != REPLACED else STAYS
        if row == last:
            direction = slide
        elif kind != STAYS and direction != STAYS and slide != direction:
            kind = REPLACED
        if kind != STAYS:
            total += cut_elements(problem, nest, I, level, outer, apart, row, OWN, kind != REPLACED)
    return total + cut_elements(problem, nest, I, level, outer, apart, -1, UP_TO, False)


#: What happens to a box: axis and sign of a slide are 1, -1, 2 and -2.
STAYS, REPLACED = 0, 3


@compiled
def _kind(height: int, width: int, down: int, right: int) -> int:
    """What a move does to a box that is not cut."""
    if down == 0 and right == 0:
        return STAYS
    if (down != 0 and right != 0) or abs(down) >= height or abs(right) >= width:
        return REPLACED
    if down != 0:
        return 1 if down > 0 else -1
    return 2 if right > 0 else -2


@compiled
def cut_served(
    problem: Problem, nest: CutNest, operand: int, outer: int, inner: int, everywhere: bool
) -> int:
    """Elements that the first, or every, instance of ``outer`` exchanges with the next holder."""
    apart = SERVED_EVERYWHERE if everywhere else SERVED
    served = cut_moved(problem, nest, operand, inner, outer, apart)
    if operand == I:
        for level in range(outer, inner):
            for axis in range(1, 3):
                served = _share_windows(problem, nest, level, axis, served)
    return served


@compiled
def _share_windows(problem: Problem, nest: CutNest, level: int, axis: int, served: int) -> int:
    """Instances along one axis whose windows start at the same place share them."""
    factors, inside = nest.factors[level, axis], nest.inside[level, axis]
    for outputs, taps, at in ((P, R, 0), (Q, S, 2)):
        n, m = factors[outputs], factors[taps]
        if n > 1 and m > 1:
            a, b = problem.window[at] * inside[outputs], problem.window[at + 1] * inside[taps]
            served = served * distinct_sums(a, n, b, m) // (n * m)
    return served


@compiled
def cut_windows_meet(problem: Problem, nest: CutNest, level: int) -> bool:
    """Whether outputs and taps of a window lie along one axis below ``level``, one of them cut."""
    for axis in range(1, 3):
        for outputs, taps in ((P, R), (Q, S)):
            if nest.factors[level, axis, outputs] > 1 and nest.factors[level, axis, taps] > 1:
                for dim in (outputs, taps):
                    whole = nest.tile[level + 1, dim]
                    for at in range(level + 1):
                        for block in range(3):
                            whole *= nest.factors[at, block, dim]
                    if whole != problem.bounds[dim]:
                        return True
    return False


@compiled
def outputs_seen(problem: Problem, nest: CutNest, level: int, apart: int) -> int:
    """Output elements that the first, or every, instance of ``level`` ever sees."""
    last = nest.loop_count[level] - 1
    total = 1
    for dim in range(8):
        reduced = problem.reduction[dim] != 0
        row = -1 if reduced else last
        tiles, extents = tiles_along(problem, nest, O, dim, level, 0, apart, row, UP_TO)
        total *= tiles if reduced else extents
    return total


@compiled
def summed_in_space(nest: CutNest, level: int) -> bool:
    """Whether instances of ``level`` add up the same outputs with others."""
    for at in range(level):
        for dim in (C, R, S):
            if nest.factors[at, 1, dim] > 1 or nest.factors[at, 2, dim] > 1:
                return True
    return False


@compiled
def work_left(problem: Problem, nest: CutNest, level: int) -> float:
    """Points that the first instance of ``level`` works through over the run."""
    last = nest.loop_count[level] - 1
    total = 1.0
    for dim in range(8):
        _, extents = tiles_along(problem, nest, W, dim, level, 0, NONE, last, UP_TO)
        total *= extents
    return total
