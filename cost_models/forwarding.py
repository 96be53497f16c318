"""Inputs passed on between neighbouring instances, as Timeloop assumes wherever it saves reads.

An instance whose next piece of the input is what a neighbour along the array has just fetched takes
it from there: the outer memory reads less, the neighbour's memory reads once more. No machine that
comes with qmc has such wires, so this belongs to the compatibility rules (``psum: output``).

Source: NVlabs/timeloop src/loop-analysis/nest-analysis.cpp (ComputeNetworkLinkTransfers) and
tiling.cpp (ComputePeerAccesses).
"""

from __future__ import annotations

from dataclasses import dataclass

from qmc.cost_models.nest import Nest
from qmc.cost_models.receivers import distinct_along, distinct_receivers
from qmc.cost_models.tiles import (
    Step,
    axis_of,
    box_sides,
    step_counts,
    tile_steps,
    volume,
)
from qmc.layer import Operand
from qmc.mapping import Loop

_Offset = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Elements of I that neighbours pass on.

    Attributes:
        saved_reads: elements the outer memory need not read, per instance of it.
        from_outside: elements that still come from outside, per receiver.
        between_neighbours: elements read at, and filled by, neighbours, per receiver. Timeloop
            spreads those of one group of neighbours over all used instances of the machine. Both
            are averages that it cuts to whole numbers.
    """

    saved_reads: int
    from_outside: int
    between_neighbours: int


def forwarding(nest: Nest, outer: int, inner: int) -> Forwarding | None:
    """What is forwarded between the instances of level ``inner`` served by level ``outer``.

    Neighbours are found along the innermost axis of the fan-out right above ``inner``.
    """
    block = _innermost_axis(nest, inner)
    if not block or inner == nest.mac_index:
        return None
    tile = nest.tile(inner)
    offsets = _offsets(nest, block, inner)
    steps = tile_steps(nest.layer, Operand.I, tile, nest.outer_loops(inner))
    sides = box_sides(nest.layer, Operand.I, tile)
    passed = saved = 0
    for elements, shift, count in _events(steps, sides):
        receivers = _receivers(offsets, shift)
        rest = {offset for index, offset in enumerate(offsets) if index not in receivers}
        saving = len(set(offsets)) - len(rest)
        if saving:
            passed += elements * count * len(receivers)
            saved += elements * count * saving
    if not passed:
        return None
    total = volume(sides) + sum(
        step.elements * count for step, count in zip(steps, step_counts(steps), strict=True)
    )
    other_axes = distinct_receivers(nest, Operand.I, outer, inner)
    other_axes //= distinct_along(nest, Operand.I, inner - 1)[block[0].spatial or ""]
    return Forwarding(
        saved_reads=saved * other_axes,
        from_outside=(total * len(offsets) - passed) // len(offsets),
        between_neighbours=passed // nest.used_instances(inner),
    )


def _innermost_axis(nest: Nest, inner: int) -> tuple[Loop, ...]:
    level = nest.target.memories[inner - 1]
    axis = "y" if level.fanout_y > 1 else "x"
    return tuple(loop for loop in nest.spatial[inner - 1] if loop.spatial == axis)


def _offsets(nest: Nest, block: tuple[Loop, ...], inner: int) -> list[_Offset]:
    """Position of the box of every instance along the axis, in the order of the wires."""
    reach = nest.tile(inner)
    offsets: list[_Offset] = [(0, 0, 0, 0, 0)]
    for loop in reversed(block):
        axis_step = axis_of(nest.layer, Operand.I, loop.dim)
        step = [0] * 5
        if axis_step is not None:
            step[axis_step[0]] = axis_step[1] * reach[loop.dim]
        offsets = [
            tuple(base + index * distance for base, distance in zip(offset, step, strict=True))
            for index in range(loop.extent)
            for offset in offsets
        ]
        reach[loop.dim] *= loop.extent
    return offsets


def _events(steps: list[Step], sides: _Offset) -> list[tuple[int, _Offset, int]]:
    """Fetches that have the shape of the fetch before: elements, distance between both, count.

    The fetch before a step of an outer loop is a step of the innermost one; the fetch before a step
    of the innermost loop is the first tile or a step of an outer loop.
    """
    if not steps:
        return []
    first, counts = steps[0], step_counts(steps)
    start = Step(first.loop, first.move, (0,) * len(sides), sides)
    pairs = [(start, first, first.loop.extent - 1)]
    for step, count in zip(steps[1:], counts[1:], strict=True):
        pairs.append((first, step, count))
        pairs.append((step, first, count * (first.loop.extent - 1)))
    return [
        (new.elements, _distance(old, new), count)
        for old, new, count in pairs
        if new.elements and new.sides == old.sides
    ]


def _distance(old: Step, new: Step) -> _Offset:
    return tuple(
        move + new_low - old_low
        for move, new_low, old_low in zip(new.move, new.low, old.low, strict=True)
    )


def _receivers(offsets: list[_Offset], shift: _Offset) -> set[int]:
    """Instances whose fetch, moved by ``shift``, is what a neighbour fetched before."""
    found = set()
    for index, offset in enumerate(offsets):
        wanted = tuple(base + distance for base, distance in zip(offset, shift, strict=True))
        for neighbour in (index - 1, index + 1):
            if 0 <= neighbour < len(offsets) and offsets[neighbour] == wanted:
                found.add(index)
    return found
