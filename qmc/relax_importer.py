"""TVM's ONNX importer with what it lacks: node names, sub-byte weights, plain Clip, Pad and pools.

Every node's result is bound to a variable ``n<index>_<name>``; the module attribute ``qmc.nodes``
lists [node name, output tensor name, operator] by index. Variable names are all that survives TVM's
passes, so they carry the index, and the table carries the names, whatever characters these hold.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from onnx import ModelProto, NodeProto, TensorProto
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from qmc.errors import ModelError, QmcError, UnsupportedOpError
from qmc.onnx_edit import bits_of
from qmc.onnx_folding import constant_array

#: Widths of the sub-byte ONNX types; all are widened to int8 codes.
NARROW_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}
#: Widths of the types of activations.
CODE_BITS: dict[int, int] = NARROW_BITS | {
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
}
#: What exporters write for "to the end".
_END = (1 << 31) - 1
_SIGNED = {TensorProto.INT2, TensorProto.INT4, TensorProto.INT8, TensorProto.INT16}


def to_relax(path: Path, model: ModelProto) -> Any:
    """Import a checked model into a Relax module.

    Its attributes are ``qmc.nodes``, ``qmc.interface`` (names of input and output),
    ``qmc.weight_bits`` and ``qmc.activation_bits`` (width of each DequantizeLinear of weights and
    of activations, by node index). Activations have uint16 codes here, whatever their width.

    Raises:
        UnsupportedOpError: TVM cannot import a node; names node, operator and TVM's reason.
    """
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    importer = _Importer(path, model)
    # The base class prints to stdout when a node fails, and warns about renamed inputs.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            module = importer.from_onnx(model.graph, opset)
        except QmcError:
            importer.close()
            raise
        except Exception as error:  # TVM raises whatever its C++ throws
            importer.close()
            raise ModelError(path, f"cannot be imported: {_first_line(error)}") from None
    sources = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    nodes = [[node.name, _tensor_name(node, sources), node.op_type] for node in model.graph.node]
    interface = {"input": importer._input_names[0], "output": model.graph.output[0].name}
    return module.with_attrs(
        {
            "qmc.nodes": nodes,
            "qmc.interface": interface,
            "qmc.weight_bits": importer.weight_bits,
            "qmc.activation_bits": importer.activation_bits,
        }
    )


def _tensor_name(node: NodeProto, sources: dict[str, str]) -> str:
    """What a node's result is called: behind a pair still as before it."""
    if node.op_type == "DequantizeLinear":
        return str(sources.get(node.input[0], node.output[0]))
    return str(node.output[0])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


