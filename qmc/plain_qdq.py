"""QDQ with standard operators only, for tools that know no functions.

The layers are those of :mod:`qmc.qdq_export` without their integer constants: DequantizeLinear, a
float operator, QuantizeLinear. A tool computes sums and products of scales in float32 or in its own
integers, so a code may differ from the emitted C's where a sum lies near a rounding edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from qmc.float_model import make_session
from qmc.integer import IntegerNetwork
from qmc.integer_runner import IntegerRunner
from qmc.lift_functions import lift_functions

_BATCH = 16


def to_plain_qdq(exported: ModelProto) -> ModelProto:
    """A model made by :func:`qmc.qdq_export.to_qdq` without functions; that model is kept.

    The metadata keeps the scheme, so that qmc reads the same scales in double precision.
    """
    model = ModelProto()
    model.CopyFrom(exported)
    lift_functions(Path("exported"), model)
    # What only rounds or rescales exactly has no work left: the next QuantizeLinear does it.
    nodes = [node for node in model.graph.node if node.op_type != "Identity"]
    sources = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity"}
    for node in nodes:
        node.input[:] = [sources.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unread(model)
    return model


def _drop_unread(model: ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the network's output differs between a plain file and the integers.

    Attributes:
        inputs: how many were run.
        elements: codes of all their outputs.
        differing: of these, other codes.
        largest: largest difference, codes.
        highest: the highest code there is.
        classes: inputs whose largest output is another one.
    """

    inputs: int
    elements: int
    differing: int
    largest: int
    highest: int
    classes: int

    def __str__(self) -> str:
        """One line for people."""
        if not self.differing:
            return f"all {self.elements:,} output codes of {self.inputs} inputs are those of the C"
        return (
            f"{self.differing:,} of {self.elements:,} output codes of {self.inputs} inputs differ "
            f"from the C's, by at most {self.largest} of {self.highest:,}; "
            f"the class of {self.classes} inputs"
        )


def plain_difference(
    model: ModelProto, integer: IntegerNetwork, inputs: NDArray[np.float32]
) -> Difference:
    """Compare ONNX Runtime, graph optimizations disabled, with the integers of the emitted C.

    Args:
        model: made by :func:`to_plain_qdq` of ``integer``.
        integer: the network; its reference is what the C is verified against.
        inputs: (n, ...) real values.
    """
    counts = np.zeros(3, dtype=np.int64)
    largest = 0
    for found, expected in _outputs(model, integer, inputs):
        distance = np.abs(found - expected)
        classes = found.argmax(axis=1) != expected.argmax(axis=1)
        counts += (distance.size, np.count_nonzero(distance), np.count_nonzero(classes))
        largest = max(largest, int(distance.max()))
    elements, differing, changed = (int(count) for count in counts)
    highest = integer.quantization[integer.output].high
    return Difference(len(inputs), elements, differing, largest, highest, changed)


def _outputs(
    model: ModelProto, integer: IntegerNetwork, inputs: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Codes (n, elements) of ONNX Runtime and of the integers, a batch at a time."""
    session, runner = make_session(model.SerializeToString(), threads=1), IntegerRunner(integer)
    source, target = (integer.quantization[name] for name in (integer.input, integer.output))
    for first in range(0, len(inputs), _BATCH):
        batch = inputs[first : first + _BATCH]
        reals = session.run(None, {integer.input: batch})[0].astype(np.float64)
        found = np.rint(reals / np.float32(target.scale)).astype(np.int64) + target.zero_point
        expected = runner.run(source.quantize(batch)).astype(np.int64)
        yield found.reshape(len(batch), -1), expected.reshape(len(batch), -1)
