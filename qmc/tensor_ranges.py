"""The quantization of every activation tensor, from its role in the network and its values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qmc.arithmetic import QuantParams
from qmc.layer import Layer, Op
from qmc.network import Network
from qmc.ranges import Calibration, Histogram, Range, choose_range, quant_params
from qmc.widths import OUTPUT_BITS, shared_given, shared_quantization

#: Ranges that a function has whatever its input.
_FIXED_RANGES: Mapping[str, Range] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}
#: Room above the logits seen in calibration; 16 bits can spare it, and a clipped logit ties.
_OUTPUT_MARGIN = 1.5


def tensors_to_observe(network: Network) -> list[str]:
    """Tensors whose range is neither given, nor known, nor another tensor's."""
    roots, given = shared_quantization(network), shared_given(network)
    known = {layer.output for layer in network.layers if _fixed_range(layer) is not None}
    return [name for name, root in roots.items() if name == root not in known | set(given)]


def _fixed_range(layer: Layer) -> Range | None:
    if layer.op is Op.SOFTMAX:
        return (0.0, 1.0)
    if layer.op is Op.LOOKUP and layer.function is not None:
        return _FIXED_RANGES.get(layer.function.split(":")[0])
    return None


def tensor_params(
    network: Network,
    bits: Mapping[str, int],
    stats: Mapping[str, Histogram],
    method: Calibration | None,
) -> dict[str, QuantParams]:
    """Quantization of every tensor.

    Args:
        network: its given ranges are kept exactly.
        bits: by tensor.
        stats: of every tensor of :func:`tensors_to_observe`.
        method: how a range is chosen; None takes the least squared error.
    """
    roots, given = shared_quantization(network), shared_given(network)
    fixed = {layer.output: _fixed_range(layer) for layer in network.layers}
    useful = _useful_ranges(network)
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
            low, high = _observed_range(stats[name], bits[name], name == network.input, method)
            floor, ceiling = useful.get(name, (-math.inf, math.inf))
            ranges[name] = (max(low, floor), min(high, ceiling))
    for name, limits in _share_ranges(network, roots, ranges).items():
        params[name] = quant_params(bits[name], limits)
    return {name: params[roots[name]] for name in network.tensors}


def _useful_ranges(network: Network) -> dict[str, Range]:
    """Ranges outside which a tensor's values make no difference to any layer that reads it.

    A hard swish is zero below -3: codes for less would be wasted.
    """
    useful: dict[str, Range] = {}
    for name in network.tensors:
        readers = [layer for layer in network.layers if name in layer.inputs]
        limits = [_varies_on(layer) for layer in readers]
        if limits and name != network.output:
            useful[name] = (min(low for low, _ in limits), max(high for _, high in limits))
    return useful


def _varies_on(layer: Layer) -> Range:
    """The inputs between which a LOOKUP's function is not constant; everything for other layers."""
    name, *texts = (layer.function or "").split(":")
    values = [float(text) for text in texts]
    match name:
        case "relu":
            return (0.0, math.inf)
        case "hard_swish":
            return (-3.0, math.inf)
        case "clip":
            return (values[0], values[1])
        case "hard_sigmoid" if values[0] > 0:
            return (-values[1] / values[0], (1.0 - values[1]) / values[0])
    return (-math.inf, math.inf)


def _observed_range(
    histogram: Histogram, bits: int, is_input: bool, method: Calibration | None
) -> Range:
    if is_input:
        return choose_range(histogram, bits, Calibration.MIN_MAX)  # pixels have no outliers
    if bits == OUTPUT_BITS:
        low, high = choose_range(histogram, bits, Calibration.MIN_MAX)
        return _OUTPUT_MARGIN * low, _OUTPUT_MARGIN * high
    return choose_range(histogram, bits, method or Calibration.MSE)


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
