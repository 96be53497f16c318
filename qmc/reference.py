"""The integer arithmetic of every layer, in NumPy: this file *defines* what the emitted C computes.

Codes are int32 arrays in the shape of the ONNX tensor, (n, C, H, W) or (n, C), with any batch n.
Formulas in prose: docs/arithmetic.md. Matrix products run in float64 for speed and are exact: an
activation has at most 16 bits and a weight 8, so fewer than 2^29 products sum to below 2^53.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import IntArray, Rescale, requantize
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.layer import Layer, Op
from qmc.windows import sliced, window_counts, windows

Codes = NDArray[np.int32]


def run_network(net: IntegerNetwork, codes: Codes) -> dict[str, Codes]:
    """Run every layer.

    Args:
        net: the integer network.
        codes: input codes, (n, ...) like the network's input tensor.

    Returns:
        The codes of every tensor by name, the input included.
    """
    values = {net.input: codes.astype(np.int32)}
    for layer in net.layers:
        inputs = [values[name] for name in layer.layer.inputs]
        shape = net.tensors[layer.layer.output].shape
        values[layer.layer.output] = run_layer(layer, inputs, shape)
    return values


def run_layer(
    layer: IntegerLayer, inputs: Sequence[Codes], shape: tuple[int, ...] | None = None
) -> Codes:
    """Run one layer.

    Args:
        layer: the layer with its integer constants.
        inputs: codes of its input tensors.
        shape: shape of the output tensor; its first extent is replaced by the batch. None takes
            the rank of the first input; (n, channels) for DENSE and for a RESHAPE to one pixel.

    Returns:
        int32 codes of the output tensor.
    """
    match layer.layer.op:
        case Op.CONV | Op.DENSE:
            codes = _weighted(layer, inputs[0])
        case Op.ADD:
            codes = _add(layer, inputs)
        case Op.MUL:
            codes = _mul(layer, inputs)
        case Op.CONCAT:
            codes = _concat(layer, inputs)
        case Op.MAX_POOL:
            codes = _max_pool(layer, inputs[0])
        case Op.AVERAGE_POOL:
            codes = _average_pool(layer, inputs[0])
        case Op.LOOKUP:
            codes = _table(layer)[inputs[0]].astype(np.int32)
        case Op.SOFTMAX:
            codes = _softmax(layer, inputs[0])
        case Op.RESHAPE | Op.SLICE:
            codes = _moved(layer.layer, inputs[0])
    extents = _default_shape(layer.layer, inputs[0].ndim) if shape is None else shape
    return codes.reshape(inputs[0].shape[0], *extents[1:])


def accumulate(layer: IntegerLayer, codes: Codes) -> IntArray:
    """Accumulators of a CONV or DENSE layer: sums of weight * raw input code, without bias.

    Padding has the code of the input's zero point; subtracting the zero point is part of the
    requantization's start value.

    Returns:
        (n, G*K, P, Q).
    """
    assert layer.weights is not None
    bounds = layer.layer.bounds
    if layer.layer.op is Op.DENSE:
        codes = codes.reshape(codes.shape[0], bounds.C, 1, 1)
    taps = list(windows(layer.layer, codes.astype(np.int64), layer.inputs[0].zero_point))
    batch, shape = codes.shape[0], (codes.shape[0], -1, bounds.P, bounds.Q)
    if bounds.C == 1:
        weights = layer.weights.reshape(bounds.G, bounds.K, -1)
        return _accumulate_depthwise(taps, weights).reshape(shape)
    columns = np.stack(taps, axis=2).astype(np.float64)  # (n, G*C, R*S, P, Q)
    columns = columns.reshape(batch, bounds.G, -1, bounds.P * bounds.Q)
    matrix = layer.weights.reshape(bounds.G, bounds.K, -1).astype(np.float64)
    sums = [matrix[group] @ columns[:, group] for group in range(bounds.G)]
    return np.concatenate(sums, axis=1).reshape(shape).astype(np.int64)


def _accumulate_depthwise(taps: Sequence[IntArray], weights: NDArray[np.int8]) -> IntArray:
    """One input channel per group: (n, G, P, Q) taps, (G, K, R*S) weights to (n, G, K, P, Q)."""
    factors = weights.astype(np.int64)
    products = (
        values[:, :, None] * factors[:, :, tap, None, None] for tap, values in enumerate(taps)
    )
    return np.asarray(sum(products), dtype=np.int64)


def _weighted(layer: IntegerLayer, codes: Codes) -> Codes:
    assert layer.requant is not None
    return requantize(accumulate(layer, codes), layer.requant, layer.low, layer.high)


def _add(layer: IntegerLayer, inputs: Sequence[Codes]) -> Codes:
    """(ma*a + mb*b + oa + ob) >> shift."""
    first, second = layer.rescales
    total = first.multiplier * inputs[0].astype(np.int64) + first.offset
    total = total + (second.multiplier * inputs[1].astype(np.int64) + second.offset)
    return _clip(layer, total >> first.shift)


def _mul(layer: IntegerLayer, inputs: Sequence[Codes]) -> Codes:
    """(m * (a - za) * (b - zb) + o) >> shift."""
    factors = (
        codes.astype(np.int64) - params.zero_point
        for codes, params in zip(inputs, layer.inputs, strict=True)
    )
    product = next(factors) * next(factors)
    return _clip(layer, _rescale(product, layer.rescales[0]))


def _concat(layer: IntegerLayer, inputs: Sequence[Codes]) -> Codes:
    parts = [
        _rescale(codes.astype(np.int64), rescale)
        for codes, rescale in zip(inputs, layer.rescales, strict=True)
    ]
    return _clip(layer, np.concatenate(parts, axis=1))


def _max_pool(layer: IntegerLayer, codes: Codes) -> Codes:
    """Padding has code 0, the least there is, and so never wins over an element."""
    taps = np.stack(list(windows(layer.layer, codes.astype(np.int64), padding=0)))
    return _clip(layer, taps.max(axis=0))


def _average_pool(layer: IntegerLayer, codes: Codes) -> Codes:
    """Each window's plain sum, rescaled by the constants of its count."""
    spec = layer.layer
    padding = layer.inputs[0].zero_point if spec.count_include_pad else 0
    total = np.asarray(sum(windows(spec, codes.astype(np.int64), padding)), dtype=np.int64)
    counts = window_counts(spec, *codes.shape[2:])
    averages = np.zeros_like(total)
    for count, rescale in zip(layer.counts, layer.rescales, strict=True):
        averages = np.where(counts == count, _rescale(total, rescale), averages)
    return _clip(layer, averages)


