"""A NumPy executor of float networks, written from the meaning of ``Layer`` alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qmc.layer import Layer, Op
from qmc.network import GivenRange, Network, Parameters

Reals = NDArray[np.float64]


def run_network(network: Network, data: NDArray[np.float32], fake: bool = False) -> Reals:
    """The output of ``network`` for one input, in float64.

    Args:
        network: layers and parameters.
        data: of the shape of the input tensor.
        fake: round every tensor that came with a quantization to its codes.
    """
    shape = network.tensors[network.input].shape
    values = {network.input: _rounded(network, network.input, data.reshape(shape), fake)}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        result = _compute(layer, inputs, network.parameters.get(layer.name))
        if layer.clamp is not None:
            result = np.clip(result, *layer.clamp)
        result = result.reshape(network.tensors[layer.output].shape)
        values[layer.output] = _rounded(network, layer.output, result, fake)
    return values[network.output]


def _rounded(network: Network, name: str, values: Reals, fake: bool) -> Reals:
    given: GivenRange | None = network.given_ranges.get(name)
    values = values.astype(np.float64)
    if not fake or given is None:
        return values
    codes = np.rint(values / given.scale) + given.zero_point
    return (np.clip(codes, 0, 2**given.bits - 1) - given.zero_point) * given.scale


def _compute(layer: Layer, inputs: list[Reals], parameters: Parameters | None) -> Reals:
    match layer.op:
        case Op.CONV:
            assert parameters is not None
            return _conv(layer, inputs[0], parameters)
        case Op.DENSE:
            assert parameters is not None
            weights = parameters.weights.astype(np.float64)[:, :, 0, 0]
            return inputs[0].reshape(1, -1) @ weights.T + parameters.bias
        case Op.ADD:
            return inputs[0] + inputs[1]
        case Op.MUL:
            return inputs[0] * inputs[1]
        case Op.CONCAT:
            return np.concatenate(inputs, axis=1)
        case Op.MAX_POOL | Op.AVERAGE_POOL:
            return _pool(layer, inputs[0])
        case Op.LOOKUP:
            return _function(layer.function or "", inputs[0])
        case Op.SOFTMAX:
            exponents = np.exp(inputs[0] - inputs[0].max(axis=1, keepdims=True))
            return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))
        case Op.RESHAPE | Op.SLICE:
            return _moved(layer, inputs[0])


def _moved(layer: Layer, values: Reals) -> Reals:
    if layer.op is Op.RESHAPE:
        return values.transpose(layer.perm) if layer.perm else values
    channel, row, column = layer.starts
    if layer.interleave > 1:
        parts = np.split(values, layer.interleave, axis=1)
        values = np.stack(parts, axis=2).reshape(values.shape)
    kept = values[:, channel : channel + layer.bounds.G]
    if kept.ndim == 2:
        return kept
    kept = kept[:, :, row :: layer.strides[0], column :: layer.strides[1]]
    return kept[:, :, : layer.bounds.P, : layer.bounds.Q]


def _taps(layer: Layer, values: Reals, outside: float) -> Reals:
    """Input elements (R*S, C, P, Q) under each window position."""
    top, left, bottom, right = layer.pads
    margins = ((0, 0), (top, bottom), (left, right))
    padded = np.pad(values[0], margins, constant_values=outside)
    b = layer.bounds
    rows = np.arange(b.P) * layer.strides[0]
    columns = np.arange(b.Q) * layer.strides[1]
    taps = [
        padded[:, (rows + r * layer.dilations[0])[:, None], columns + s * layer.dilations[1]]
        for r in range(b.R)
        for s in range(b.S)
    ]
    return np.stack(taps)


def _conv(layer: Layer, values: Reals, parameters: Parameters) -> Reals:
    b = layer.bounds
    taps = _taps(layer, values, 0.0).reshape(b.R * b.S, b.G, b.C, b.P * b.Q)
    weights = parameters.weights.astype(np.float64).reshape(b.G, b.K, b.C, b.R * b.S)
    result = np.einsum("tgcx,gkct->gkx", taps, weights, optimize=True).reshape(b.G * b.K, -1)
    return (result + parameters.bias[:, None]).reshape(1, b.G * b.K, b.P, b.Q)


def _pool(layer: Layer, values: Reals) -> Reals:
    if layer.op is Op.MAX_POOL:
        return _taps(layer, values, -np.inf).max(axis=0)[None]
    inside = _taps(layer, np.ones_like(values), float(layer.count_include_pad))
    return (_taps(layer, values, 0.0).sum(axis=0) / inside.sum(axis=0))[None]


def _softplus(x: Reals) -> Reals:
    return np.asarray(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))


_FUNCTIONS: dict[str, Callable[..., Reals]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "clip": np.clip,
    "leaky_relu": lambda x, a: np.where(x > 0, x, a * x),
    "elu": lambda x, a: np.where(x > 0, x, a * np.expm1(x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "softplus": _softplus,
    "mish": lambda x: x * np.tanh(_softplus(x)),
}


def _function(key: str, x: Reals) -> Reals:
    name, *parameters = key.split(":")
    return _FUNCTIONS[name](x, *(float(text) for text in parameters))
