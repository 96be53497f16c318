"""How little of the inputs must arrive where windows slide over them.

A memory's tile of I is a box of rows and columns. When a loop steps, only what the box did not
cover before arrives (docs/cost-model.md), so what arrives per multiply-accumulate depends on the
tile and on the loops outside it. Here is the least over all loops, for every tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np

from qmc.mapspace import divisors
from qmc.nest_records import Floats, Ints, P, Q, R, S

#: Rows of :func:`arriving_windows`: how much of the loop over K a tile stays for.
NO_K, SOME_K, ALL_K = range(3)
#: Dims that move windows: (outputs, taps) along the height, and along the width.
SIDES = ((P, R), (Q, S))
#: States of a walk outwards over the loops along a side: nothing passed yet; later moves may slide
#: either way; they may slide forwards only.
_FIRST, _EITHER, _FORWARDS = range(3)


@dataclass(frozen=True, slots=True)
class Windows:
    """Sizes of windows: all tuples of divisors of P, R, Q, S, the last one fastest.

    Attributes:
        values: the divisors of each.
        nodes: (nodes,) which of the tuples a node of the lattice has.
        steps: stride and dilation of the height, and of the width.
        least: of :func:`least_inputs`.
    """

    values: tuple[Ints, Ints, Ints, Ints]
    nodes: Ints
    steps: tuple[tuple[int, int], tuple[int, int]]
    least: float


def windows(bounds: tuple[int, ...], digits: Ints, steps: Sequence[int]) -> Windows:
    """The windows of a lattice; ``digits`` (nodes, 8), ``steps`` as ``window`` of a problem."""
    dims = [dim for side in SIDES for dim in side]
    values = [np.array(divisors(bounds[dim])) for dim in dims]
    down, tall, right, wide = (int(step) for step in steps)
    return Windows(
        values=(values[0], values[1], values[2], values[3]),
        nodes=np.ravel_multi_index(tuple(digits[:, d] for d in dims), [len(v) for v in values]),
        steps=((down, tall), (right, wide)),
        least=least_inputs(bounds, steps),
    )


def least_inputs(bounds: Sequence[int], steps: Sequence[int]) -> float:
    """Elements of I per multiply-accumulate and extent of K when each that is used arrives once."""
    least = 1.0
    for (outputs, taps), at in zip(SIDES, (0, 2), strict=True):
        n, m = int(bounds[outputs]), int(bounds[taps])
        stride, step = int(steps[at]), int(steps[at + 1])
        common = gcd(stride, step)
        again = max(0, n - step // common) * max(0, m - stride // common)
        least *= (n * m - again) / (n * m)
    return least


def arriving_windows(
    found: Windows, fan_outs: Sequence[Ints], jumps: bool, channels: int
) -> Floats:
    """(3, windows) elements of I that arrive per multiply-accumulate and extent of K, at least.

    By what of the loop over K lies inside the loops that move the window: while it runs the tile
    stays, and after it windows may slide back. Windows of instances that start at the same place
    are one.

    Args:
        found: the windows, of all instances together.
        fan_outs: (2, 8) extents along x and y, of the fan-outs between the loops and the tile, the
            innermost last.
        jumps: whether there are more fan-outs outside, so that the next loop may step further than
            what the loops inside it cover.
        channels: bound of K.
    """
    whole, share = [], []
    for at, dims in enumerate(SIDES):
        axes = [tuple(map(tuple, fan[:, dims].tolist())) for fan in fan_outs]
        sizes = tuple(tuple(map(int, v)) for v in found.values[2 * at : 2 * at + 2])
        tables = _side(sizes, found.steps[at], tuple(axes), jumps)
        whole.append(tables[0])
        share.append(tables[1])
    full = whole[0][:, :, None, None] * whole[1]
    cases = (NO_K,) * 3 if channels == 1 else (NO_K, SOME_K, ALL_K)
    rows = []
    for case in cases:
        part = np.minimum(share[0][case][:, :, None, None], share[1][case])
        arriving = full * part
        rows.append(arriving if case == SOME_K else np.maximum(arriving, found.least))
    table: Floats = np.stack(rows).reshape(3, -1)
    return table


_Axes = tuple[tuple[tuple[int, ...], ...], ...]


@lru_cache(maxsize=1024)
def _side(
    sizes: tuple[tuple[int, ...], ...], steps: tuple[int, int], axes: _Axes, jumps: bool
) -> tuple[Floats, Floats]:
    """Along one side: (outputs, taps) what a box brings per output and tap; shares of it by case.

    Args:
        sizes: divisors of the outputs and of the taps, all instances together.
        steps: stride and dilation.
        axes: of every fan-out, along x and y, instances by outputs and by taps.
        jumps: see :func:`arriving_windows`.
    """
    stride, step = steps
    whole = np.full((len(sizes[0]), len(sizes[1])), np.inf)
    share = np.ones((3, *whole.shape))
    spread = [1, 1]
    for fan in axes:
        for axis in fan:
            spread = [spread[0] * axis[0], spread[1] * axis[1]]
    for i, outputs in enumerate(sizes[0]):
        for j, taps in enumerate(sizes[1]):
            if outputs % spread[0] or taps % spread[1]:
                continue
            own = outputs // spread[0], taps // spread[1]
            length = (own[0] - 1) * stride + (own[1] - 1) * step + 1
            whole[i, j] = length / (own[0] * own[1]) / _sharing(own, steps, axes)
            left = sizes[0][-1] // outputs, sizes[1][-1] // taps
            moves = stride * outputs, step * taps
            for case in (NO_K, SOME_K, ALL_K):
                state = _FIRST if case == NO_K else _EITHER
                share[case, i, j] = _least_share(
                    length, 0, moves, left, state, case == SOME_K, jumps
                )
    return whole, share


def _sharing(own: tuple[int, int], steps: tuple[int, int], axes: _Axes) -> float:
    """Instances that share a window on average.

    Args:
        own: outputs and taps of the tile of one instance.
        steps: stride and dilation.
        axes: see :func:`_side`.
    """
    share = 1.0
    a, b = steps[0] * own[0], steps[1] * own[1]
    for fan in reversed(axes):
        for n, m in reversed(fan):  # y lies inside x
            if n > 1 and m > 1:
                common = gcd(a, b)
                again = max(0, n - b // common) * max(0, m - a // common)
                share *= n * m / (n * m - again)
            a, b = a * n, b * m
    return share


@lru_cache(maxsize=1 << 17)
def _least_share(
    length: int,
    moved: int,
    moves: tuple[int, int],
    left: tuple[int, int],
    state: int,
    returns: bool,
    jumps: bool,
) -> float:
    """Least part of a box that a step brings, on average over the loops outside.

    Only loops along one side slide; once loops along both, or over anything but K, have passed,
    every step brings a whole box. A loop that wraps is taken to come from its second position.

    Args:
        length: of the box along the side.
        moved: how far the loops passed so far have moved it.
        moves: how far the next loop over outputs, or over taps, moves it.
        left: what is left of both.
        state: see :data:`_FIRST`.
        returns: whether a loop over K may follow, at whose steps the box slides back.
        jumps: whether the next loop may move further by a factor of what is left.
    """
    least = min(1.0, moved / length) if returns and moved else 1.0
    for way in range(2):
        for jump in divisors(left[way]) if jumps else (1,):
            reach = moves[way] * jump
            step = reach - moved
            brings = min(1.0, abs(step) / length)
            follows = state
            if state == _FIRST:
                follows = _FORWARDS if brings < 1 else _EITHER
            elif state == _FORWARDS and step < 0:
                brings = 1.0
            for extent in divisors(left[way] // jump)[1:]:
                rest = left[way] // (jump * extent)
                further = (reach * extent, moves[1]) if way == 0 else (moves[0], reach * extent)
                inner = (rest, left[1]) if way == 0 else (left[0], rest)
                outside = _least_share(
                    length, moved + reach, further, inner, follows, returns, jumps
                )
                least = min(least, brings + (outside - brings) / extent)
    return least
