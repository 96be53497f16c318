"""Which instances along an axis want the same data: they share it by multicast, or add it up."""

from __future__ import annotations

from math import prod

from qmc.cost_models.nest import Extents, Nest
from qmc.cost_models.tiles import axis_of
from qmc.layer import Layer, Operand
from qmc.mapping import Loop


def distinct_receivers(nest: Nest, operand: Operand, outer: int, inner: int) -> int:
    """Instances of level ``inner`` below one of ``outer`` that need different data at once.

    Sharing is found along one axis of one level at a time.
    """
    return prod(
        prod(distinct_along(nest, operand, level).values()) for level in range(outer, inner)
    )


def distinct_along(nest: Nest, operand: Operand, level: int) -> dict[str, int]:
    """Different tiles of ``operand`` along each axis of the fan-out below ``level``."""
    blocks: dict[str, list[Loop]] = {}
    for loop in nest.spatial[level]:
        assert loop.spatial is not None
        blocks.setdefault(loop.spatial, []).append(loop)
    reach = nest.tile(level + 1)
    inside_out = reversed(list(blocks.items()))
    found = {
        axis: _distinct_offsets(nest.layer, operand, loops, reach) for axis, loops in inside_out
    }
    return {"x": 1, "y": 1} | found


def _distinct_offsets(layer: Layer, operand: Operand, block: list[Loop], reach: Extents) -> int:
    """Different positions of the operand's box over one axis; widens ``reach`` by its loops."""
    offsets: dict[int, set[int]] = {}
    for loop in reversed(block):
        axis_step = axis_of(layer, operand, loop.dim)
        if axis_step is not None:
            axis, unit = axis_step
            steps = [unit * reach[loop.dim] * index for index in range(loop.extent)]
            old = offsets.get(axis, {0})
            offsets[axis] = {base + step for base in old for step in steps}
        reach[loop.dim] *= loop.extent
    count = 1
    for positions in offsets.values():
        count *= len(positions)
    return count
