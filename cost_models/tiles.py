"""Tiles of an operand: their size, how they move from step to step, and what a move costs.

Counting rule (Timeloop's loop-nest analysis, NVlabs/timeloop src/loop-analysis/nest-analysis.cpp
and point-set-aahr.cpp): a tile is an axis-aligned box of its operand. When a loop outside steps,
only the part of the new box that the previous one did not cover is moved, provided the two boxes
differ along one axis; else the whole box. Of every loop the first two steps are looked at, the
second stands for all later ones; so a loop that wraps is taken to come from its second position.
"""

from __future__ import annotations

from dataclasses import dataclass

from qmc.cost_models.nest import Extents
from qmc.layer import RELEVANT, Layer, LoopDim, Operand
from qmc.mapping import Loop

_Box = tuple[int, ...]


def tile_elements(layer: Layer, operand: Operand, tile: Extents) -> int:
    """Elements of the operand's box for a tile of the loop nest; I with its halo."""
    return volume(box_sides(layer, operand, tile))


def box_sides(layer: Layer, operand: Operand, tile: Extents) -> _Box:
    """Sides of the operand's box: N, G, C, height, width for I, else its dims by name."""
    if operand is not Operand.I:
        return tuple(tile[dim] for dim in sorted(RELEVANT[operand]))
    height = _window(tile[LoopDim.P], layer.strides[0], tile[LoopDim.R], layer.dilations[0])
    width = _window(tile[LoopDim.Q], layer.strides[1], tile[LoopDim.S], layer.dilations[1])
    return (tile[LoopDim.N], tile[LoopDim.G], tile[LoopDim.C], height, width)


def _window(outputs: int, stride: int, taps: int, dilation: int) -> int:
    return (outputs - 1) * stride + (taps - 1) * dilation + 1


def axis_of(layer: Layer, operand: Operand, dim: LoopDim) -> tuple[int, int] | None:
    """Axis of the operand's box that ``dim`` moves along, and elements per unit of ``dim``.

    None: the dim does not index the operand.
    """
    if dim not in RELEVANT[operand]:
        return None
    if operand is not Operand.I:
        return sorted(RELEVANT[operand]).index(dim), 1
    match dim:
        case LoopDim.N:
            return 0, 1
        case LoopDim.G:
            return 1, 1
        case LoopDim.C:
            return 2, 1
        case LoopDim.P:
            return 3, layer.strides[0]
        case LoopDim.R:
            return 3, layer.dilations[0]
        case LoopDim.Q:
            return 4, layer.strides[1]
        case _:
            return 4, layer.dilations[1]


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to a tile when a loop steps and all loops in time inside it wrap.

    Attributes:
        loop: the loop.
        move: displacement of the box by axis.
        low, sides: the part of the new box that is fetched, seen from the new box's corner; all
            sides are 0 where nothing is.
    """

    loop: Loop
    move: _Box
    low: _Box
    sides: _Box

    @property
    def elements(self) -> int:
        """Elements fetched."""
        return volume(self.sides)


def moved_elements(layer: Layer, operand: Operand, tile: Extents, outer: tuple[Loop, ...]) -> int:
    """Elements that reach one holder of ``operand`` over the whole run, the first tile included.

    Args:
        layer: the layer.
        operand: whose tiles move.
        tile: loop extents of the tile held.
        outer: all loops outside the holder, in time and in space, innermost first.

    Returns:
        tile + sum over loops in time j of fetched_j * (n_j - 1) * product of the n_i further out.
    """
    steps = tile_steps(layer, operand, tile, outer)
    fetched = sum(
        step.elements * count for step, count in zip(steps, step_counts(steps), strict=True)
    )
    return tile_elements(layer, operand, tile) + fetched


def step_counts(steps: list[Step]) -> list[int]:
    """How often each of the steps, innermost loop first, happens in the whole run."""
    counts = []
    repeats = 1
    for step in reversed(steps):
        counts.append((step.loop.extent - 1) * repeats)
        repeats *= step.loop.extent
    return counts[::-1]


def tile_steps(
    layer: Layer, operand: Operand, tile: Extents, outer: tuple[Loop, ...]
) -> list[Step]:
    """Steps of the loops in time of ``outer``, innermost first.

    Loops in space only widen the distance of the steps.
    """
    sides = box_sides(layer, operand, tile)
    reach = dict(tile)
    wrapped = [0] * len(sides)
    steps: list[Step] = []
    direction: _Direction | None = None
    for loop in outer:
        if loop.spatial is None:
            move = [-offset for offset in wrapped]
            axis_step = axis_of(layer, operand, loop.dim)
            if axis_step is not None:
                axis, unit = axis_step
                move[axis] += unit * reach[loop.dim]
                wrapped[axis] += unit * reach[loop.dim]
            step, slide = _fetch(loop, sides, tuple(move))
            if not steps:
                direction = slide
            elif step.elements and direction is not None and slide != direction:
                # The window turned: nothing is carried over.
                step = Step(loop, step.move, (0,) * len(sides), sides)
            steps.append(step)
        reach[loop.dim] *= loop.extent
    return steps


#: Axis and sign of a move between two overlapping boxes.
_Direction = tuple[int, bool]


def _fetch(loop: Loop, sides: _Box, move: _Box) -> tuple[Step, _Direction | None]:
    """The part of a moved box outside the old one, and the direction if the two overlap."""
    corner = (0,) * len(sides)
    axes = [axis for axis, distance in enumerate(move) if distance]
    if not axes:
        return Step(loop, move, corner, corner), None
    if len(axes) > 1 or abs(move[axes[0]]) >= sides[axes[0]]:
        return Step(loop, move, corner, sides), None
    axis, distance = axes[0], move[axes[0]]
    low, part = list(corner), list(sides)
    part[axis] = abs(distance)
    if distance > 0:
        low[axis] = sides[axis] - distance
    return Step(loop, move, tuple(low), tuple(part)), (axis, distance > 0)


def volume(sides: _Box) -> int:
    """Elements of a box."""
    volume = 1
    for side in sides:
        volume *= side
    return volume
