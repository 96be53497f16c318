"""Network and scheme to integers: weights, bias, requantization constants, tables.

Pure and deterministic; every formula is in docs/arithmetic.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import (
    IntArray,
    QuantParams,
    Requant,
    Rescale,
    Rounding,
    make_requant,
    make_rescale,
    odd_multiplier,
)
from qmc.errors import QuantizationError, SchemeError
from qmc.functions import evaluate
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.layer import Layer, Op
from qmc.network import Network, Parameters
from qmc.scheme import Scheme, WeightScheme
from qmc.windows import window_counts

#: A SOFTMAX table's entry for the largest element; e^-x is stored in units of 2^-30.
SOFTMAX_ONE = 1 << 30
_INT32_MAX = (1 << 31) - 1
_INT64_MAX = (1 << 63) - 1


def quantize(network: Network, scheme: Scheme) -> IntegerNetwork:
    """The integer network that ``scheme`` makes of ``network``.

    Raises:
        SchemeError: a tensor or a layer with weights has no entry in the scheme.
        QuantizationError: a layer's integers would leave their range.
    """
    _check_complete(network, scheme)
    layers = tuple(quantize_layer(network, scheme, layer) for layer in network.layers)
    quantization = {name: scheme.tensors[name] for name in network.tensors}
    return IntegerNetwork(
        network.name, network.tensors, quantization, layers, network.input, network.output
    )


def weight_codes(parameters: Parameters, scheme: WeightScheme) -> NDArray[np.int8]:
    """Integers of the weights: the scheme's own, those that came with the model, or the nearest.

    Raises:
        SchemeError: the scheme's own are not as many as the weights.
    """
    if scheme.codes is not None:
        return _own_codes(parameters, scheme.codes)
    scales = np.array(scheme.scales, dtype=np.float64)
    given = parameters.given
    if given is not None and given.bits == scheme.bits and np.array_equal(given.scales, scales):
        return given.codes
    ratio = parameters.weights.astype(np.float64) / scales[:, None, None, None]
    return scheme.numbers.nearest(ratio).astype(np.int8)


def _own_codes(parameters: Parameters, codes: bytes) -> NDArray[np.int8]:
    if len(codes) != parameters.weights.size:
        raise SchemeError(
            f"found {len(codes)} weight codes, the layer has {parameters.weights.size} weights"
        )
    return np.frombuffer(codes, dtype=np.int8).reshape(parameters.weights.shape)


def clamp_codes(clamp: tuple[float, float] | None, params: QuantParams) -> tuple[int, int]:
    """Limits of the output codes: those of the width, and the fused activation's."""
    if clamp is None:
        return 0, params.high
    edges = np.clip(np.array(clamp, dtype=np.float64) / params.scale, -1e6, 1e6)
    low, high = (int(v) + params.zero_point for v in np.floor(edges + 0.5))
    low = min(max(low, 0), params.high)
    return low, max(min(high, params.high), low)


def _check_complete(network: Network, scheme: Scheme) -> None:
    missing = [f"tensor '{name}'" for name in network.tensors if name not in scheme.tensors]
    missing += [
        f"layer '{layer.name}'"
        for layer in network.layers
        if layer.has_weights and layer.name not in scheme.weights
    ]
    if missing:
        raise SchemeError(f"the scheme has no entry for {', '.join(missing)}")


def quantize_layer(network: Network, scheme: Scheme, layer: Layer) -> IntegerLayer:
    """One layer of :func:`quantize`.

    Raises:
        QuantizationError: the layer's integers would leave their range.
    """
    inputs = tuple(scheme.tensors[name] for name in layer.inputs)
    output = scheme.tensors[layer.output]
    low, high = clamp_codes(layer.clamp, output)
    plain = IntegerLayer(layer, inputs, output, low, high)
    match layer.op:
        case Op.CONV | Op.DENSE:
            return _weighted(network.parameters[layer.name], scheme, plain)
        case Op.ADD | Op.MUL | Op.CONCAT:
            rescales = _elementwise(layer, inputs, output)
            return IntegerLayer(layer, inputs, output, low, high, rescales=rescales)
        case Op.AVERAGE_POOL:
            shape = network.tensors[layer.inputs[0]].shape
            counts = tuple(int(n) for n in np.unique(window_counts(layer, *shape[2:])))
            rescales = tuple(_average(layer, inputs[0], output, count) for count in counts)
            return IntegerLayer(layer, inputs, output, low, high, rescales=rescales, counts=counts)
        case Op.LOOKUP:
            table = _lookup_table(layer, inputs[0], output, low, high)
            return IntegerLayer(layer, inputs, output, low, high, table=table)
        case Op.SOFTMAX:
            if output.zero_point:
                raise QuantizationError(layer.name, "the output of softmax needs zero point 0")
            table = _softmax_table(inputs[0])
            return IntegerLayer(layer, inputs, output, low, high, table=table)
        case Op.MAX_POOL | Op.RESHAPE | Op.SLICE:
            if inputs[0] != output:
                raise QuantizationError(
                    layer.name, "its output must have the quantization of its input"
                )
            return plain


