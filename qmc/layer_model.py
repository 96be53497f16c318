"""One float layer in ONNX Runtime, with any number of inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qmc.float_model import make_session, part_to_onnx
from qmc.layer import Layer
from qmc.network import Network, Parameters

FloatArray = NDArray[np.float32]


class LayerModel:
    """Runs one layer of a network on batches of real values."""

    def __init__(
        self, network: Network, layer: Layer, parameters: Parameters | None = None
    ) -> None:
        """Build the ONNX model of ``layer``.

        Args:
            network: which has the layer.
            layer: to run.
            parameters: in place of the network's own.
        """
        self._inputs = layer.inputs
        chosen = network.parameters if parameters is None else {layer.name: parameters}
        model = part_to_onnx(
            replace(network, parameters=chosen),
            [layer],
            tuple(dict.fromkeys(layer.inputs)),
            [layer.output],
        )
        self._session = make_session(model.SerializeToString(), 1)

    def run(self, *inputs: FloatArray) -> FloatArray:
        """The layer's output, (n, ...), for its inputs in order, each (n, ...)."""
        values: FloatArray = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))[
            0
        ]
        return values
