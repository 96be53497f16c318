"""Calibration: a network, a few images and widths in; a scale and zero point for every tensor out.

Deterministic: the same images give the same scheme to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qmc.arithmetic import QuantParams, Rounding
from qmc.errors import DataError
from qmc.layer import Layer, Op
from qmc.network import Network, Parameters
from qmc.observe import Inputs, Statistics, observe
from qmc.progress import Tick, no_tick
from qmc.ranges import Calibration, Range, choose_range, quant_params
from qmc.scheme import Scheme, WeightScheme
from qmc.weight_scales import corrected_bias, least_error_scales, least_legal_scales
from qmc.widths import (
    OUTPUT_BITS,
    Widths,
    activation_bits,
    shared_given,
    shared_quantization,
)

__all__ = ["Calibration", "calibrate"]

#: Ranges that a function has whatever its input.
_FIXED_RANGES: Mapping[str, Range] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}
#: Room above the logits seen in calibration; 16 bits can spare it, and a clipped logit ties.
_OUTPUT_MARGIN = 1.5
#: At this width and below, clipping outliers costs less than coarse steps.
_COARSE_BITS = 5

_Stats = Mapping[str, Statistics]


def calibrate(
    network: Network,
    inputs: Inputs | None,
    widths: Widths,
    *,
    method: Calibration | None = None,
    rounding: Rounding = Rounding.HALF_UP,
    tick: Tick = no_tick,
) -> Scheme:
    """Choose scales and zero points.

    Args:
        network: float layers and parameters.
        inputs: a data set or batches of inputs; None only if every tensor came with its range.
        widths: bits of weights and activations.
        method: how activation ranges are chosen; None takes the percentile, and the least squared
            error at 5 bits and below.
        rounding: of requantizations, kept in the scheme.
        tick: called with inputs done and in all.

    Raises:
        DataError: no inputs, or a value that is not finite.
    """
    needed = _tensors_to_observe(network)
    if inputs is None and needed:
        raise DataError(
            f"no calibration data: {len(needed)} tensors have no range, '{needed[0]}' first; "
            "give images with --calib"
        )
    stats = {} if inputs is None else observe(network, inputs, tick)
    tensors = _tensor_params(network, activation_bits(network, widths), stats, method)
    chosen = {
        layer.name: _weight_scheme(network, layer, tensors, widths, stats)
        for layer in network.layers
        if layer.has_weights
    }
    raised = {name: count for name, (_, count) in chosen.items() if count}
    weights = {name: scheme for name, (scheme, _) in chosen.items()}
    return Scheme(tensors, weights, rounding, (_raised_note(raised),) if raised else ())


def _tensors_to_observe(network: Network) -> list[str]:
    """Tensors whose range is neither given nor known nor another's."""
    roots, given = shared_quantization(network), shared_given(network)
    known = {layer.output for layer in network.layers if _fixed_range(layer) is not None}
    return [name for name, root in roots.items() if name == root not in known | set(given)]


def _fixed_range(layer: Layer) -> Range | None:
    if layer.op is Op.SOFTMAX:
        return (0.0, 1.0)
    if layer.op is Op.LOOKUP and layer.function is not None:
        return _FIXED_RANGES.get(layer.function.split(":")[0])
    return None


def _tensor_params(
    network: Network, bits: Mapping[str, int], stats: _Stats, method: Calibration | None
) -> dict[str, QuantParams]:
    roots, given = shared_quantization(network), shared_given(network)
    fixed = {layer.output: _fixed_range(layer) for layer in network.layers}
    params, ranges = {}, {}
    for name in network.tensors:
        if roots[name] != name:
            continue
        limits = fixed.get(name)
        if name in given:
            params[name] = QuantParams(given[name].bits, given[name].scale, given[name].zero_point)
        elif limits is not None:
            params[name] = quant_params(bits[name], limits)
        else:
            ranges[name] = _observed_range(stats[name], bits[name], name == network.input, method)
    for name, limits in _share_ranges(network, roots, ranges).items():
        params[name] = quant_params(bits[name], limits)
    return {name: params[roots[name]] for name in network.tensors}


def _observed_range(
    statistics: Statistics, bits: int, is_input: bool, method: Calibration | None
) -> Range:
    histogram = statistics.histogram
    if is_input:
        return choose_range(histogram, bits, Calibration.MIN_MAX)  # pixels have no outliers
    if bits == OUTPUT_BITS:
        low, high = choose_range(histogram, bits, Calibration.MIN_MAX)
        return _OUTPUT_MARGIN * low, _OUTPUT_MARGIN * high
    if method is None:
        method = Calibration.MSE if bits <= _COARSE_BITS else Calibration.PERCENTILE
    return choose_range(histogram, bits, method)


def _share_ranges(
    network: Network, roots: Mapping[str, str], ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """Give the inputs and output of a concatenation one range, so that it only moves codes."""
    group = {name: name for name in ranges}
    for layer in network.layers:
        if layer.op is Op.CONCAT:
            members = {roots[name] for name in (*layer.inputs, layer.output)} - {network.input}
            joined = {group[name] for name in members if name in group}
            first = min(joined, default="")
            group = {name: first if leader in joined else leader for name, leader in group.items()}
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for name, (low, high) in ranges.items():
        leader = group[name]
        lows[leader] = min(low, lows.get(leader, low))
        highs[leader] = max(high, highs.get(leader, high))
    return {name: (lows[group[name]], highs[group[name]]) for name in ranges}


def _weight_scheme(
    network: Network,
    layer: Layer,
    tensors: Mapping[str, QuantParams],
    widths: Widths,
    stats: _Stats,
) -> tuple[WeightScheme, int]:
    """Scales and corrected bias of a layer, and how many scales had to be raised."""
    parameters = network.parameters[layer.name]
    bits = widths.weight_bits(layer.name)
    given = parameters.given
    if given is not None and given.bits <= bits:
        return WeightScheme(given.bits, tuple(given.scales.tolist())), 0
    scales = least_error_scales(parameters.weights, bits)
    floors = least_legal_scales(parameters.bias, tensors[layer.inputs[0]], tensors[layer.output])
    raised = int(np.count_nonzero((scales < floors) & _has_weights(parameters)))
    scheme = WeightScheme(bits, tuple(np.maximum(scales, floors).tolist()))
    if layer.inputs[0] in stats:
        mean = stats[layer.inputs[0]].mean
        bias = corrected_bias(layer, parameters, scheme, mean)
        scheme = WeightScheme(bits, scheme.scales, bias)
    return scheme, raised


def _has_weights(parameters: Parameters) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(parameters.weights.reshape(len(parameters.weights), -1).any(axis=1))


def _raised_note(raised: Mapping[str, int]) -> str:
    """One sentence on the channels whose scale had to be raised, by layer."""
    where = ", ".join(f"{name} ({count})" for name, count in raised.items())
    return (
        f"{sum(raised.values())} channels have almost no weights beside their bias; their weight "
        f"scales were raised to keep the accumulator in range: {where}"
    )