class _Importer(ONNXGraphImporter):  # type: ignore[misc]
    """Binds every node's result to a named variable and replaces some converters."""

    def __init__(self, path: Path, model: ModelProto) -> None:
        super().__init__({}, "float32")
        self._path = path
        self._index = -1
        self._graph_nodes = model.graph.node
        self._narrow: dict[str, int] = {}
        self._types: dict[str, int] = {}  # of constants, and of quantized values
        self.weight_bits: dict[str, int] = {}
        self.activation_bits: dict[str, int] = {}

    def close(self) -> None:
        """End the function under construction; its C++ destructor would print a warning."""
        with contextlib.suppress(Exception):
            self.bb._end_block()
            self.bb._end_block()

    def _check_for_unsupported_ops(self, graph: Any) -> None:
        """Nothing: what qmc allows was checked before, and TVM lacks some of it."""

    def _sanitize_name(self, name: str) -> str:
        return "input"

    def _parse_array(self, tensor_proto: TensorProto) -> Any:
        self._types[tensor_proto.name] = tensor_proto.data_type
        if tensor_proto.data_type in NARROW_BITS:
            self._narrow[tensor_proto.name] = NARROW_BITS[tensor_proto.data_type]
        return tvm.runtime.tensor(np.ascontiguousarray(constant_array(tensor_proto)))

    def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
        self._index += 1
        node = self._graph_nodes[self._index]
        if op_name == "DequantizeLinear" and node.input[0] in self._narrow:
            self.weight_bits[str(self._index)] = self._narrow[node.input[0]]
        try:
            own = _CONVERTERS.get(op_name)
            result = own(inputs, attrs) if own else self._quantization(op_name, node, inputs, attrs)
            if result is None:
                result = super()._convert_operator(op_name, inputs, attrs, opset)
            return self._bind(self.bb.normalize(result))
        except QmcError:
            raise
        except Exception as error:  # TVM raises whatever its C++ throws
            rule = f"cannot be imported: {_first_line(error)}"
            raise UnsupportedOpError(self._path, node.name, op_name, rule) from None

    def _quantization(self, op_name: str, node: Any, inputs: Any, attrs: Any) -> Any | None:
        """Quantization of a tensor with one scale, on uint16 codes; None for anything else."""
        if op_name not in ("QuantizeLinear", "DequantizeLinear"):
            return None
        is_pair = op_name == "QuantizeLinear"
        kind = self._code_type(node, int(attrs.get("output_dtype", 0)) if is_pair else 0)
        if is_pair:
            self._types[node.output[0]] = kind
        data, scale, zero = inputs[0], inputs[1], inputs[2]
        if not is_pair and isinstance(data, tvm.ir.GenericConst):
            bits = bits_of(node)
            if bits is not None:
                self.weight_bits[str(self._index)] = bits
            return None
        constants = [c for c in (scale, zero) if c is not None]
        is_constant = all(isinstance(c, tvm.ir.GenericConst) for c in constants)
        if kind not in CODE_BITS or not is_constant or scale.value.numpy().size != 1:
            return None
        bits = bits_of(node) or CODE_BITS[kind]
        code = 0 if zero is None else int(zero.value.numpy().item())
        code += 1 << (bits - 1) if kind in _SIGNED else 0
        if not 0 <= code < 1 << bits:
            raise ValueError(f"zero point {code} of the unsigned code; allowed: below {1 << bits}")
        constants = [
            relax.const(scale.value.numpy().item(), "float32"),
            relax.const(code, "uint16"),
        ]
        if is_pair:
            return relax.op.quantize(data, *constants, axis=0, out_dtype="uint16")
        self.activation_bits[str(self._index)] = bits
        return relax.op.dequantize(data, *constants, axis=0, out_dtype="float32")

    def _code_type(self, node: Any, stated: int) -> int:
        """ONNX type of the codes that a QuantizeLinear makes or a DequantizeLinear reads."""
        if len(node.input) > 2 and node.input[2] in self._types:
            return self._types[node.input[2]]
        return stated or self._types.get(node.input[0], int(TensorProto.UINT8))

    def _bind(self, result: Any) -> Any:
        if isinstance(result, tvm.ir.Call | relax.TupleGetItem):
            name = re.sub(r"[^0-9A-Za-z_]", "_", self._graph_nodes[self._index].name)[:40]
            return self.bb.emit(result, name_hint=f"n{self._index}_{name}")
        return result


def _scalar(inputs: Any, position: int, attrs: Any, key: str, default: float) -> float | None:
    """A limit given as input (newer opsets) or attribute; None if it is not constant."""
    value = inputs[position]
    if value is None:
        return float(attrs.get(key, default))
    return float(value.value.numpy().item()) if isinstance(value, tvm.ir.GenericConst) else None


def _clip(inputs: Any, attrs: Any) -> Any:
    low = _scalar(inputs, 1, attrs, "min", float("-inf"))
    high = _scalar(inputs, 2, attrs, "max", float("inf"))
    if low is None or high is None:
        raise ValueError("the limits must be constant")
    if not low <= high:
        raise ValueError(f"limits {low} to {high}; allowed: the first at most the second")
    return relax.op.clip(inputs[0], low, high)


def _scaled(operand: Any, factor: float) -> Any:
    if factor == 1.0:
        return operand
    if isinstance(operand, tvm.ir.GenericConst):
        return relax.const((operand.value.numpy() * np.float32(factor)).astype(np.float32))
    return relax.op.multiply(operand, relax.const(factor, "float32"))


def _gemm(inputs: Any, attrs: Any) -> Any:
    """As TVM's, but with alpha and beta multiplied into constants."""
    data, weights, bias = inputs[0], inputs[1], inputs[2]
    alpha, beta = float(attrs.get("alpha", 1.0)), float(attrs.get("beta", 1.0))
    if attrs.get("transA", 0):
        data = relax.op.permute_dims(data, [1, 0])
    if isinstance(weights, tvm.ir.GenericConst):
        weights, alpha = _scaled(weights, alpha), 1.0
    if attrs.get("transB", 0):
        weights = relax.op.permute_dims(weights, [1, 0])
    result = _scaled(relax.op.matmul(data, weights), alpha)
    return result if bias is None else relax.op.add(result, _scaled(bias, beta))


