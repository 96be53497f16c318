"""The loop nest of a layer as nested boxes: one for every memory, the MACs innermost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from qmc.html.numbers import share, size_text

Json = dict[str, Any]

DIM_NAMES = {
    "N": "batch",
    "G": "groups",
    "K": "output channels",
    "C": "input channels",
    "P": "output rows",
    "Q": "output columns",
    "R": "filter rows",
    "S": "filter columns",
}
OPERAND_NAMES = {"W": "weights", "I": "inputs", "O": "outputs"}
#: Largest fan-out that is drawn instance by instance.
_MAX_GRID = 16


@dataclass(frozen=True, slots=True)
class LoopLine:
    """One loop: ``dim`` takes ``extent`` steps, or that many instances along ``axis``."""

    dim: str
    extent: int
    axis: str | None = None

    @property
    def meaning(self) -> str:
        """What the dim counts."""
        return DIM_NAMES.get(self.dim, self.dim)


@dataclass(frozen=True, slots=True)
class Kept:
    """An operand's tile in a memory."""

    operand: str
    size: str
    percent: float  # of the memory; 0 where it has no limit

    @property
    def meaning(self) -> str:
        """What the operand is."""
        return OPERAND_NAMES.get(self.operand, self.operand)


@dataclass(frozen=True, slots=True)
class Array:
    """Instances below a memory: how many there are and how many work, (x, y)."""

    there: tuple[int, int]
    used: tuple[int, int]

    @property
    def is_small(self) -> bool:
        """Whether single instances can be drawn."""
        return max(self.there) <= _MAX_GRID


@dataclass(frozen=True, slots=True)
class Box:
    """One memory of a mapping.

    Attributes:
        memory: its name.
        colour: class of the style sheet.
        size: of one instance, as text; empty where unlimited.
        kept: operands that stay here.
        tile: extents of the tile that one instance holds, dims above 1 only.
        temporal, spatial: its loops, outermost first.
        array: the fan-out below it; None of a single instance.
    """

    memory: str
    colour: str
    size: str
    kept: tuple[Kept, ...]
    tile: tuple[LoopLine, ...]
    temporal: tuple[LoopLine, ...]
    spatial: tuple[LoopLine, ...]
    array: Array | None


def nest_boxes(layer: Json, target: Json, colours: Mapping[str, str]) -> tuple[Box, ...]:
    """Boxes of a layer's mapping, outermost first; empty without a mapping."""
    memories = {memory["name"]: memory for memory in target.get("memories", ())}
    levels = layer["mapping"]
    return tuple(
        _box(layer, levels[index:], memories.get(level["level"], {}), colours)
        for index, level in enumerate(levels)
    )


def _box(layer: Json, levels: list[Json], memory: Json, colours: Mapping[str, str]) -> Box:
    level = levels[0]
    name, room = level["level"], memory.get("size_bytes")
    held = layer["accesses"].get(name, {})
    return Box(
        memory=name,
        colour=colours.get(name, "c0"),
        size="" if room is None else size_text(room),
        kept=tuple(_kept(operand, held, room) for operand in level["keep"]),
        tile=_tile(layer, levels),
        temporal=tuple(LoopLine(dim, extent) for dim, extent in level["temporal"] if extent > 1),
        spatial=tuple(LoopLine(*loop) for loop in level["spatial"] if loop[1] > 1),
        array=_array(level, memory),
    )


def _kept(operand: str, held: Json, room: int | None) -> Kept:
    held_bytes = held.get(operand, {}).get("bytes_held")
    if held_bytes is None:
        return Kept(operand, "", 0.0)
    return Kept(operand, size_text(held_bytes), share(held_bytes, room) if room else 0.0)


def _tile(layer: Json, levels: list[Json]) -> tuple[LoopLine, ...]:
    """What lies inside a level; a last tile may be cut, so no extent exceeds the bound."""
    extents: dict[str, int] = {}
    for level in levels:
        for dim, extent, *_ in (*level["temporal"], *level["spatial"]):
            extents[dim] = extents.get(dim, 1) * extent
    bounds = layer.get("bounds", {})
    whole = ((dim, min(extents.get(dim, 1), bounds.get(dim, 1 << 62))) for dim in DIM_NAMES)
    return tuple(LoopLine(dim, extent) for dim, extent in whole if extent > 1)


def _array(level: Json, memory: Json) -> Array | None:
    there = tuple(memory.get("fanout", (1, 1)))
    if prod(there) <= 1:
        return None
    used = [prod(extent for _, extent, along in level["spatial"] if along == axis) for axis in "xy"]
    return Array((there[0], there[1]), (used[0], used[1]))
