"""A quantized layer in floating point: as its integers answer, but for rare ties, and faster.

For fitting weights; :mod:`qmc.integer_runner` runs whole networks, bit for bit. Of requantizations
that round twice (``tflite-double``) the second rounding is not simulated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams, Rounding
from qmc.integer import IntegerLayer
from qmc.layer import Layer
from qmc.network import Network, Parameters
from qmc.quantize import quantize_layer, weight_codes
from qmc.scheme import Scheme

FloatArray = NDArray[np.float32]
Codes = NDArray[np.uint16]


def rounded_parameters(network: Network, scheme: Scheme, layer: Layer) -> Parameters | None:
    """Float parameters that act as the integers of a layer do; None for a layer without."""
    if not layer.has_weights:
        return None
    chosen, parameters = scheme.weights[layer.name], network.parameters[layer.name]
    codes = weight_codes(parameters, chosen)
    weights = codes * np.array(chosen.scales)[:, None, None, None]
    bias = _effective_bias(quantize_layer(network, scheme, layer))
    return Parameters(weights.astype(np.float32), bias.astype(np.float32))


def _effective_bias(layer: IntegerLayer) -> NDArray[np.float64]:
    """The real bias whose nearest code is the requantization's, rounding point and all."""
    assert layer.weights is not None
    assert layer.requant is not None
    requant, source, output = layer.requant, layer.inputs[0], layer.output
    sums = layer.weights.reshape(len(layer.weights), -1).sum(axis=1, dtype=np.int64)
    shift = requant.shift + (31 if requant.rounding is Rounding.TFLITE_DOUBLE else 0)
    scale = requant.multiplier / 2.0**shift
    codes = scale * (requant.start + source.zero_point * sums) + requant.offset
    half = 0.5 if requant.rounding is Rounding.FLOOR else 0.0
    return np.asarray((codes - half - output.zero_point) * output.scale)


def nearest_codes(values: FloatArray, params: QuantParams) -> Codes:
    """Nearest codes, halves up, saturated; in float32, for speed."""
    scaled = values * np.float32(1.0 / params.scale)
    scaled += np.float32(params.zero_point + 0.5)
    np.clip(scaled, 0.0, np.float32(params.high), out=scaled)
    return scaled.astype(np.uint16)  # truncates: a floor, as nothing is negative


def dequantized(codes: NDArray[np.generic], params: QuantParams) -> FloatArray:
    """Real values of codes, in float32."""
    values = codes.astype(np.float32)
    values -= np.float32(params.zero_point)
    values *= np.float32(params.scale)
    return values
