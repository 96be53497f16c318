"""Rewrites of a checked ONNX model that are easier before the import than after it.

Shapes are inferred, arithmetic on constants (shape computations, weight transposes, int32 biases
behind DequantizeLinear) is done, ``auto_pad`` becomes explicit pads, a Split its slices. What is
left computes on data.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from qmc.errors import ModelError, UnsupportedOpError
from qmc.onnx_checks import MAX_ELEMENTS
from qmc.onnx_split import split_to_slices

_FOLDED_TYPES = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
_NEVER_FOLDED = {"QuantizeLinear", "Pad", "Conv", "MatMul", "Gemm", "Split"}
#: Operators whose result can be far larger than what the file holds, and the most they may make.
_GROWING = {"ConstantOfShape", "Expand"}
_MAX_GROWN = 1 << 20


def fold_model(path: Path, model: ModelProto) -> ModelProto:
    """Infer shapes, fold constants, make pads explicit.

    Raises:
        ModelError: shapes do not fit together or are too large.
        UnsupportedOpError: an ``auto_pad`` is unknown.
    """
    before = -1
    while len(model.graph.node) != before:  # a folded shape lets more shapes be inferred
        before = len(model.graph.node)
        model = infer_shapes(path, model)
        split_to_slices(model, _static_shapes(model.graph))
        fold_constants(model)
    shapes = value_shapes(path, model.graph)
    drop_expansions(model.graph, shapes)
    for node in model.graph.node:
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            check_window(path, node, shapes)
            make_pads_explicit(path, node, shapes)
    return model


def infer_shapes(path: Path, model: ModelProto) -> ModelProto:
    """The model with every shape that ONNX can infer.

    Raises:
        ModelError: an operator's attributes or shapes are wrong.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
        onnx.checker.check_model(inferred)
        return inferred
    except Exception as error:  # the checker's own classes, and whatever its C++ raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(path, f"is not valid ONNX: {' '.join(lines)[:300]}") from None


def fold_constants(model: ModelProto) -> None:
    """Replace every node that computes on constants only by its value.

    DequantizeLinear of weights stays, because it says how the weights are quantized; of biases and
    other constants it is folded.
    """
    graph = model.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    static = _static_shapes(graph)
    weights = _weight_values(graph)
    kept = []
    for node in graph.node:
        is_weight = node.op_type == "DequantizeLinear" and node.output[0] in weights
        value = None if is_weight else _folded(model, node, values, static)
        if value is None or graph.output[0].name in node.output:
            kept.append(NodeProto.FromString(node.SerializeToString()))
        else:
            value.name = node.output[0]
            values[value.name] = value
            graph.initializer.append(value)
    del graph.node[:]
    graph.node.extend(kept)


def _folded(
    model: ModelProto,
    node: NodeProto,
    values: dict[str, TensorProto],
    static: dict[str, tuple[int, ...]],
) -> TensorProto | None:
    if node.op_type == "Shape" and node.input[0] in static:
        shape = static[node.input[0]]
        return numpy_helper.from_array(np.array(shape[_shape_slice(node, len(shape))], np.int64))
    inputs = [values.get(name) for name in node.input if name]
    if node.op_type == "DequantizeLinear":
        return _dequantized(node, inputs)
    if any(tensor is None for tensor in inputs) or not _is_foldable(node, inputs):
        return None
    if node.op_type in _GROWING and _elements(static, node.output[0]) > _MAX_GROWN:
        return None
    graph = helper.make_graph(
        [node],
        "constant",
        [],
        [helper.make_empty_tensor_value_info(node.output[0])],
        [tensor for tensor in inputs if tensor is not None],
    )
    single = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        results: Any = ReferenceEvaluator(single).run(None, {})
    except Exception:  # it lacks some versions of some operators; TVM may have them
        return None
    return numpy_helper.from_array(np.asarray(results[0]))


def _weight_values(graph: GraphProto) -> set[str]:
    """Values that become weights of a layer, directly or through a transpose."""
    weights: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weights.update(node.input[1:2])
        elif node.op_type in ("Transpose", "Identity") and node.output[0] in weights:
            weights.update(node.input[:1])
    return weights