def _weighted(parameters: Parameters, scheme: Scheme, plain: IntegerLayer) -> IntegerLayer:
    layer, source, output = plain.layer, plain.inputs[0], plain.output
    chosen = scheme.weights[layer.name]
    if len(chosen.scales) != layer.bounds.G * layer.bounds.K:
        raise SchemeError(
            f"layer '{layer.name}': found {len(chosen.scales)} weight scales, "
            f"the layer has {layer.bounds.G * layer.bounds.K} output channels"
        )
    codes = weight_codes(parameters, chosen)
    scale = np.array(chosen.scales, dtype=np.float64) * source.scale  # of the accumulator
    real_bias = parameters.bias if chosen.bias is None else np.array(chosen.bias)
    sums = codes.astype(np.int64).reshape(len(codes), -1)
    bias = _integer_bias(layer.name, real_bias, scale) - source.zero_point * sums.sum(axis=1)
    rises = np.maximum(sums, 0).sum(axis=1) * source.high
    falls = np.minimum(sums, 0).sum(axis=1) * source.high
    bound = np.maximum(np.abs(bias + rises), np.abs(bias + falls))
    requant = _requant(layer.name, scale / output.scale, bias, bound, output, scheme.rounding)
    return IntegerLayer(
        layer,
        plain.inputs,
        output,
        plain.low,
        plain.high,
        weights=codes,
        weight_bits=chosen.bits,
        weight_format=None if chosen.format is None else chosen.numbers,
        requant=requant,
        accumulator_bound=_partial_sum_bound(layer.name, requant, rises, falls),
    )


def _integer_bias(layer: str, bias: NDArray[np.floating], scale: NDArray[np.float64]) -> IntArray:
    units = np.rint(bias.astype(np.float64) / scale)
    worst = int(np.argmax(np.abs(units)))
    if not abs(units[worst]) <= _INT32_MAX:
        raise QuantizationError(
            layer,
            f"channel {worst}: the bias is {units[worst]:.3g} steps of the accumulator, "
            f"int32 holds {_INT32_MAX}; use a larger weight scale",
        )
    return units.astype(np.int64)


def _requant(
    layer: str,
    scale: NDArray[np.float64],
    bias: IntArray,
    bound: IntArray,
    output: QuantParams,
    rounding: Rounding,
) -> Requant:
    try:
        return make_requant(layer, scale, bias, bound, output, rounding)
    except ValueError as error:
        raise QuantizationError(
            layer, f"input scale * weight scale / output scale: {error}"
        ) from None


def _partial_sum_bound(layer: str, requant: Requant, rises: IntArray, falls: IntArray) -> int:
    """Bound of |start + any subset of the products| and of a subset alone, over all channels.

    A product of a positive weight lies in [0, w * high], of a negative one in [w * high, 0], so
    every partial sum, in any order, lies between the sum of all falls and the sum of all rises.
    """
    start = requant.start.astype(np.int64)
    ends = (rises, falls, start, start + rises, start + falls)
    bound = max(int(np.abs(end).max()) for end in ends)
    if bound > _INT32_MAX:
        raise QuantizationError(
            layer, f"a partial sum may reach {bound}, int32 holds {_INT32_MAX}; use fewer bits"
        )
    return bound


def _elementwise(
    layer: Layer, inputs: tuple[QuantParams, ...], output: QuantParams
) -> tuple[Rescale, ...]:
    if layer.op is Op.ADD:
        return _add(layer, inputs, output)
    if layer.op is Op.MUL:
        scale = inputs[0].scale * inputs[1].scale / output.scale
        return (_rescale(layer, scale, 0, output.zero_point),)
    return tuple(
        Rescale(1, 0, 0)
        if source == output
        else _rescale(layer, source.scale / output.scale, source.zero_point, output.zero_point)
        for source in inputs
    )


def _add(layer: Layer, inputs: tuple[QuantParams, ...], output: QuantParams) -> tuple[Rescale, ...]:
    """Both numerators at the shift of the larger scale; offset and half go with the first."""
    scales = [params.scale / output.scale for params in inputs]
    shift = _rescale(layer, max(scales), 0, output.zero_point).shift
    multipliers = [_numerator(scale, shift) for scale in scales]
    offsets = [-m * params.zero_point for m, params in zip(multipliers, inputs, strict=True)]
    offsets[0] += (output.zero_point << shift) + (1 << (shift - 1))
    return tuple(Rescale(m, shift, o) for m, o in zip(multipliers, offsets, strict=True))


def _numerator(scale: float, shift: int) -> int:
    """M of m / 2^shift: the odd 24-bit one where the shift is its own, else the nearest."""
    multiplier, own = (int(v[0]) for v in odd_multiplier(np.array([scale])))
    return multiplier if own == shift else round(scale * 2.0**shift)


def _average(layer: Layer, source: QuantParams, output: QuantParams, count: int) -> Rescale:
    if count == 0:
        return Rescale(0, 0, output.zero_point)  # a window of padding alone averages to zero
    scale = source.scale / output.scale / count
    return _rescale(layer, scale, count * source.zero_point, output.zero_point)


def _rescale(layer: Layer, scale: float, zero_in: int, zero_out: int) -> Rescale:
    try:
        rescale = make_rescale(scale, zero_in, zero_out)
    except ValueError as error:
        raise QuantizationError(layer.name, f"input scale / output scale: {error}") from None
    if abs(rescale.offset) > _INT64_MAX >> 1:
        raise QuantizationError(
            layer.name, f"input scale / output scale is {scale:g}; too small for 64-bit arithmetic"
        )
    return rescale


def _lookup_table(
    layer: Layer, source: QuantParams, output: QuantParams, low: int, high: int
) -> NDArray[np.uint32]:
    assert layer.function is not None
    reals = (np.arange(source.high + 1, dtype=np.float64) - source.zero_point) * source.scale
    codes = output.quantize(evaluate(layer.function, reals))
    return np.clip(codes, low, high).astype(np.uint32)


def _softmax_table(source: QuantParams) -> NDArray[np.uint32]:
    distance = np.arange(source.high + 1, dtype=np.float64) * source.scale
    units: NDArray[np.float64] = np.rint(SOFTMAX_ONE * np.exp(-distance))
    return units.astype(np.uint32)
