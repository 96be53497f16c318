"""Mappings as plain data (plan.yaml, report.json, ``qmc evaluate``) and as a readable nest.

Plain data: a list, outermost level first, of ``{level, keep, temporal, spatial}``. Loops are
``[dim, extent]`` in time and ``[dim, extent, axis]`` in space, outermost first.
"""

from __future__ import annotations

from typing import Any

from qmc.cost_models.nest import Nest, build_nest
from qmc.cost_models.tiles import tile_elements
from qmc.errors import DataError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import Target


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


def nest_text(layer: Layer, target: Target, mapping: Mapping) -> str:
    """The mapping as an indented loop nest, with the tiles each level keeps.

    Raises:
        MappingError: the mapping is not legal.
    """
    nest = build_nest(layer, target, mapping)
    lines: list[str] = []
    depth = 0
    for index, level in enumerate(target.memories):
        lines.append(f"{level.name}: {_kept(nest, index)}")
        for loop in (*nest.temporal[index], *nest.spatial[index]):
            depth += 1
            how = "for" if loop.spatial is None else f"parallel-for along {loop.spatial}:"
            lines.append(f"{'  ' * depth}{how} {loop.dim} in 0..{loop.extent - 1}")
    lines.append(f"{'  ' * (depth + 1)}multiply-accumulate")
    return "\n".join(lines)


def _kept(nest: Nest, index: int) -> str:
    tile = nest.tile(index)
    parts = [
        f"{operand.value} {tile_elements(nest.layer, operand, tile)}"
        for operand in Operand
        if operand in nest.keeps[index]
    ]
    return f"keeps {', '.join(parts)} elements" if parts else "keeps nothing"
