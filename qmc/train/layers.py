"""Every kind of layer in torch, on real numbers: what training differentiates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from qmc.layer import Layer, Op
from qmc.network import Network
from qmc.windows import sliced, window_counts

Value = Any  # torch.Tensor: torch is an extra, and the check of types does without it


def compute(
    network: Network, layer: Layer, inputs: Sequence[Value], weights: Value, bias: Value
) -> Value:
    """The output of ``layer``, its fused clamp included.

    Args:
        network: shapes.
        layer: of it.
        inputs: (n, ...) each.
        weights: (G*K, C, R, S) and ``bias`` (G*K,) of CONV and DENSE, else None.
        bias: see there.
    """
    if layer.has_weights:
        result = _weighted(layer, inputs[0], weights, bias)
    else:
        result = _plain(network, layer, inputs)
    return result if layer.clamp is None else torch.clamp(result, *layer.clamp)


def _weighted(layer: Layer, values: Value, weights: Value, bias: Value) -> Value:
    if layer.op is Op.DENSE:
        return functional.linear(values.flatten(1), weights.flatten(1), bias)
    window = {"stride": layer.strides, "dilation": layer.dilations, "groups": layer.bounds.G}
    return functional.conv2d(_padded(layer, values, 0.0), weights, bias, **window)


def _plain(network: Network, layer: Layer, inputs: Sequence[Value]) -> Value:
    first = inputs[0]
    match layer.op:
        case Op.ADD:
            return inputs[0] + inputs[1]
        case Op.MUL:
            return inputs[0] * inputs[1]
        case Op.CONCAT:
            return torch.cat(list(inputs), dim=1)
        case Op.MAX_POOL:
            padded = _padded(layer, first, -torch.inf)
            window = (layer.bounds.R, layer.bounds.S)
            return functional.max_pool2d(
                padded, window, stride=layer.strides, dilation=layer.dilations
            )
        case Op.AVERAGE_POOL:
            return _average_pool(network, layer, first)
        case Op.SOFTMAX:
            return torch.softmax(first, dim=1)
        case Op.LOOKUP:
            assert layer.function is not None
            name, *numbers = layer.function.split(":")
            return _FUNCTIONS[name](first, *map(float, numbers))
        case _:
            return _moved(network, layer, first)


def _moved(network: Network, layer: Layer, values: Value) -> Value:
    """RESHAPE and SLICE."""
    if layer.op is Op.SLICE:
        return values[sliced(layer, tuple(values.shape))]
    turned = values if layer.perm is None else values.permute(layer.perm)
    return turned.reshape(len(values), *network.tensors[layer.output].shape[1:])


def _padded(layer: Layer, values: Value, padding: float) -> Value:
    top, left, bottom, right = layer.pads
    if not any(layer.pads):
        return values
    return functional.pad(values, (left, right, top, bottom), value=padding)


def _average_pool(network: Network, layer: Layer, values: Value) -> Value:
    """Sums over the windows, by the number of elements that each counts."""
    bounds = layer.bounds
    ones = torch.ones(values.shape[1], 1, bounds.R, bounds.S)
    padded = _padded(layer, values, 0.0)
    sums = functional.conv2d(
        padded, ones, stride=layer.strides, dilation=layer.dilations, groups=len(ones)
    )
    counts = window_counts(layer, *network.tensors[layer.inputs[0]].shape[2:])
    return sums / torch.from_numpy(counts.clip(1)).to(sums.dtype)


#: By the name in a key of :mod:`qmc.functions`.
_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
    "hard_swish": functional.hardswish,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "clip": torch.clamp,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "softplus": functional.softplus,
    "mish": functional.mish,
}
