"""Tiles of an operand: their size, how they move from step to step, and what a move costs.

Counting rule (Timeloop's loop-nest analysis, NVlabs/timeloop src/loop-analysis/nest-analysis.cpp
and point-set-aahr.cpp): a tile is an axis-aligned box of its operand. When a loop outside steps,
only the part of the new box that the previous one did not cover is moved, provided the two boxes
differ along one axis; else the whole box. Of every loop the first two steps are looked at, the
second stands for all later ones; so a loop that wraps is taken to come from its second position.
"""

from __future__ import annotations

from qmc.cost_models.nest import Extents
from qmc.layer import RELEVANT, Layer, LoopDim, Operand
from qmc.mapping import Loop

_Box = tuple[int, ...]


def tile_elements(layer: Layer, operand: Operand, tile: Extents) -> int:
    """Elements of the operand's box for a tile of the loop nest; I with its halo."""
    size = 1
    for side in _sides(layer, operand, tile):
        size *= side
    return size


def _sides(layer: Layer, operand: Operand, tile: Extents) -> _Box:
    if operand is not Operand.I:
        return tuple(tile[dim] for dim in sorted(RELEVANT[operand]))
    height = _window(tile[LoopDim.P], layer.strides[0], tile[LoopDim.R], layer.dilations[0])
    width = _window(tile[LoopDim.Q], layer.strides[1], tile[LoopDim.S], layer.dilations[1])
    return (tile[LoopDim.N], tile[LoopDim.G], tile[LoopDim.C], height, width)


def _window(outputs: int, stride: int, taps: int, dilation: int) -> int:
    return (outputs - 1) * stride + (taps - 1) * dilation + 1


def _axis_step(layer: Layer, operand: Operand, dim: LoopDim) -> tuple[int, int] | None:
    """Axis of the operand's box that ``dim`` moves along, and elements per unit of ``dim``."""
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


def moved_elements(layer: Layer, operand: Operand, tile: Extents, outer: tuple[Loop, ...]) -> int:
    """Elements that reach one holder of ``operand`` over the whole run, the first tile included.

    Args:
        layer: the layer.
        operand: whose tiles move.
        tile: loop extents of the tile held.
        outer: all loops outside the holder, in time and in space, innermost first.

    Returns:
        tile + sum over loops in time j of charge_j * (n_j - 1) * product of the n_i further out.
    """
    total = tile_elements(layer, operand, tile)
    visits = 1
    for loop, charge in reversed(step_charges(layer, operand, tile, outer)):
        total += charge * (loop.extent - 1) * visits
        visits *= loop.extent
    return total


def step_charges(
    layer: Layer, operand: Operand, tile: Extents, outer: tuple[Loop, ...]
) -> list[tuple[Loop, int]]:
    """Loops in time of ``outer``, innermost first, each with the elements moved when it steps.

    All loops inside it wrap at that moment. Loops in space only widen the distance of the steps.
    """
    sides = _sides(layer, operand, tile)
    reach = dict(tile)
    wrapped = [0] * len(sides)
    direction: _Direction | None = None
    charges: list[tuple[Loop, int]] = []
    for loop in outer:
        if loop.spatial is None:
            move = [-offset for offset in wrapped]
            axis_step = _axis_step(layer, operand, loop.dim)
            if axis_step is not None:
                axis, unit = axis_step
                move[axis] += unit * reach[loop.dim]
                wrapped[axis] += unit * reach[loop.dim]
            charge, slide = _charge(sides, move)
            if not charges:
                direction = slide
            elif charge and direction is not None and slide != direction:
                charge = _volume(sides)  # the window turned: nothing is carried over
            charges.append((loop, charge))
        reach[loop.dim] *= loop.extent
    return charges


#: Axis and sign of a move between two overlapping boxes.
_Direction = tuple[int, bool]


def _charge(sides: _Box, move: list[int]) -> tuple[int, _Direction | None]:
    """Elements of a moved box outside the old one, and the direction if the two overlap."""
    if not any(move):
        return 0, None
    axes = [axis for axis, distance in enumerate(move) if distance]
    if any(abs(move[axis]) >= sides[axis] for axis in axes) or len(axes) > 1:
        return _volume(sides), None
    axis = axes[0]
    return _volume(sides) // sides[axis] * abs(move[axis]), (axis, move[axis] > 0)


def _volume(sides: _Box) -> int:
    volume = 1
    for side in sides:
        volume *= side
    return volume


def distinct_receivers(
    layer: Layer, operand: Operand, spatial: tuple[Loop, ...], inside: Extents
) -> int:
    """Instances that need different data of ``operand`` at once; the others share by multicast.

    Args:
        layer: the layer.
        operand: whose tiles are sent.
        spatial: loops in space between two holders, outermost first. Sharing is found along one
            axis of one level at a time.
        inside: extents of a tile of the inner holder.
    """
    reach = dict(inside)
    count = 1
    blocks: dict[tuple[str, str | None], list[Loop]] = {}
    for loop in spatial:
        blocks.setdefault((loop.level, loop.spatial), []).append(loop)
    for block in reversed(list(blocks.values())):
        count *= _distinct_offsets(layer, operand, block, reach)
    return count


def _distinct_offsets(layer: Layer, operand: Operand, block: list[Loop], reach: Extents) -> int:
    """Different positions of the operand's box over a block of loops in space."""
    offsets: dict[int, set[int]] = {}
    for loop in reversed(block):
        axis_step = _axis_step(layer, operand, loop.dim)
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
