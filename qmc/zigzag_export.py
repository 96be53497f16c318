"""Layers with their precisions, and their mappings, as ZigZag's YAML: a workload and a mapping.

Layers with weights only; what lies between them has no loop nest worth a mapping there. Source:
ZigZag 3.9, ``parser/workload_validator.py`` and ``parser/mapping_validator.py``.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from typing import Any

import yaml

from qmc.layer import Layer, LoopDim, Op, Precision
from qmc.mapping import Mapping

#: Names of the dims; a dense layer has B, K and C only.
_NAMES = {
    LoopDim.N: "B",
    LoopDim.G: "G",
    LoopDim.K: "K",
    LoopDim.C: "C",
    LoopDim.P: "OY",
    LoopDim.Q: "OX",
    LoopDim.R: "FY",
    LoopDim.S: "FX",
}
_DENSE = (LoopDim.N, LoopDim.K, LoopDim.C)
#: What each operand is called in a memory.
_LINKS = {"O": "O", "W": "I2", "I": "I1"}
#: The two axes of our arrays; inner levels of a machine with several arrays are not told apart.
_AXES = {"x": "D1", "y": "D2"}


def workload_text(layers: Sequence[tuple[Layer, Precision]], writers: Dict[str, str]) -> str:
    """The workload file.

    Args:
        layers: with weights, in execution order.
        writers: by layer, the layer with weights that its input comes from, through layers
            without; empty where there is none.
    """
    numbers = {layer.name: index for index, (layer, _) in enumerate(layers)}
    entries = []
    for layer, precision in layers:
        own = numbers[layer.name]
        source = numbers.get(writers.get(layer.name, ""), own)
        entries.append({"id": own, "name": layer.name} | _layer(layer, precision, own, source))
    return yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=100)


def _layer(layer: Layer, precision: Precision, own: int, source: int) -> dict[str, Any]:
    dims = _DENSE if layer.op is Op.DENSE else tuple(_NAMES)
    data: dict[str, Any] = {
        "operator_type": "Gemm" if layer.op is Op.DENSE else "Conv",
        "equation": "O[b][k]+=W[k][c]*I[b][c]"
        if layer.op is Op.DENSE
        else "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [],
        "loop_dims": [_NAMES[dim] for dim in dims],
        "loop_sizes": [layer.bounds[dim] for dim in dims],
        "operand_precision": {
            "W": precision.weight_bits,
            "I": precision.input_bits,
            "O": precision.psum_bits,
            "O_final": precision.output_bits,
        },
        "operand_source": {"W": own, "I": source},
    }
    if layer.op is not Op.DENSE:
        top, left, bottom, right = layer.pads
        data["dimension_relations"] = [
            f"ix={layer.strides[1]}*ox+{layer.dilations[1]}*fx",
            f"iy={layer.strides[0]}*oy+{layer.dilations[0]}*fy",
        ]
        rows, columns = layer.input_height - top - bottom, layer.input_width - left - right
        data["pr_loop_dims"] = ["IX", "IY"]
        data["pr_loop_sizes"] = [columns, rows]
        data["padding"] = [[left, right], [top, bottom]]
    return data


def mapping_text(layers: Sequence[Layer], mappings: Dict[str, Mapping]) -> str:
    """The mapping file: spatial loops by axis, temporal loops innermost first, for every layer."""
    entries: list[dict[str, Any]] = [{"name": "default", "memory_operand_links": dict(_LINKS)}]
    for layer in layers:
        mapping = mappings.get(layer.name)
        if mapping is not None:
            entries.append(
                {
                    "name": layer.name,
                    "spatial_mapping": _spatial(mapping),
                    "temporal_ordering": _temporal(mapping),
                    "memory_operand_links": dict(_LINKS),
                }
            )
    return yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=100)


def _spatial(mapping: Mapping) -> dict[str, list[str]]:
    unrolled: dict[str, dict[str, int]] = {}
    for loop in mapping.loops:
        if loop.spatial is not None:
            along = unrolled.setdefault(_AXES[loop.spatial], {})
            name = _NAMES[loop.dim]
            along[name] = along.get(name, 1) * loop.extent
    return {
        axis: [f"{name}, {extent}" for name, extent in along.items()]
        for axis, along in sorted(unrolled.items())
    }


def _temporal(mapping: Mapping) -> list[list[Any]]:
    in_time = [loop for loop in mapping.loops if loop.spatial is None and loop.extent > 1]
    return [[_NAMES[loop.dim], loop.extent] for loop in reversed(in_time)]
