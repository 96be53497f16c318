"""What a chain of transposes and reshapes does, found by following every element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.passes.relax_expr import op_name, static_shape

RESHAPES = frozenset({"relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten"})
TRANSPOSE = "relax.permute_dims"


@dataclass(frozen=True, slots=True)
class Movement:
    """A transposition of the source followed by a reshape.

    Attributes:
        source: shape before, of 2 to 4 dimensions.
        perm: axes of the transposition.
    """

    source: tuple[int, ...]
    perm: tuple[int, ...]

    def is_identity(self, target: tuple[int, ...]) -> bool:
        """Whether channels and pixels stay where they are, so that no data moves."""
        if self.perm != tuple(range(len(self.source))):
            return False
        same_pixels = self.source[2:] == target[2:] or math.prod(target[2:]) == 1
        return self.source[1] == target[1] and same_pixels


def transpose_axes(call: Any) -> list[int]:
    """Axes of a ``permute_dims``, all counted from the front."""
    rank = len(call.args[0].ty.shape)
    axes = call.attrs.axes
    return [int(a) % rank for a in axes] if axes is not None else list(range(rank))[::-1]


def apply(call: Any, order: NDArray[np.int32]) -> NDArray[np.int32]:
    """Move ``order`` as ``call`` moves its data."""
    if op_name(call) == TRANSPOSE:
        return order.transpose(transpose_axes(call))
    return order.reshape(static_shape(call))


def movement_of(data: Any, calls: list[Any], source: tuple[int, ...]) -> Movement | None:
    """The movement that a chain of calls makes; None if one transpose cannot make it.

    Args:
        data: what the first call reads.
        calls: transposes and reshapes in order.
        source: shape of ``data``; rank 3 counts as (1, C, 1, L).
    """
    order = np.arange(math.prod(source), dtype=np.int32).reshape(source)
    for call in calls:
        order = apply(call, order)
    return find_movement(source, order)


def find_movement(source: tuple[int, ...], order: NDArray[np.int32]) -> Movement | None:
    """The movement that puts the elements of ``source`` into ``order``."""
    if len(source) == 3:
        source = (*source[:2], 1, source[2])
    if not 2 <= len(source) <= 4:
        return None
    start = np.arange(order.size, dtype=np.int32).reshape(source)
    wanted = order.reshape(-1)
    for perm in permutations(range(len(source))):  # the identity comes first
        if np.array_equal(start.transpose(perm).reshape(-1), wanted):
            return Movement(source, perm)
    return None


def is_channel_shuffle(shape: tuple[int, ...], calls: list[Any]) -> bool:
    """Whether a chain of calls shuffles the channels of ``shape``, which it keeps.

    Args:
        shape: (1, channels, height, width).
        calls: transposes and reshapes in order; the first makes (1, groups, channels, pixels).
    """
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    for call in calls:
        order = apply(call, order)
    shuffle = find_channel_shuffle(order)
    view = static_shape(calls[0])
    return shuffle is not None and shuffle.source == view and view[3] == math.prod(shape[2:])


def find_channel_shuffle(order: NDArray[np.int32]) -> Movement | None:
    """The swap of two axes that makes ``order`` out of a view (1, a, b, rest) of its source.

    This is ShuffleNet's channel shuffle (Zhang et al., 2018, section 3.1): channels are seen as
    ``a`` groups of ``b``.
    """
    flat = order.reshape(-1)
    breaks = np.flatnonzero(np.diff(flat) != 1)
    if not breaks.size:
        return None
    rest = int(breaks[0]) + 1
    second = int(flat[rest]) // rest  # where the first element of the next group lies
    if second < 2 or flat.size % (second * rest):
        return None
    view = (1, flat.size // (second * rest), second, rest)
    swapped = np.arange(flat.size, dtype=np.int32).reshape(view).transpose(0, 2, 1, 3)
    return Movement(view, (0, 2, 1, 3)) if np.array_equal(swapped.reshape(-1), flat) else None
