"""What quantization does to every layer: SQNR of the integer network's tensors against float.

SQNR = 10 log10(sum of squares of the float tensor / sum of squares of the difference), in dB. Two
kinds of it: of the tensor as the integer network makes it, which holds the errors of all layers
before it, and the layer's own, against the float layer on the very inputs the integer layer has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.float_model import FloatModel, make_session, part_to_onnx
from qmc.integer import IntegerNetwork
from qmc.layer import Layer
from qmc.network import Network
from qmc.reference import run_network

FloatArray = NDArray[np.float32]

#: Inputs over which squares are summed; a tensor of a network has elements enough in each.
DAMAGE_INPUTS = 4
#: Beyond this only rounding of the float arithmetic itself is seen, dB.
_LIMIT_DB = 150.0


@dataclass(frozen=True, slots=True)
class Damage:
    """SQNR of one layer's output, dB; None where it equals float.

    Attributes:
        sqnr_db: with the errors of all layers before it.
        own_sqnr_db: of this layer alone.
    """

    sqnr_db: float | None
    own_sqnr_db: float | None


class Squares:
    """Sums of squares of a signal and of its error."""

    def __init__(self) -> None:
        """Start at zero."""
        self.signal = 0.0
        self.noise = 0.0

    def add(self, real: FloatArray, found: FloatArray) -> None:
        """Count two tensors of one shape."""
        wide = real.astype(np.float64)
        self.signal += float(np.square(wide).sum())
        self.noise += float(np.square(wide - found).sum())

    def sqnr_db(self) -> float | None:
        """In dB, two digits; None without any error."""
        if self.noise == 0:
            return None
        decibel = 10 * math.log10(max(self.signal, 1e-30) / self.noise)
        return round(min(max(decibel, -_LIMIT_DB), _LIMIT_DB), 2)


def layer_damage(
    network: Network, integer: IntegerNetwork, inputs: Sequence[FloatArray]
) -> dict[str, Damage]:
    """SQNR of every layer, by layer name.

    Args:
        network: float layers.
        integer: the same quantized; the emitted C computes the same integers.
        inputs: arrays (1, ...) of the network's input, real values.
    """
    model = FloatModel(network)
    alone = {layer.name: _FloatLayer(network, layer) for layer in network.layers}
    whole = {layer.name: Squares() for layer in network.layers}
    own = {layer.name: Squares() for layer in network.layers}
    for real_input in inputs:
        real = model.run(real_input)
        found = dequantized(integer, real_input)
        for layer in network.layers:
            output = found[layer.output]
            whole[layer.name].add(real[layer.output], output)
            own[layer.name].add(alone[layer.name].run(found), output)
    return {name: Damage(whole[name].sqnr_db(), own[name].sqnr_db()) for name in whole}


def dequantized(integer: IntegerNetwork, real_input: FloatArray) -> dict[str, FloatArray]:
    """Every tensor of the integer network as real values, by name."""
    codes = integer.quantization[integer.input].quantize(real_input)
    return {
        name: integer.quantization[name].dequantize(values)
        for name, values in run_network(integer, codes).items()
    }


class _FloatLayer:
    """One float layer in ONNX Runtime."""

    def __init__(self, network: Network, layer: Layer) -> None:
        self._inputs = tuple(dict.fromkeys(layer.inputs))
        part = part_to_onnx(network, [layer], self._inputs, [layer.output])
        self._output = layer.output
        self._session = make_session(part.SerializeToString(), threads=1)

    def run(self, values: Mapping[str, FloatArray]) -> FloatArray:
        feed = {name: values[name] for name in self._inputs}
        found: FloatArray = self._session.run([self._output], feed)[0]
        return found