def _pad(inputs: Any, attrs: Any) -> Any:
    if attrs.get("mode", b"constant") != b"constant":
        raise ValueError(f"mode {attrs['mode'].decode()}; allowed: constant")
    pads = attrs.get("pads") or inputs[1].value.numpy().tolist()
    value = _scalar(inputs, 2, attrs, "value", 0.0)
    rank = len(inputs[0].ty.shape)
    axes = inputs[3].value.numpy().tolist() if inputs[3] is not None else list(range(rank))
    widths = [0] * (2 * rank)
    for position, axis in enumerate(axes):
        widths[2 * (axis % rank)] = int(pads[position])
        widths[2 * (axis % rank) + 1] = int(pads[position + len(axes)])
    return relax.op.nn.pad(inputs[0], widths, "constant", value)


def _slice(inputs: Any, attrs: Any) -> Any:
    """Limits are inputs, or attributes before opset 10."""
    rank = len(inputs[0].ty.shape)
    given = [
        list(attrs[key]) if key in attrs else _integers(inputs, position)
        for position, key in enumerate(("starts", "ends", "axes", "steps"), start=1)
    ]
    starts, ends = given[0] or [], given[1] or []
    axes = given[2] or list(range(len(starts)))
    steps = given[3] or [1] * len(starts)
    for axis, *limits in zip(axes, starts, ends, steps, strict=True):
        if axis % rank == 0 and not (limits[0] == 0 and limits[1] >= _END and limits[2] == 1):
            raise ValueError(f"{limits[0]} to {limits[1]} of the batch; allowed: the other axes")
    extents = [int(inputs[0].ty.shape[axis % rank]) for axis in axes]
    kept = [slice(*s).indices(n) for *s, n in zip(starts, ends, steps, extents, strict=True)]
    return relax.op.strided_slice(inputs[0], axes, *map(list, zip(*kept, strict=True)))


def _integers(inputs: Any, position: int) -> list[int] | None:
    """A constant input; None where it is left out."""
    if position >= len(inputs) or inputs[position] is None:
        return None
    return [int(value) for value in inputs[position].value.numpy().reshape(-1)]


def _batch_norm(inputs: Any, attrs: Any) -> Any:
    if attrs.get("training_mode", 0):
        raise ValueError("training_mode 1; allowed: 0")
    epsilon = float(attrs.get("epsilon", 1e-5))
    data, gamma, beta, mean, variance = (inputs[i] for i in range(5))
    return relax.TupleGetItem(
        relax.op.nn.batch_norm(data, gamma, beta, mean, variance, axis=1, epsilon=epsilon), 0
    )


def _swish(inputs: Any, attrs: Any) -> Any:
    gate = relax.op.sigmoid(_scaled(inputs[0], float(attrs.get("alpha", 1.0))))
    return relax.op.multiply(inputs[0], gate)


def _two_operands(function: Any) -> Callable[[Any, Any], Any]:
    """Max and Min of two operands; TVM would stack and reduce."""

    def convert(inputs: Any, attrs: Any) -> Any:
        if len(inputs) != 2:
            raise ValueError(f"{len(inputs)} inputs; allowed: 2")
        return function(inputs[0], inputs[1])

    return convert


def _sum(inputs: Any, attrs: Any) -> Any:
    result = inputs[0]
    for operand in list(inputs)[1:]:
        result = relax.op.add(result, operand)
    return result


def _first_input(inputs: Any, attrs: Any) -> Any:
    return inputs[0]


_CONVERTERS: dict[str, Callable[[Any, Any], Any]] = {
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Gemm": _gemm,
    "Pad": _pad,
    "Slice": _slice,
    "Sum": _sum,
    "Swish": _swish,
    "Max": _two_operands(relax.op.maximum),
    "Min": _two_operands(relax.op.minimum),
    "Identity": _first_input,
    "Dropout": _first_input,
}
