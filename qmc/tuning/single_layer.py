"""One layer of a float network at any widths, as an integer network to be measured.

Times hardly depend on values: ranges are assumed from fan-in and weights, as a network with
normalized activations has them, so that no images are needed.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from qmc.arithmetic import QuantParams
from qmc.integer import IntegerNetwork
from qmc.layer import Layer
from qmc.network import Network
from qmc.quantize import quantize_layer
from qmc.scheme import Scheme, WeightScheme
from qmc.width_classes import Triple
from qmc.widths import TRANSPARENT

#: Largest activation that is assumed, and root mean square of the rest.
_RANGE, _RMS = 6.0, 1.5
#: Outputs of a layer with weights reach so many of their deviations.
_REACH = 4.0


def layer_at(network: Network, layer: Layer, triple: Triple) -> IntegerNetwork:
    """The layer alone at (weight, input, output) bits; its tensors belong to the arena as before.

    Raises:
        QuantizationError: the layer has no integers at these widths.
    """
    weight_bits, input_bits, output_bits = triple
    source = _params(input_bits, _RANGE)
    result = source
    if layer.op not in TRANSPARENT:
        result = _params(output_bits, _output_range(network, layer))
    tensors = {**dict.fromkeys(layer.inputs, source), layer.output: result}
    weights = {}
    if layer.has_weights:
        values = np.abs(network.parameters[layer.name].weights)
        largest = values.reshape(len(values), -1).max(axis=1).astype(np.float64)
        scales = np.maximum(largest, 1e-3) / ((1 << (weight_bits - 1)) - 0.5)
        weights[layer.name] = WeightScheme(weight_bits, tuple(scales.tolist()))
    integer = quantize_layer(network, Scheme(tensors, weights), layer)
    ends = (network.input in layer.inputs, network.output == layer.output)
    return IntegerNetwork(
        network.name,
        network.tensors,
        tensors,
        (integer,),
        network.input if ends[0] else "",
        network.output if ends[1] else "",
    )


def _params(bits: int, largest: float) -> QuantParams:
    """Of activations behind a ReLU."""
    return QuantParams(bits, largest / ((1 << bits) - 1), 0)


def _output_range(network: Network, layer: Layer) -> float:
    if not layer.has_weights:
        return _RANGE
    return _weighted_range(network.parameters[layer.name].weights.tobytes(), _fan_in(layer))


@lru_cache(maxsize=256)
def _weighted_range(weights: bytes, fan_in: int) -> float:
    rms = float(np.sqrt(np.mean(np.square(np.frombuffer(weights, np.float32), dtype=np.float64))))
    return max(1e-3, _REACH * _RMS * rms * math.sqrt(fan_in))


def _fan_in(layer: Layer) -> int:
    bounds = layer.bounds
    return bounds.C * bounds.R * bounds.S