def _softmax(layer: IntegerLayer, codes: Codes) -> Codes:
    """E = table[max - x]; y = min(high, (e*F + S//2) // S), S the sum of e, F = round(1/scale)."""
    weights = _table(layer)[codes.max(axis=1, keepdims=True) - codes]
    total = weights.sum(axis=1, keepdims=True)
    scaled = (weights * softmax_factor(layer) + total // 2) // total
    return _clip(layer, scaled)


def _moved(layer: Layer, codes: Codes) -> Codes:
    """Codes in the order of the output; the caller gives them its shape."""
    if layer.op is Op.SLICE:
        return codes[sliced(layer, codes.shape)]
    return codes if layer.perm is None else codes.transpose(layer.perm)


def softmax_factor(layer: IntegerLayer) -> int:
    """The factor F = round(1 / output scale) of a SOFTMAX layer."""
    return round(1.0 / layer.output.scale)


def _rescale(values: IntArray, rescale: Rescale) -> IntArray:
    return (rescale.multiplier * values + rescale.offset) >> rescale.shift


def _clip(layer: IntegerLayer, values: IntArray) -> Codes:
    return np.clip(values, layer.low, layer.high).astype(np.int32)


def _table(layer: IntegerLayer) -> IntArray:
    assert layer.table is not None
    return layer.table.astype(np.int64)


def _default_shape(layer: Layer, rank: int) -> tuple[int, ...]:
    bounds = layer.bounds
    channels, pixels = bounds.G * bounds.K, bounds.P * bounds.Q
    is_vector = pixels == 1 if layer.op is Op.RESHAPE else rank == 2 or layer.op is Op.DENSE
    return (1, channels) if is_vector else (1, channels, bounds.P, bounds.Q)
