"""Mappings as plain data (plan.yaml, report.json, ``qmc evaluate``) and as a readable nest.

Plain data: a list, outermost level first, of ``{level, keep, temporal, spatial}``. Loops are
``[dim, extent]`` in time and ``[dim, extent, axis]`` in space, outermost first.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import Any

from qmc.cost_models.nest import Nest, build_nest
from qmc.cost_models.tiles import tile_elements
from qmc.errors import DataError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import MemoryLevel, Target


def mapping_to_data(mapping: Mapping) -> list[dict[str, Any]]:
    """The mapping as JSON- and YAML-able plain data."""
    return [
        {
            "level": entry.level,
            "keep": [operand.value for operand in Operand if operand in entry.operands],
            "temporal": [
                [loop.dim.value, loop.extent]
                for loop in mapping.loops
                if loop.level == entry.level and loop.spatial is None
            ],
            "spatial": [
                [loop.dim.value, loop.extent, loop.spatial]
                for loop in mapping.loops
                if loop.level == entry.level and loop.spatial is not None
            ],
        }
        for entry in mapping.keep
    ]


def read_mapping_data(data: object, where: str = "mapping") -> Mapping:
    """The inverse of :func:`mapping_to_data`.

    Args:
        data: what was read from a file; a mapping with the key ``mapping`` holding the list is
            taken as well.
        where: the file, for messages.

    Raises:
        DataError: the data have another form.
    """
    if isinstance(data, dict):
        data = data.get("mapping")
    if not isinstance(data, list) or not data:
        raise DataError(f"{where}: found no list of levels; allowed: a list, or 'mapping:'")
    loops: list[Loop] = []
    keeps: list[Keep] = []
    for index, entry in enumerate(data):
        path = f"{where}: [{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("level"), str):
            raise DataError(f"{path}: found {entry!r:.60}; allowed: level, keep, temporal, spatial")
        unknown = sorted(set(entry) - {"level", "keep", "temporal", "spatial"})
        if unknown:
            raise DataError(
                f"{path}: found key '{unknown[0]}'; allowed: level, keep, temporal, spatial"
            )
        keeps.append(Keep(entry["level"], _operands(path, entry.get("keep", []))))
        for kind, length in (("temporal", 2), ("spatial", 3)):
            items = entry.get(kind) or []
            if not isinstance(items, list):
                raise DataError(f"{path}: {kind}: found {items!r:.60}; allowed: a list of loops")
            loops += [_loop(path, item, entry["level"], length) for item in items]
    return Mapping(tuple(loops), tuple(keeps))


def _operands(path: str, names: object) -> frozenset[Operand]:
    if not isinstance(names, list) or any(name not in list(Operand) for name in names):
        raise DataError(f"{path}: keep: found {names!r:.60}; allowed: a list of W, I, O")
    return frozenset(Operand(name) for name in names)


def _loop(path: str, item: object, level: str, length: int) -> Loop:
    form = "[dim, extent]" if length == 2 else "[dim, extent, x or y]"
    fits = (
        isinstance(item, (list, tuple))
        and len(item) == length
        and item[0] in list(LoopDim)
        and isinstance(item[1], int)
        and item[1] >= 1
        and (length == 2 or item[2] in ("x", "y"))
    )
    if not fits:
        raise DataError(f"{path}: loop: found {item!r:.60}; allowed: {form}")
    assert isinstance(item, (list, tuple))
    return Loop(LoopDim(item[0]), item[1], level, item[2] if length == 3 else None)


def nest_text(
    layer: Layer, target: Target, mapping: Mapping, accesses: Dict[str, Any] | None = None
) -> str:
    """The mapping as an indented loop nest, with the tiles each level keeps.

    Args:
        layer: the layer.
        target: the machine.
        mapping: what is shown.
        accesses: those of report.json, to tell the bytes of every tile.

    Raises:
        MappingError: the mapping is not legal.
    """
    nest = build_nest(layer, target, mapping)
    lines: list[str] = []
    depth = 0
    for index, level in enumerate(target.memories):
        held = (accesses or {}).get(level.name, {})
        lines.append(f"{level.name}{_room(level, held)}: {_kept(nest, index, held)}")
        for loop in (*nest.temporal[index], *nest.spatial[index]):
            depth += 1
            how = "for" if loop.spatial is None else f"parallel-for along {loop.spatial}:"
            lines.append(f"{'  ' * depth}{how} {loop.dim} in 0..{loop.extent - 1}")
    lines.append(f"{'  ' * (depth + 1)}multiply-accumulate")
    return "\n".join(lines)


def _kept(nest: Nest, index: int, held: Dict[str, Any]) -> str:
    tile = nest.tile(index)
    parts = []
    for operand in Operand:
        if operand in nest.keeps[index]:
            elements = f"{operand.value} {tile_elements(nest.layer, operand, tile)}"
            counts = held.get(operand.value)
            parts.append(elements + (f" ({size_text(counts['bytes_held'])})" if counts else ""))
    kept = ", ".join(parts) or "nothing"
    return f"keeps {kept}{' elements' if parts and not held else ''}"


def _room(level: MemoryLevel, held: Dict[str, Any]) -> str:
    """How full a memory of limited size is."""
    if not held or level.depth_words is None or level.size_bytes is None:
        return ""
    used = sum(counts["utilized_words"] for counts in held.values())
    return f" ({100 * used / level.depth_words:.0f} % of {size_text(level.size_bytes)})"


def size_text(size: int) -> str:
    """Bytes for people: 24 B, 16.3 KiB, 4.77 MiB."""
    for limit, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= limit:
            number = f"{size / limit:.3g}" if size < 999.5 * limit else f"{size / limit:,.0f}"
            return f"{number} {unit}"
    return f"{size} B"