def _dequantized(node: NodeProto, inputs: list[TensorProto | None]) -> TensorProto | None:
    """The value of a DequantizeLinear of constants; None if it is not that, or blocked."""
    arrays = [None if tensor is None else constant_array(tensor) for tensor in inputs]
    codes, scale = arrays[0], arrays[1]
    attributes = {a.name: a.i for a in node.attribute}
    if codes is None or scale is None or attributes.get("block_size"):
        return None
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros_like(scale)
    if scale.size > 1:
        shape = [1] * codes.ndim
        shape[attributes.get("axis", 1) if codes.ndim > 1 else 0] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    real = (codes.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return numpy_helper.from_array(real.reshape(codes.shape).astype(np.float32))


def _shape_slice(node: NodeProto, rank: int) -> slice:
    attributes = {a.name: a.i for a in node.attribute}
    return slice(attributes.get("start", 0), attributes.get("end", rank))


def _is_foldable(node: NodeProto, inputs: list[TensorProto | None]) -> bool:
    if node.op_type == "Constant":
        return True
    return node.op_type not in _NEVER_FOLDED and all(
        tensor is not None and tensor.data_type in _FOLDED_TYPES for tensor in inputs
    )


def _elements(static: dict[str, tuple[int, ...]], value: str) -> float:
    """Elements of a value; infinite if its shape is unknown."""
    return math.prod(static[value]) if value in static else math.inf


def drop_expansions(graph: GraphProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Let a Mul broadcast its operand instead of an Expand before it.

    Exporters spell the gate of squeeze-excite as ``x * Expand(gate, Shape(x))``. An Expand is
    dropped where it changes nothing, or where every reader multiplies it with a value that already
    has its shape.
    """
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        inputs = [renamed.get(name, name) for name in node.input]
        if node.op_type == "Expand" and _is_broadcast(graph, node, shapes):
            renamed[node.output[0]] = inputs[0]
            continue
        node.input[:] = inputs
        kept.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(kept)


def _is_broadcast(graph: GraphProto, node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    value = node.output[0]
    if value == graph.output[0].name or value not in shapes:
        return False
    if shapes.get(node.input[0]) == shapes[value]:
        return True
    others = [
        [name for name in reader.input if name != value] if reader.op_type == "Mul" else []
        for reader in graph.node
        if value in reader.input
    ]
    return all(len(names) == 1 and shapes.get(names[0]) == shapes[value] for names in others)


def _static_shapes(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(int(d.dim_value) for d in dims)
    return shapes


def value_shapes(path: Path, graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all values that have a static one.

    Raises:
        ModelError: one is empty or larger than any real network's.
    """
    shapes = _static_shapes(graph)
    for node in graph.node:
        for output in node.output:
            shape = shapes.get(output, (1,))
            if not 0 < math.prod(shape) <= MAX_ELEMENTS or min(shape, default=1) < 1:
                limit = f"allowed: 1 to {MAX_ELEMENTS} elements"
                raise ModelError(path, f"output shape {list(shape)}; {limit}", node.name)
    return shapes


def _ints(node: NodeProto, name: str, default: list[int]) -> list[int]:
    for attribute in node.attribute:
        if attribute.name == name:
            return [int(i) for i in attribute.ints]
    return default


def check_window(path: Path, node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Check strides, dilations and pads, which compilers divide by without asking.

    Raises:
        UnsupportedOpError: one is out of range.
    """
    rank = len(shapes.get(node.input[0], ()))
    if rank not in (3, 4):
        rule = f"input has {rank} dimensions; allowed: 3 or 4"
        raise UnsupportedOpError(path, node.name, node.op_type, rule)
    for name, lowest, per_axis in (
        ("strides", 1, 1),
        ("dilations", 1, 1),
        ("kernel_shape", 1, 1),
        ("pads", 0, 2),
    ):
        values = _ints(node, name, [lowest] * per_axis * (rank - 2))
        is_complete = len(values) == per_axis * (rank - 2)
        if not is_complete or any(not lowest <= value < 1 << 16 for value in values):
            allowed = f"{per_axis * (rank - 2)} values of {lowest} to {(1 << 16) - 1}"
            rule = f"{name} {values}; allowed: {allowed}"
            raise UnsupportedOpError(path, node.name, node.op_type, rule)
    if node.op_type == "Conv":
        _check_conv_channels(path, node, shapes)


def _check_conv_channels(path: Path, node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> None:
    groups = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
    channels = shapes[node.input[0]][1]
    weights = shapes.get(node.input[1])
    if weights is None:
        rule = "weights must be constant"
    elif groups < 1 or weights[0] % groups or weights[1] * groups != channels:
        rule = f"weights {list(weights)} with {groups} groups do not fit {channels} channels"
    else:
        return
    raise UnsupportedOpError(path, node.name, node.op_type, rule)


def make_pads_explicit(path: Path, node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Replace ``auto_pad`` by the pads it means (ONNX operator specification, Conv).

    Raises:
        UnsupportedOpError: its value is unknown.
    """
    mode = next((a.s.decode() for a in node.attribute if a.name == "auto_pad"), "NOTSET")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedOpError(path, node.name, node.op_type, f"auto_pad '{mode}' is unknown")
    spatial = shapes[node.input[0]][2:]
    ones = [1] * len(spatial)
    kernel = _ints(node, "kernel_shape", [])
    if not kernel:
        kernel = list(shapes[node.input[1]][2:])
    pads = _ints(node, "pads", [0] * 2 * len(spatial))
    if mode != "NOTSET":
        strides, dilations = _ints(node, "strides", ones), _ints(node, "dilations", ones)
        totals = [
            max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0) if mode != "VALID" else 0
            for size, s, k, d in zip(spatial, strides, kernel, dilations, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = small + large if mode == "SAME_UPPER" else large + small
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads", "kernel_shape")]
    kept += [helper.make_attribute("pads", pads), helper.make_attribute("kernel_shape", kernel)]
    copies = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in kept]
    del node.attribute[:]
    node.attribute.extend(copies)


def constant_array(tensor: TensorProto) -> NDArray[np.generic]:
    """The value of an initializer; sub-byte types are widened to int8 codes."""
    array = numpy_helper.to_array(tensor).reshape(tuple(tensor.dims))
    if tensor.data_type in (
        TensorProto.INT4,
        TensorProto.UINT4,
        TensorProto.INT2,
        TensorProto.UINT2,
    ):
        return array.astype(np.int8)
    if tensor.data_type == TensorProto.DOUBLE:
        return array.astype(np.float32)
    return array
