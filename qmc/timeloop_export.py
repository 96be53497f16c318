"""Layers and their mappings as Timeloop v4 reads them: one YAML file with problem and mapping.

The dims are those of Timeloop's cnn-layer problem (:mod:`qmc.timeloop` has the table), with G for
the groups of a convolution that has several channels in each. Source: timeloopfe v4,
``problem.py`` and ``constraints.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import prod
from typing import Any

import yaml

from qmc.errors import MappingError
from qmc.layer import Layer, LoopDim, Operand, Precision
from qmc.mapping import Loop, Mapping
from qmc.timeloop import DIMS, OPERANDS

_OPERAND_NAMES = {operand: name for name, operand in OPERANDS.items()}


def timeloop_text(layer: Layer, precision: Precision, mapping: Mapping) -> str:
    """Problem and mapping of one layer with weights.

    Raises:
        MappingError: loops do not divide their dims; Timeloop's factors must.
    """
    _check_factors(layer, mapping)
    data = {"problem": _problem(layer), "mapping": _mapping(layer, mapping)}
    widths = ", ".join(
        f"{_OPERAND_NAMES[operand]} {precision.bits(operand)}" for operand in Operand
    )
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100)
    return f"# Bits: {widths}. Timeloop's problems have no place for widths.\n{text}"


def _names(layer: Layer) -> dict[LoopDim, str]:
    """Timeloop's name of each dim: a depthwise layer's channels are C, which is then no sum."""
    names = {dim: name for name, dim in DIMS.items()}
    if layer.bounds.G == 1:
        del names[LoopDim.G]
    elif layer.bounds.C == 1:
        del names[LoopDim.C]
        names[LoopDim.G] = "C"
    return names


def _problem(layer: Layer) -> dict[str, Any]:
    names = _names(layer)
    sizes = {name: layer.bounds[dim] for dim, name in names.items()}
    steps = {
        "Wstride": layer.strides[1],
        "Hstride": layer.strides[0],
        "Wdilation": layer.dilations[1],
        "Hdilation": layer.dilations[0],
    }
    return {
        "version": "0.4",
        "instance": {**sizes, **steps},
        "shape": {
            "name": layer.name,
            "dimensions": list(sizes),
            "coefficients": [{"name": name, "default": 1} for name in steps],
            "data_spaces": _data_spaces(layer, names),
        },
    }


def _data_spaces(layer: Layer, names: dict[LoopDim, str]) -> list[dict[str, Any]]:
    def one(*dims: LoopDim) -> list[Any]:
        return [[[names[dim]]] for dim in dims if dim in names]

    rows = [["R", "Wdilation"], ["P", "Wstride"]]
    columns = [["S", "Hdilation"], ["Q", "Hstride"]]
    weights = one(LoopDim.G, LoopDim.K, LoopDim.C, LoopDim.S, LoopDim.R)
    inputs = [*one(LoopDim.N, LoopDim.G, LoopDim.C), rows, columns]
    outputs = one(LoopDim.N, LoopDim.G, LoopDim.K, LoopDim.Q, LoopDim.P)
    return [
        {"name": "Weights", "projection": weights},
        {"name": "Inputs", "projection": inputs},
        {"name": "Outputs", "projection": outputs, "read_write": True},
    ]


def _mapping(layer: Layer, mapping: Mapping) -> list[dict[str, Any]]:
    """Directives, innermost level first; what a level keeps, then its loops.

    A directive has one factor for each dim. Where both axes step through one dim, the second axis
    is a level of its own that only fans out, called ``<level>_y``.
    """
    names = _names(layer)
    entries: list[dict[str, Any]] = []
    for keep in reversed(mapping.keep):
        loops = [loop for loop in mapping.loops if loop.level == keep.level]
        kept = [name for name, operand in OPERANDS.items() if operand in keep.operands]
        bypassed = [name for name in OPERANDS if name not in kept]
        along_x = [loop for loop in loops if loop.spatial == "x"]
        along_y = [loop for loop in loops if loop.spatial == "y"]
        if {loop.dim for loop in along_x} & {loop.dim for loop in along_y}:
            entries.append(_loops(names, f"{keep.level}_y", "spatial", along_y) | {"split": 0})
            along_y = []
        entries.append(
            {"target": keep.level, "type": "dataspace", "keep": kept, "bypass": bypassed}
        )
        if along_x or along_y:
            spatial = _loops(names, keep.level, "spatial", [*along_y, *along_x])
            entries.append(spatial | {"split": len({loop.dim for loop in along_x})})
        in_time = [loop for loop in loops if loop.spatial is None]
        entries.append(_loops(names, keep.level, "temporal", in_time))
    return entries


def _loops(
    names: dict[LoopDim, str], level: str, kind: str, loops: Sequence[Loop]
) -> dict[str, Any]:
    """Factors of all dims, and the order, innermost first."""
    extents = {name: 1 for name in names.values()}
    order: list[str] = []
    for loop in reversed(loops):
        extents[names[loop.dim]] *= loop.extent
        if names[loop.dim] not in order:
            order.append(names[loop.dim])
    order += [name for name in extents if name not in order]
    factors = [f"{name}={extent}" for name, extent in extents.items()]
    return {"target": level, "type": kind, "factors": factors, "permutation": order}


def _check_factors(layer: Layer, mapping: Mapping) -> None:
    """Refuse what factors cannot say: short last tiles, and a dim twice with another between."""
    for dim in LoopDim:
        product = prod(loop.extent for loop in mapping.loops if loop.dim is dim)
        if product != layer.bounds[dim]:
            reason = f"{dim} is {layer.bounds[dim]}, its loops make {product}; Timeloop's divide it"
            raise MappingError(layer.name, mapping.keep[0].level, reason)
    for (level, _), loops in groupby(mapping.loops, key=lambda loop: (loop.level, loop.spatial)):
        runs = [dim for dim, _ in groupby(loop.dim for loop in loops if loop.extent > 1)]
        if len(set(runs)) != len(runs):
            reason = "a dim has two loops with another between; Timeloop has one factor for each"
            raise MappingError(layer.name, level, reason)
