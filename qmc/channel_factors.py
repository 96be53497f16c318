"""Channels brought to one range, so that a tensor's few codes serve all of them.

A tensor that only a depthwise layer reads may hold every channel times a factor of its own: the
layer before multiplies by it, the depthwise one divides. Both fold into the scales of their rows;
nothing is computed at run time and no weight gets coarser.

Source: cross-layer equalization, Nagel et al., arXiv 1906.04721, section 4.1, for activations. A
ReLU6 is no obstacle: the codes saturate where its limit would, or before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams
from qmc.layer import Layer
from qmc.network import Network
from qmc.quantize import weight_codes
from qmc.ranges import quant_params
from qmc.rounding_kernel import least_error_clips
from qmc.scheme import Scheme, WeightScheme

Reals = NDArray[np.float64]
FloatArray = NDArray[np.float32]
#: Upper ends of channels' ranges by tensor name, then bits.
ChannelLimits = Mapping[str, Mapping[int, Reals]]

#: At this width and below activations have too few codes for channels of different ranges.
COARSE_BITS = 5
#: Values of a channel that are looked at.
_VALUES = 4096
#: Ends of a channel's range tried, as shares of its largest value.
_SHARES = np.linspace(1.0, 0.2, 17)
#: No channel is enlarged more than this.
_LARGEST = 32.0


def feeds_depthwise(network: Network, layer: Layer) -> bool:
    """Whether the channels of a layer's output may have factors of their own."""
    readers = [reader for reader in network.layers if layer.output in reader.inputs]
    is_rectified = layer.clamp is not None and layer.clamp[0] == 0.0
    is_fixed = layer.output == network.output or layer.output in network.given_ranges
    if not (layer.has_weights and is_rectified and len(readers) == 1) or is_fixed:
        return False
    given = network.parameters[readers[0].name].given if readers[0].has_weights else None
    return readers[0].is_depthwise and given is None


def channel_limits(values: FloatArray, bits: int) -> Reals:
    """The upper end of the range of each channel with the least squared error.

    Args:
        values: (n, channels, ...), none negative.
        bits: of the codes.

    Returns:
        (channels,); 0 for a channel of zeros.
    """
    channels = values.shape[1]
    rows = np.moveaxis(values.reshape(len(values), channels, -1), 1, 0).reshape(channels, -1)
    step = max(1, rows.shape[1] // _VALUES)
    largest = rows.max(axis=1)
    chosen = np.ascontiguousarray(rows[:, ::step])
    return least_error_clips(chosen, largest.astype(np.float64), _SHARES, (1 << bits) - 1)


def factors_of(limits: Reals) -> Reals:
    """Factors, at least 1, that bring all limits to the largest; (channels,)."""
    top = float(limits.max())
    if top <= 0.0:
        return np.ones_like(limits)
    return np.asarray(top / np.maximum(limits, top / _LARGEST))


def with_factors(network: Network, scheme: Scheme, limits: ChannelLimits) -> Scheme:
    """A finished scheme with the channels of its coarse tensors brought to one range.

    Args:
        network: float layers.
        scheme: complete.
        limits: of tensors that depthwise layers read.
    """
    tensors, weights = dict(scheme.tensors), dict(scheme.weights)
    for layer in network.layers:
        ends = limits.get(layer.output, {}).get(tensors[layer.output].bits)
        if ends is None:
            continue
        tensors[layer.output] = equalized_params(tensors[layer.output].bits, ends)
        factors = factors_of(ends)
        reader = next(one for one in network.layers if layer.output in one.inputs)
        weights[layer.name] = _scaled(network, weights, layer, factors, biases=True)
        rows = np.repeat(1.0 / factors, reader.bounds.K)
        weights[reader.name] = _scaled(network, weights, reader, rows, biases=False)
    return replace(scheme, tensors=tensors, weights=weights)


def equalized_params(bits: int, limits: Reals) -> QuantParams:
    """Quantization of a tensor whose channels were brought to the range of the largest."""
    return quant_params(bits, (0.0, float(limits.max())))


def _scaled(
    network: Network,
    weights: Mapping[str, WeightScheme],
    layer: Layer,
    factors: Reals,
    biases: bool,
) -> WeightScheme:
    """The same integers with the scales of their rows, and biases if asked, times factors."""
    chosen, parameters = weights[layer.name], network.parameters[layer.name]
    codes = weight_codes(parameters, chosen).astype(np.int8).tobytes()
    bias = np.array(parameters.bias if chosen.bias is None else chosen.bias)
    moved = bias * factors if biases else bias
    scales = tuple((np.array(chosen.scales) * factors).tolist())
    return replace(chosen, scales=scales, bias=tuple(moved.tolist()), codes=codes)
