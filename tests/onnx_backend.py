"""qmc as a backend of ONNX's own test suite (``onnx.backend.test``).

qmc compiles networks of one float input, whose first dimension is the batch, and constant weights.
The suite's node models have all operands as inputs, so the first one is the network's input and the
others become constants with the values that the case gives them; a batch above 1 runs element by
element. What runs is qmc's own: the imported ``Network`` evaluated in float64, and the integer
network at 8 bits, calibrated on the case's input.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper
from onnx.backend.base import Backend, BackendRep

from qmc.calibrate import calibrate
from qmc.errors import ModelError
from qmc.frontend import load_network
from qmc.network import Network
from qmc.quantize import quantize
from qmc.reference import run_network as run_integers
from qmc.widths import Widths
from tests.float_network import run_network

#: What the integer path may be off, as a share of the output's range, and in steps beside it:
#: one rounding of every weight and of every tensor, at 8 bits.
INTEGER_SHARE, INTEGER_STEPS = 0.01, 2.0


@dataclass
class QmcRep(BackendRep):
    """A model that waits for the values of its constant operands.

    Attributes:
        model: as the suite has it.
        integer_error: of the last run, over what is allowed; at most 1.
    """

    model: ModelProto
    integer_error: float = 0.0

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in float."""
        values = [np.asarray(v) if isinstance(v, np.generic) else v for v in inputs]
        if not values or not isinstance(values[0], np.ndarray) or not values[0].ndim:
            raise ModelError("model", "has no tensor as its first input")
        data = values[0] if values[0].ndim > 1 else values[0][None]  # a vector is a batch of one
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(_with_constants(self.model, [data, *values[1:]]).SerializeToString())
            network = load_network(path)[1]
        rows = [data[i : i + 1] for i in range(len(data))]
        outputs = [run_network(network, row) for row in rows]
        self.integer_error = _integer_error(network, data.astype(np.float32))
        return (np.concatenate(outputs).astype(np.float32),)


class QmcBackend(Backend):
    """qmc behind the interface of :mod:`onnx.backend.base`."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> QmcRep:
        """Take a model; it is compiled when its operands are known."""
        return QmcRep(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether tests may run on ``device``."""
        return device == "CPU"


def _with_constants(model: ModelProto, inputs: Sequence[Any]) -> ModelProto:
    """All inputs but the first as initializers, and a batch of one."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    known = {tensor.name for tensor in graph.initializer}
    free = [value for value in graph.input if value.name not in known]
    if not free:
        raise ModelError("model", "has no input")
    kept = free[0]
    for value, array in zip(free[1:], inputs[1:], strict=False):
        if not isinstance(array, np.ndarray):
            raise ModelError("model", f"input '{value.name}' is no tensor")
        graph.initializer.append(numpy_helper.from_array(array, value.name))
    copy = ValueInfoProto()
    copy.CopyFrom(kept)
    del graph.input[:]
    graph.input.append(copy)
    for value in graph.output:  # shapes follow from the input's
        value.type.tensor_type.ClearField("shape")
    source = graph.input[0].type.tensor_type
    if source.elem_type == TensorProto.FLOAT:
        del source.shape.dim[:]
        for extent in (1, *inputs[0].shape[1:]):
            source.shape.dim.add(dim_value=extent)
    del graph.value_info[:]
    return fixed


def _integer_error(network: Network, data: NDArray[np.float32]) -> float:
    """Largest error of the integer path, over what is allowed.

    Both paths get the input as the integers have it: its own rounding is no error of the network.
    """
    data = data.reshape(len(data), *network.tensors[network.input].shape[1:])
    integer = quantize(network, calibrate(network, [data], Widths()))
    source, params = (integer.quantization[name] for name in (integer.input, integer.output))
    codes = source.quantize(data)
    found = params.dequantize(run_integers(integer, codes)[integer.output]).reshape(len(data), -1)
    rounded = source.dequantize(codes)
    expected = np.concatenate([run_network(network, row[None]).reshape(1, -1) for row in rounded])
    spread = float(max(expected.max(), 0.0) - min(expected.min(), 0.0))
    allowed = INTEGER_SHARE * spread + INTEGER_STEPS * params.scale + 1e-6
    return float(np.abs(found - expected).max()) / allowed


def load_unchanged(model: ModelProto) -> None:
    """Read a model of the suite as it is; nearly all are refused.

    Raises:
        QmcError: it is refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        load_network(path)
