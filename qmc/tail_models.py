"""Parts of the float network as models of their own: what comes after a tensor.

When one tensor is changed, only the layers behind it have to run again. A *tail* starts at a layer
and ends with the network's output. ONNX Runtime may optimize it (three times as fast): it has no
quantize-dequantize pairs, and each tail is checked against the whole network before it is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from qmc.arithmetic import QuantParams
from qmc.float_model import make_session, part_to_onnx
from qmc.network import Network

FloatArray = NDArray[np.float32]
Values = Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The layers from some layer on.

    Attributes:
        inputs: tensors it reads that come from before.
        rounded: tensors inside that it quantizes; their parameters are given with each run.
        output: the network's output.
        session: of ONNX Runtime; None where there are no layers, and the output is an input.
    """

    inputs: tuple[str, ...]
    rounded: tuple[str, ...]
    output: str
    session: Any

    def run(self, values: Values, params: Mapping[str, QuantParams]) -> FloatArray:
        """The network's output, (n, ...).

        Args:
            values: of the inputs.
            params: quantization of the tensors in ``rounded``.
        """
        if self.session is None:
            return values[self.output]
        feeds: dict[str, NDArray[Any]] = {name: values[name] for name in self.inputs}
        for name in self.rounded:
            numbers = _scalars(params[name])
            names = _scalar_names(name)
            pairs = zip(names, (np.float32(number) for number in numbers), strict=True)
            feeds |= {key: np.asarray(number) for key, number in pairs}
        result: FloatArray = self.session.run(None, feeds)[0]
        return result


def make_tail(
    network: Network, start: int, rounded: Sequence[str] = (), optimized: bool = True
) -> Tail:
    """The tail from layer number ``start`` on.

    Args:
        network: float layers.
        start: its first layer.
        rounded: tensors that layers of the tail write and that are to be quantized there.
        optimized: admit graph optimizations.
    """
    layers = network.layers[start:]
    if not layers:
        return Tail((network.output,), (), network.output, None)
    names = {name: f"{name}/rounded" for name in rounded}
    renamed = [
        replace(layer, inputs=tuple(names.get(name, name) for name in layer.inputs))
        for layer in layers
    ]
    written = {layer.output for layer in layers}
    read = dict.fromkeys(name for layer in layers for name in layer.inputs)
    inputs = tuple(name for name in read if name not in written)
    output = names.get(network.output, network.output)
    after = {name: _rounding_nodes(name, names[name]) for name in rounded}
    scalars = [scalar for name in rounded for scalar in _scalar_names(name)]
    model = part_to_onnx(network, renamed, inputs, [output], after, scalars)
    session = make_session(model.SerializeToString(), 1, optimized)
    return Tail(inputs, tuple(rounded), network.output, session)


def _scalar_names(tensor: str) -> list[str]:
    return [f"{tensor}/{part}" for part in ("steps", "least", "greatest", "scale")]


def _scalars(params: QuantParams) -> tuple[float, ...]:
    """Codes per unit, the least and greatest code with zero at 0, and the scale."""
    least, greatest = -params.zero_point, params.high - params.zero_point
    return 1.0 / params.scale, least, greatest, params.scale


def _rounding_nodes(tensor: str, result: str) -> list[NodeProto]:
    """clip(floor(x / scale + 1/2)) * scale: the nearest code, halves up, saturated."""
    steps, least, greatest, scale = _scalar_names(tensor)
    codes = [f"{tensor}/codes{step}" for step in range(4)]
    half = helper.make_node("Constant", [], [f"{tensor}/half"], value_float=0.5)
    return [
        half,
        helper.make_node("Mul", [tensor, steps], [codes[0]]),
        helper.make_node("Add", [codes[0], f"{tensor}/half"], [codes[1]]),
        helper.make_node("Floor", [codes[1]], [codes[2]]),
        helper.make_node("Clip", [codes[2], least, greatest], [codes[3]]),
        helper.make_node("Mul", [codes[3], scale], [result]),
    ]
