"""An integer network as ONNX: QuantizeLinear and DequantizeLinear around every tensor.

ONNX Runtime, its graph optimizations disabled, computes the integers of the emitted C: the layers
are functions of :mod:`qmc.onnx_functions`. Weights of 2 and 4 bits lie packed in INT2 and INT4
tensors, activations of 2, 4, 8 and 16 bits have UINT2 to UINT16 codes; other widths are stored in
8 bits behind a Clip of the codes that says the real range (QCDQ).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import qmc
from qmc.arithmetic import Rounding
from qmc.given_scheme import set_scheme
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.layer import Op
from qmc.network import Network
from qmc.onnx_functions import DOMAIN, functions_of
from qmc.qdq_layers import WRITERS, stored_bits
from qmc.qdq_writer import QdqWriter
from qmc.scheme import Scheme, WeightScheme
from qmc.scheme_io import scheme_to_text


def to_qdq(network: Network, scheme: Scheme, integer: IntegerNetwork) -> ModelProto:
    """The ONNX model of ``integer``; the same network gives the same bytes.

    Args:
        network: float biases.
        scheme: whose integers these are; it goes into the metadata.
        integer: what is written.

    Raises:
        QuantizationError: a layer has no exact form in ONNX.
    """
    return _write(QdqWriter(integer, settled_scheme(network, scheme, integer)))


def settled_scheme(network: Network, scheme: Scheme, integer: IntegerNetwork) -> Scheme:
    """``scheme`` as a reader of the file has it: integers, whole biases, nothing left to choose."""
    weights = {}
    for one in integer.layers:
        layer = one.layer
        if layer.has_weights:
            chosen = scheme.weights[layer.name]
            steps = scheme.tensors[layer.inputs[0]].scale * np.array(chosen.scales)
            own = network.parameters[layer.name].bias
            real = np.array(own if chosen.bias is None else chosen.bias, dtype=np.float64)
            bias = tuple((np.rint(real / steps) * steps + 0.0).tolist())  # no negative zeros
            weights[layer.name] = WeightScheme(stored_bits(one), chosen.scales, bias)
    tensors = {name: scheme.tensors[name] for name in network.tensors}
    return replace(scheme, tensors=tensors, weights=weights, notes=())


def _write(writer: QdqWriter) -> ModelProto:
    net = writer.integer
    writer.taken |= set(net.tensors) | {layer.layer.name for layer in net.layers}
    widths = [params.bits for params in net.quantization.values()]
    widths += [stored_bits(layer) for layer in net.layers if layer.weights is not None]
    _source(writer)
    for layer in net.layers:
        _layer(writer, layer)
    is_new = 2 in widths or "Swish" in writer.operators  # INT2 and Swish are younger than INT4
    opset = 25 if is_new else 21
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [_value(writer, net.input)],
        [_value(writer, net.output)],
        list(writer.constants.values()),
    )
    twice = writer.scheme.rounding is Rounding.TFLITE_DOUBLE
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10 if opset == 21 else 13,
        functions=functions_of(writer.operators, opset, twice),
        producer_name="qmc",
        producer_version=qmc.__version__,
    )
    set_scheme(model, scheme_to_text(writer.scheme))
    return model


def _value(writer: QdqWriter, name: str) -> ValueInfoProto:
    shape: list[str | int | None] = ["batch", *writer.integer.tensors[name].shape[1:]]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _source(writer: QdqWriter) -> None:
    name, params = writer.integer.input, writer.integer.quantization[writer.integer.input]
    ends = [-params.zero_point, params.high - params.zero_point]
    constants = [
        writer.const(f"{name}/fine_scale", np.float64(params.scale)),
        *(writer.const(f"{name}/limit", np.float64(end)) for end in ends),
        writer.scale(name, params),
    ]
    rounded = writer.name(f"{name}/rounded")
    writer.call("Identity", [name, *constants], rounded, writer.name(f"{name}/Identity"))
    writer.reals[name] = writer.pair(name, rounded, params)


def _layer(writer: QdqWriter, layer: IntegerLayer) -> None:
    tensor = layer.layer.output
    result = writer.name(f"{tensor}/real") if tensor == writer.integer.output else tensor
    limits = _limits(layer)
    output = result if limits is None else writer.name(f"{tensor}/unclamped")
    WRITERS[layer.layer.op](writer, layer, output)
    if limits is not None:
        _clamp(writer, layer.layer.name, output, result, limits)
    writer.reals[tensor] = writer.pair(tensor, result, layer.output)


def _limits(layer: IntegerLayer) -> tuple[float | None, float | None] | None:
    """Real limits of a fused activation, where they are narrower than the width's."""
    if layer.layer.op not in (Op.CONV, Op.DENSE, Op.ADD):
        return None
    params, scale = layer.output, np.float32(layer.output.scale)
    low = None if layer.low == 0 else float(np.float32(layer.low - params.zero_point) * scale)
    is_top = layer.high == params.high
    high = None if is_top else float(np.float32(layer.high - params.zero_point) * scale)
    return None if low is None and high is None else (low, high)


def _clamp(
    writer: QdqWriter,
    label: str,
    source: str,
    result: str,
    limits: tuple[float | None, float | None],
) -> None:
    if limits == (0.0, None):
        writer.add("Relu", [source], result)
        return
    ends = [
        "" if limit is None else writer.const(f"{label}/limit", np.float32(limit))
        for limit in limits
    ]
    writer.add("Clip", [source, *ends], result)
