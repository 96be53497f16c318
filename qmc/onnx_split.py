"""Rewrite of an ONNX model: every Split becomes a Slice for each of its results."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

#: The first opset whose Slice takes its limits as inputs.
_SLICE_INPUTS = 10


def split_to_slices(model: ModelProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Replace each Split whose results have known shapes, in place.

    A node then makes one value, as the importer and all layers have it.

    Args:
        model: a model with unique node names.
        shapes: of values, by name.
    """
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    graph = model.graph
    kept: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Split" and all(name in shapes for name in node.output if name):
            kept += _slices(graph, node, shapes, opset)
        else:
            kept.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(kept)


def _slices(
    graph: GraphProto, node: NodeProto, shapes: dict[str, tuple[int, ...]], opset: int
) -> list[NodeProto]:
    stated = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    taken = {existing.name for existing in graph.node}
    slices, start = [], 0
    for index, output in enumerate(node.output):
        axis = stated % len(shapes[output])
        end = start + shapes[output][axis]
        name = f"{node.name}_{index}"
        while name in taken:
            name += "_"
        taken.add(name)
        limits = {"starts": start, "ends": end, "axes": axis}
        if opset < _SLICE_INPUTS:
            attributes: dict[str, Any] = {key: [value] for key, value in limits.items()}
            slices.append(helper.make_node("Slice", node.input[:1], [output], name, **attributes))
        else:
            inputs = [f"{name}/{key}" for key in limits]
            graph.initializer.extend(
                numpy_helper.from_array(np.array([value], np.int64), tensor)
                for tensor, value in zip(inputs, limits.values(), strict=True)
            )
            slices.append(helper.make_node("Slice", [node.input[0], *inputs], [output], name))
        start = end
    return slices
