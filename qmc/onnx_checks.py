"""Checks of an ONNX file that need no compiler: can it be read, and is it a network qmc can take.

The order matters: sizes are checked from the headers before any tensor is decoded, so that a file
that lies about its sizes costs no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper, numpy_helper

from qmc.errors import ModelError, UnsupportedOpError

#: Largest tensor, in elements: 1 GiB of float32.
MAX_ELEMENTS = 1 << 28
#: Protocol buffers cannot hold more in one message.
_MAX_FILE_BYTES = (1 << 31) - 1
_OLDEST_OPSET = 7

SUPPORTED_OPS = frozenset(
    "Abs Add AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv "
    "DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Gather Gelu Gemm "
    "GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity LeakyRelu Log MatMul Max "
    "MaxPool Min Mish Mul Neg PRelu Pad Pow QuantizeLinear ReduceMax ReduceMean Relu Reshape "
    "Shape Sigmoid Slice Softmax Softplus Split Squeeze Sub Sum Swish Tanh Transpose Unsqueeze "
    "Where".split()
)

#: What to do about operators that many networks end in or hold.
_INSTEAD = {
    "ArgMax": "end the model before it, its class is that of the largest output; ",
    "LogSoftmax": "end the model before it or in Softmax, the order of classes stays; ",
}

#: Bits of an element as stored, for the types a supported model may hold.
_STORED_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.DOUBLE: 64,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}
_WEIGHT_INPUT = {"Conv": 1, "Gemm": 1, "MatMul": 1}


def check_model(path: Path, model: ModelProto) -> ModelProto:
    """Check a parsed model, in place; node names are filled in and unique.

    Raises:
        ModelError: it is not a network qmc can take.
        UnsupportedOpError: it holds an operator outside the supported set.
    """
    _check_nodes(path, model.graph)
    for tensor, node in _tensors(model.graph):
        check_tensor(path, tensor, node)
    name_nodes(model.graph)
    sort_nodes(path, model.graph)
    pin_interface(path, model.graph)
    check_weights(path, model.graph)
    return model


def parse_model(path: Path) -> ModelProto:
    """Read a file and check that it is ONNX of a known opset, no more.

    Raises:
        ModelError: it is not.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelError(path, "is not a file")
        if size > _MAX_FILE_BYTES:
            raise ModelError(path, f"has {size} bytes; allowed: at most {_MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(path, f"cannot be read: {error.strerror}") from None
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's DecodeError, a class of which there are several
        raise ModelError(path, "is not an ONNX file, or is truncated") from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError(path, "is not an ONNX file, or holds no nodes")
    _check_opset(path, model)
    return model


def _check_opset(path: Path, model: ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not _OLDEST_OPSET <= versions[0] <= newest:
        raise ModelError(path, f"opset {versions}; allowed: one of {_OLDEST_OPSET} to {newest}")


def _check_nodes(path: Path, graph: GraphProto) -> None:
    for node in graph.node:
        name = node.name or node.op_type
        if node.domain not in ("", "ai.onnx"):
            rule = f"domain '{node.domain}'; allowed: standard ONNX operators"
            raise UnsupportedOpError(path, name, node.op_type, rule)
        if node.op_type not in SUPPORTED_OPS:
            instead = _INSTEAD.get(node.op_type, "")
            rule = f"is not supported; {instead}allowed: {', '.join(sorted(SUPPORTED_OPS))}"
            raise UnsupportedOpError(path, name, node.op_type, rule)


def _tensors(graph: GraphProto) -> Iterator[tuple[TensorProto, str | None]]:
    for tensor in graph.initializer:
        yield tensor, None
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t, node.name or node.op_type


def check_tensor(path: Path, tensor: TensorProto, node: str | None = None) -> None:
    """Check type and size of a stored tensor, and load it if it lies in another file.

    Raises:
        ModelError: its type is unknown, its size is zero, too large or not that of its data.
    """
    what = f"tensor '{tensor.name}'"
    bits = _STORED_BITS.get(tensor.data_type)
    if bits is None:
        known = TensorProto.DataType.values()
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in known else "?"
        raise ModelError(path, f"{what}: type {kind} is not supported; export as float32", node)
    elements = math.prod(tensor.dims)
    # Empty 1-D tensors are legal absent operands; anything else of size zero is a mistake.
    if any(d < 0 for d in tensor.dims) or (elements == 0 and len(tensor.dims) != 1):
        raise ModelError(path, f"{what}: shape {list(tensor.dims)} is empty or negative", node)
    if elements > MAX_ELEMENTS:
        limit = f"{elements} elements; allowed: at most {MAX_ELEMENTS}"
        raise ModelError(path, f"{what}: shape {list(tensor.dims)} has {limit}", node)
    needed = (elements * bits + 7) // 8
    if external_data_helper.uses_external_data(tensor):
        _load_external(path, tensor, needed)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != needed:
            found = f"{len(tensor.raw_data)} bytes of data; its shape needs {needed}"
            raise ModelError(path, f"{what}: holds {found}", node)
        return
    _check_typed_data(path, tensor, elements, bits, node)


def _check_typed_data(
    path: Path, tensor: TensorProto, elements: int, bits: int, node: str | None
) -> None:
    packed = 8 // bits if bits < 8 else 1
    expected = -(-elements // packed)
    fields = ("float_data", "double_data", "int32_data", "int64_data")
    found = max(len(getattr(tensor, field)) for field in fields)
    if found != expected:
        reason = f"holds {found} elements of data; its shape needs {expected}"
        raise ModelError(path, f"tensor '{tensor.name}': {reason}", node)


def _load_external(path: Path, tensor: TensorProto, needed: int) -> None:
    """Load a tensor stored beside the model, refusing every way out of the model's folder."""
    what = f"tensor '{tensor.name}': external data"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.resolve().parent
    try:
        file = (folder / location).resolve()
        offset = int(entries.get("offset", "0") or 0)
        length = int(entries.get("length", str(needed)) or needed)
    except (ValueError, OSError, RuntimeError):
        raise ModelError(path, f"{what} has a malformed reference") from None
    if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
        raise ModelError(path, f"{what} '{location}' lies outside the model's folder")
    if not file.is_file():
        raise ModelError(path, f"{what} '{location}' is missing")
    if offset < 0 or length != needed or offset + length > file.stat().st_size:
        size = file.stat().st_size
        reason = f"has {size} bytes, the tensor needs {needed} from {offset} (stated: {length})"
        raise ModelError(path, f"{what} '{location}' {reason}")
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(needed)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT


def name_nodes(graph: GraphProto) -> None:
    """Give every node a unique name; unnamed ones get ``<Op>_<position>``."""
    taken = {node.name for node in graph.node if node.name}
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        wanted = node.name or f"{node.op_type}_{index}"
        name, copies = wanted, 1
        while name in seen or (name != node.name and name in taken):
            copies += 1
            name = f"{wanted}_{copies}"
        node.name = name
        seen.add(name)


def sort_nodes(path: Path, graph: GraphProto) -> None:
    """Put the nodes in execution order, keeping the file's order where it is one.

    Raises:
        ModelError: a value is written twice or never, or the graph has a cycle.
    """
    writer: dict[str, NodeProto] = {}
    constants = {tensor.name for tensor in graph.initializer}
    sources = constants | {value.name for value in graph.input}
    for node in graph.node:
        for output in filter(None, node.output):
            if output in writer or output in sources:
                raise ModelError(path, f"value '{output}' is written twice", node.name)
            writer[output] = node
    for node in graph.node:
        for value in filter(None, node.input):
            if value not in writer and value not in sources:
                raise ModelError(path, f"input '{value}' is written by no node", node.name)
    ordered = _execution_order(path, list(graph.node), sources)
    if [node.name for node in ordered] != [node.name for node in graph.node]:
        copies = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)


def _execution_order(path: Path, nodes: list[NodeProto], sources: set[str]) -> list[NodeProto]:
    ready = set(sources)
    ordered: list[NodeProto] = []
    while nodes:
        waiting = []
        for node in nodes:
            if all(value in ready for value in node.input if value):
                ordered.append(node)
                ready.update(node.output)
            else:
                waiting.append(node)
        if len(waiting) == len(nodes):
            raise ModelError(path, "is part of a cycle, or reads from one", waiting[0].name)
        nodes = waiting
    return ordered


def pin_interface(path: Path, graph: GraphProto) -> None:
    """Require one float32 input and one output; pin a symbolic batch to 1.

    Raises:
        ModelError: other inputs or outputs, a symbolic dimension other than the batch, a bad shape.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        found = f"{len(inputs)} inputs and {len(graph.output)} outputs"
        raise ModelError(path, f"has {found}; allowed: one of each")
    value = inputs[0]
    tensor = value.type.tensor_type
    what = f"input '{value.name}'"
    if tensor.elem_type != TensorProto.FLOAT:
        raise ModelError(path, f"{what} is not float32; export the model with a float input")
    dims = tensor.shape.dim
    if not 2 <= len(dims) <= 4:
        raise ModelError(path, f"{what} has {len(dims)} dimensions; allowed: 2 to 4")
    if not dims[0].HasField("dim_value"):
        dims[0].dim_value = 1
    shape = [_dimension(path, what, axis, dim) for axis, dim in enumerate(dims)]
    if shape[0] != 1:
        raise ModelError(path, f"{what} has batch {shape[0]}; allowed: 1 or symbolic")
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(path, f"{what}: shape {shape} has more than {MAX_ELEMENTS} elements")
    # Stored shapes may name the batch, or be wrong: they are inferred again.
    del graph.value_info[:]
    for dim in graph.output[0].type.tensor_type.shape.dim:
        dim.Clear()


def _dimension(path: Path, what: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> int:
    if not dim.HasField("dim_value"):
        name = dim.dim_param or "?"
        reason = f"dimension {axis} is symbolic ('{name}'); allowed: the batch only"
        raise ModelError(path, f"{what}: {reason}")
    if dim.dim_value < 1:
        raise ModelError(path, f"{what}: dimension {axis} is {dim.dim_value}; allowed: at least 1")
    return int(dim.dim_value)


def check_weights(path: Path, graph: GraphProto) -> None:
    """Refuse NaN and infinity in any float tensor that is no clip limit, and all-zero weights.

    Raises:
        ModelError: names the tensor.
    """
    limits = {
        v for node in graph.node if node.op_type in ("Clip", "Min", "Max") for v in node.input
    }
    weights = {
        node.input[_WEIGHT_INPUT[node.op_type]]: node.name
        for node in graph.node
        if node.op_type in _WEIGHT_INPUT and len(node.input) > _WEIGHT_INPUT[node.op_type]
    }
    for tensor in graph.initializer:
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE) or tensor.name in limits:
            continue
        values = numpy_helper.to_array(tensor)
        node = weights.get(tensor.name)
        if not np.isfinite(values).all():
            raise ModelError(path, f"tensor '{tensor.name}' holds NaN or infinity", node)
        if node and values.size and not values.any():
            raise ModelError(path, f"all weights ('{tensor.name}') are zero", node)
