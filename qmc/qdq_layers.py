"""Every kind of layer as ONNX nodes that compute its integers exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from qmc.arithmetic import IntArray, QuantParams, Rescale, Rounding
from qmc.errors import QuantizationError
from qmc.functions import onnx_operator
from qmc.integer import IntegerLayer
from qmc.layer import Layer, Op
from qmc.onnx_slice import slice_steps
from qmc.qdq_writer import QdqWriter
from qmc.reference import softmax_factor
from qmc.windows import window_counts

_INT64_MAX = (1 << 63) - 1
#: Stored types of weights by width; the others are clipped codes of 8 bits.
WEIGHT_TYPES = {2: TensorProto.INT2, 4: TensorProto.INT4, 8: TensorProto.INT8}


def stored_bits(layer: IntegerLayer) -> int:
    """Width of a layer's weights as integers; those of other formats take what their codes need."""
    assert layer.weights is not None
    bits = layer.weight_bits or 0
    if layer.weight_format is None and bits >= 2:
        return bits
    low, high = int(layer.weights.min()), int(layer.weights.max())
    return next(b for b in range(2, 9) if -(1 << (b - 1)) <= low and high < 1 << (b - 1))


def _weighted(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    """CONV and DENSE: bias and zero points are part of the addend."""
    spec, source = layer.layer, layer.inputs[0]
    assert layer.weights is not None
    if source.bits > 8:
        raise QuantizationError(spec.name, f"an input of {source.bits} bits; ONNX sums 8-bit codes")
    is_dense = spec.op is Op.DENSE
    rank = (-1,) if is_dense else (-1, 1, 1)
    data = writer.reals[spec.inputs[0]]
    if is_dense and len(writer.integer.tensors[spec.inputs[0]].shape) > 2:
        data = writer.add("Flatten", [data], writer.name(f"{spec.name}/flat"), axis=1)
    scales = np.array(writer.scheme.weights[spec.name].scales)
    inputs = [
        data,
        *_weights(writer, layer, scales),
        writer.scale(f"{spec.name}/input", source),
        writer.const(f"{spec.name}/input/zero_point", np.uint8(source.zero_point)),
        writer.const(
            f"{spec.name}/weights/divisors",
            scales.astype(np.float32).reshape(-1, *([1] * (1 if is_dense else 3))),
        ),
        *_requantization(writer, layer, rank),
    ]
    attributes = {"transB": 1} if is_dense else _windows(spec)
    writer.call("Gemm" if is_dense else "Conv", inputs, output, spec.name, **attributes)


def _weights(writer: QdqWriter, layer: IntegerLayer, scales: NDArray[np.float64]) -> list[str]:
    """Dequantized weights and bias."""
    label, codes, bits = layer.layer.name, layer.weights, stored_bits(layer)
    assert codes is not None
    if layer.layer.op is Op.DENSE:
        codes = codes.reshape(len(codes), -1)
    kind = WEIGHT_TYPES.get(bits, TensorProto.INT8)
    stored = writer.const(f"{label}/weights", codes, kind)
    if bits not in WEIGHT_TYPES:
        top = 1 << (bits - 1)
        ends = [writer.const(f"{label}/code", np.int8(c)) for c in (-top, top - 1)]
        stored = writer.add("Clip", [stored, *ends], writer.name(f"{label}/weights/clipped"))
    name = writer.const(f"{label}/weights/scale", scales.astype(np.float32))
    real = writer.name(f"{label}/weights/dequantized")
    weights = writer.add("DequantizeLinear", [stored, name], real, axis=0)
    steps = scales * layer.inputs[0].scale
    units = np.rint(np.array(writer.scheme.weights[label].bias) / steps).astype(np.int32)
    bias = writer.const(f"{label}/bias", units)
    name = writer.const(f"{label}/bias/scale", steps.astype(np.float32))
    real = writer.name(f"{label}/bias/dequantized")
    return [weights, writer.add("DequantizeLinear", [bias, name], real, axis=0)]


def _requantization(writer: QdqWriter, layer: IntegerLayer, rank: tuple[int, ...]) -> list[str]:
    """Multiplier and shift constants; ConvInteger takes the input's zero point off by itself."""
    assert layer.weights is not None
    assert layer.requant is not None
    constants = layer.requant
    multiplier, shift, start, offset = (
        values.astype(np.int64)
        for values in (constants.multiplier, constants.shift, constants.start, constants.offset)
    )
    sums = layer.weights.reshape(len(layer.weights), -1).astype(np.int64).sum(axis=1)
    start = start + layer.inputs[0].zero_point * sums
    addend = start
    if constants.rounding is not Rounding.TFLITE_DOUBLE:
        half = np.int64(1) << (shift - 1) if constants.rounding is Rounding.HALF_UP else 0
        addend = start * multiplier + half
    name = writer.const(f"{layer.layer.name}/multiplier", multiplier.reshape(rank))
    arrays = (values.reshape(rank) for values in (addend, shift, offset))
    return [name, *writer.shift(layer, *arrays)]


def _windows(layer: Layer) -> dict[str, Any]:
    """Attributes of a sliding window."""
    return {
        "kernel_shape": [layer.bounds.R, layer.bounds.S],
        "strides": list(layer.strides),
        "dilations": list(layer.dilations),
        "pads": list(layer.pads),
        "group": layer.bounds.G,
    }


def _operands(writer: QdqWriter, layer: IntegerLayer) -> tuple[list[str], list[str]]:
    """Names of the inputs' floats and of their scales."""
    reals = [writer.reals[name] for name in layer.layer.inputs]
    label = layer.layer.name
    return reals, [writer.scale(f"{label}/input", params) for params in layer.inputs]


def _checked(layer: IntegerLayer, addend: int) -> int:
    if abs(addend) > _INT64_MAX >> 1:
        raise QuantizationError(layer.layer.name, "its rescale leaves 64 bits without zero points")
    return addend


def _add(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    reals, scales = _operands(writer, layer)
    addend = sum(
        rescale.offset + rescale.multiplier * params.zero_point
        for rescale, params in zip(layer.rescales, layer.inputs, strict=True)
    )
    label = layer.layer.name
    multipliers = [writer.const(f"{label}/m", np.int64(r.multiplier)) for r in layer.rescales]
    shift = writer.shift(layer, _checked(layer, addend), layer.rescales[0].shift)
    writer.call("Add", [*reals, *scales, *multipliers, *shift], output, label)


def _mul(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    reals, scales = _operands(writer, layer)
    (rescale,), label = layer.rescales, layer.layer.name
    multiplier = writer.const(f"{label}/multiplier", np.int64(rescale.multiplier))
    shift = writer.shift(layer, rescale.offset, rescale.shift)
    writer.call("Mul", [*reals, *scales, multiplier, *shift], output, label)


def _concat(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    parts = []
    for index, name in enumerate(layer.layer.inputs):
        params, rescale = layer.inputs[index], layer.rescales[index]
        part = writer.reals[name]
        if params != layer.output:
            part = _rescaled(writer, layer, part, params, rescale)
        parts.append(part)
    writer.add("Concat", parts, output, layer.layer.name, axis=1)


def _rescaled(
    writer: QdqWriter, layer: IntegerLayer, part: str, params: QuantParams, rescale: Rescale
) -> str:
    label = writer.name(f"{layer.layer.name}/rescale")
    addend = _checked(layer, rescale.offset + rescale.multiplier * params.zero_point)
    inputs = [
        part,
        writer.scale(label, params),
        writer.const(f"{label}/multiplier", np.int64(rescale.multiplier)),
        *writer.shift(layer, addend, rescale.shift),
    ]
    return writer.call("Rescale", inputs, writer.name(f"{label}/output"), label)


def _max_pool(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    attributes = _windows(layer.layer)
    del attributes["group"]
    reals = [writer.reals[layer.layer.inputs[0]]]
    writer.add("MaxPool", reals, output, layer.layer.name, **attributes)


def _average_pool(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    """The sums are a convolution with ones; every window's constants follow from its count."""
    spec, source = layer.layer, layer.inputs[0]
    if source.bits > 8:
        raise QuantizationError(spec.name, f"an input of {source.bits} bits; ONNX sums 8-bit codes")
    counts = window_counts(spec, *writer.integer.tensors[spec.inputs[0]].shape[2:])
    by_count = dict(zip(layer.counts, layer.rescales, strict=True))
    chosen = [by_count[int(count)] for count in counts.reshape(-1)]
    addends = [
        _checked(layer, r.offset + r.multiplier * source.zero_point * int(count))
        for r, count in zip(chosen, counts.reshape(-1), strict=True)
    ]

    def plane(values: Sequence[int]) -> IntArray:
        same = len(set(values)) == 1
        return np.array(values[0] if same else values, dtype=np.int64).reshape(
            () if same else counts.shape
        )

    channels, bounds = spec.bounds.G, spec.bounds
    inputs = [
        writer.reals[spec.inputs[0]],
        writer.const(f"{spec.name}/ones", np.ones((channels, 1, bounds.R, bounds.S), np.uint8)),
        writer.scale(f"{spec.name}/input", source),
        writer.const(f"{spec.name}/input/zero_point", np.uint8(source.zero_point)),
        writer.const(f"{spec.name}/multiplier", plane([r.multiplier for r in chosen])),
        *writer.shift(layer, plane(addends), plane([r.shift for r in chosen])),
    ]
    attributes = _windows(spec) | {"count_include_pad": int(spec.count_include_pad)}
    writer.call("AveragePool", inputs, output, spec.name, **attributes)


def _lookup(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    spec, source = layer.layer, layer.inputs[0]
    assert layer.table is not None
    assert spec.function is not None
    operator, attributes = onnx_operator(spec.function)
    limits = []
    if operator == "Clip":
        values = (np.float32(text) for text in spec.function.split(":")[1:])
        limits = [writer.const(f"{spec.name}/limit", value) for value in values]
    steps = (layer.table.astype(np.int64) - layer.output.zero_point).astype(np.float32)
    inputs = [
        writer.reals[spec.inputs[0]],
        *limits,
        writer.scale(f"{spec.name}/input", source),
        writer.const(f"{spec.name}/input/zero_point", np.int64(source.zero_point)),
        writer.const(f"{spec.name}/table", steps * np.float32(layer.output.scale)),
    ]
    writer.call(operator, inputs, output, spec.name, **attributes)


def _softmax(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    label = layer.layer.name
    assert layer.table is not None
    inputs = [
        writer.reals[layer.layer.inputs[0]],
        writer.scale(f"{label}/input", layer.inputs[0]),
        writer.const(f"{label}/table", layer.table.astype(np.int64)),
        writer.const(f"{label}/factor", np.int64(softmax_factor(layer))),
        writer.const(f"{label}/low", np.int64(layer.low)),
        writer.const(f"{label}/high", np.int64(layer.high)),
        writer.scale(label, layer.output),
    ]
    writer.call("Softmax", inputs, output, label, axis=1)


def _reshape(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    spec, source = layer.layer, writer.reals[layer.layer.inputs[0]]
    label: str | None = spec.name  # of the first node
    if spec.perm is not None:
        turned = writer.name(f"{spec.name}/transposed")
        source = writer.add("Transpose", [source], turned, label, perm=list(spec.perm))
        label = None
    shape = [-1, *writer.integer.tensors[spec.output].shape[1:]]
    name = writer.const(f"{spec.name}/shape", np.array(shape, dtype=np.int64))
    writer.add("Reshape", [source, name], output, label)


def _slice(writer: QdqWriter, layer: IntegerLayer, output: str) -> None:
    spec, value = layer.layer, writer.reals[layer.layer.inputs[0]]
    steps = slice_steps(spec, writer.integer.tensors[spec.inputs[0]].shape)
    named = steps[-1] if steps[-1].operator == "Slice" else steps[0]  # as a reader names the layer
    for step in steps:
        names = [writer.const(f"{spec.name}/{name}", a) for name, a in step.operands.items()]
        target = output if step is steps[-1] else writer.name(f"{spec.name}/{step.operator}")
        label = spec.name if step is named else None
        value = writer.add(step.operator, [value, *names], target, label, **step.attributes)


#: By operation: writes the layer's nodes, the last of which makes the value of the given name.
WRITERS: dict[Op, Callable[[QdqWriter, IntegerLayer, str], None]] = {
    Op.CONV: _weighted,
    Op.DENSE: _weighted,
    Op.ADD: _add,
    Op.MUL: _mul,
    Op.CONCAT: _concat,
    Op.MAX_POOL: _max_pool,
    Op.AVERAGE_POOL: _average_pool,
    Op.LOOKUP: _lookup,
    Op.SOFTMAX: _softmax,
    Op.RESHAPE: _reshape,
    Op.SLICE: _slice,
}
