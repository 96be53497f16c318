"""A layer as a problem of tuning: what decides how fast its kernels are, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass

from qmc.codegen.kernel import Kernel, make_kernel
from qmc.codegen.vector.candidates import candidate_knobs
from qmc.codegen.vector.kernel import make_vector_kernel
from qmc.codegen.vector.knobs import NO_KNOBS, Knobs
from qmc.codegen.vector.requant import vector_requant
from qmc.codegen.vector.sources import VectorLayer
from qmc.codegen.writer import Writer
from qmc.integer import IntegerNetwork
from qmc.layer import MAC_OPS
from qmc.targets import KernelFamily

#: Bytes that the rest of a network moves through the caches between two calls: no more are read.
_MOST_SWEEP = 4 << 20
_LEAST_SWEEP = 32 << 10


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One distinct layer.

    Attributes:
        network: what it is part of.
        index: of the layer.
        family: the vector unit; None has plain loops only.
        names: of all layers of the network that are the same problem.
        sweep_bytes: read between two calls.
        key: what decides its speed, as text.
    """

    network: IntegerNetwork
    index: int
    family: KernelFamily | None
    names: tuple[str, ...]
    sweep_bytes: int
    key: str

    @property
    def layer(self) -> VectorLayer:
        """The layer as the printers of kernels see it."""
        assert self.family is not None
        return vector_layer(self.network, self.index, self.family)

    def kernel(self, name: str, knobs: Knobs = NO_KNOBS) -> Kernel:
        """Its kernel; ``name`` begins all names of C."""
        if self.family is not None:
            kernel = make_vector_kernel(self.network, self.index, name, self.family, knobs)
            if kernel is not None:
                return kernel
        return make_kernel(self.network, self.index, name, None)

    def candidates(self) -> tuple[Knobs, ...]:
        """Choices to be tried, the defaults first."""
        return (NO_KNOBS,) if self.family is None else candidate_knobs(self.layer)


def vector_layer(
    network: IntegerNetwork, index: int, family: KernelFamily, knobs: Knobs = NO_KNOBS
) -> VectorLayer:
    """A layer as the printers of kernels see it."""
    return VectorLayer(network, network.layers[index], family, "l", Writer(), knobs=knobs)


def problems_of(
    network: IntegerNetwork, family: KernelFamily | None, traffic_bytes: int
) -> list[Problem]:
    """Distinct layers in order of their first appearance.

    Args:
        network: the network.
        family: the vector unit of the machine.
        traffic_bytes: constants and arena of the whole program.
    """
    sweep = sweep_of(traffic_bytes)
    found: dict[str, list[int]] = {}
    for index in range(len(network.layers)):
        found.setdefault(problem_key(network, index, family, sweep), []).append(index)
    return [
        Problem(
            network,
            indices[0],
            family,
            tuple(network.layers[i].layer.name for i in indices),
            sweep,
            key,
        )
        for key, indices in found.items()
    ]


def sweep_of(traffic_bytes: int) -> int:
    """The next power of two, so that networks of like size share records."""
    return min(_MOST_SWEEP, max(_LEAST_SWEEP, 1 << max(0, traffic_bytes - 1).bit_length()))


def problem_key(
    network: IntegerNetwork, index: int, family: KernelFamily | None, sweep_bytes: int
) -> str:
    """Shapes, widths, form of the requantization, clamps: equal keys are equally fast."""
    integer = network.layers[index]
    layer, bounds = integer.layer, integer.layer.bounds
    data: dict[str, object] = {
        "op": layer.op.value,
        "bounds": [bounds.G, bounds.K, bounds.C, bounds.P, bounds.Q, bounds.R, bounds.S],
        "strides": list(layer.strides),
        "dilations": list(layer.dilations),
        "pads": list(layer.pads),
        "bits": [integer.weight_bits, *(q.bits for q in integer.inputs), integer.output.bits],
        "channels": [network.tensors[name].channels for name in layer.inputs],
        "clamp": [integer.low > 0, integer.high < integer.output.high],
        "outer": [network.input in layer.inputs, layer.output == network.output],
        "sweep_kib": sweep_bytes >> 10,
    }
    if layer.op in MAC_OPS and family is not None:
        requant = vector_requant(integer, family)
        data["form"] = [requant.form.value, requant.is_short, integer.weight_format is not None]
    else:
        data["scales"] = [len(integer.counts), len(integer.rescales), layer.perm is not None]
    return json.dumps(data, separators=(",", ":"))
