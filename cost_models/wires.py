"""Energy of the wires below a memory: multicast on the way in, reduction on the way out.

Words enter a fan-out at one corner, run along x to the columns that need them and along y to the
instances (dimension-ordered routing). Along an axis with n instances in use that want g different
tiles, the n / g that share a tile being neighbours, handing one element of each out takes

- on a mesh n (g + 1) / 2 hops: a shared element goes past all that want it, to the last;
- on a bus g times the whole axis, however many listen or are in use.

Outputs take the same wires outwards, adding up where they meet. Rows of a two-dimensional fan-out
first join on x: with (n_x, g_x), (n_y, g_y) and h as above, an element each takes g_y h_x hops
along x and n_x h_y along y. docs/cost-model.md works one layer by hand.

Sources: the bus is that of Y.-H. Chen et al., Eyeriss, JSSC 2017, section IV-B (a vertical bus and
one horizontal bus per row, a controller at every receiver); the mesh follows Timeloop's network
model (NVlabs/timeloop src/model/network-legacy.cpp: hops x bits x wire energy, from the edge of the
array), with hops counted along either axis instead of by its formula for square meshes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from qmc.cost_models.nest import Nest, product
from qmc.cost_models.receivers import distinct_along, distinct_receivers
from qmc.cost_models.traffic import distinct_outputs, exchanged
from qmc.layer import REDUCTION, Operand, Precision
from qmc.targets.target import MemoryLevel, Topology


def network_energies(nest: Nest, precision: Precision, psum_bits: int) -> dict[str, float]:
    """Energy of every declared network, pJ, by the name of the memory above it.

    Elements cross at their layer's widths, partial sums at ``psum_bits``; bypassed memories are
    passed without a stop. What neighbours pass on (``psum: output``) is not told apart.
    """
    levels = nest.target.memories
    energy = {level.name: 0.0 for level in levels if level.network is not None}
    for operand in Operand if energy else ():
        for outer, inner in pairwise(nest.holders(operand)):
            for index in range(outer, inner):
                if levels[index].network is not None:
                    crossing = _Crossing(nest, operand, outer, inner, index)
                    energy[levels[index].name] += _energy(crossing, precision, psum_bits)
    return energy


def axis_hops(topology: Topology, size: int, used: int, distinct: int) -> float:
    """Hops along an axis to hand out one element of each of ``distinct`` tiles."""
    if size == 1:
        return 0.0
    return size * distinct if topology is Topology.BUS else used * (distinct + 1) / 2


@dataclass(frozen=True, slots=True)
class _Crossing:
    """An operand on its way between two holders, on the wires below level ``index``."""

    nest: Nest
    operand: Operand
    outer: int
    inner: int
    index: int

    @property
    def level(self) -> MemoryLevel:
        return self.nest.target.memories[self.index]

    @property
    def rounds(self) -> int:
        """How often an element of every tile below is handed out, in the whole machine and run."""
        below = distinct_receivers(self.nest, self.operand, self.index + 1, self.inner)
        sent = exchanged(self.nest, self.operand, self.inner) * below
        return sent * self.nest.used_instances(self.index)


def _energy(crossing: _Crossing, precision: Precision, psum_bits: int) -> float:
    network = crossing.level.network
    assert network is not None
    used = {"x": 1, "y": 1}
    for loop in crossing.nest.spatial[crossing.index]:
        used[loop.spatial or ""] *= loop.extent
    distinct = distinct_along(crossing.nest, crossing.operand, crossing.index)
    x = axis_hops(network.topology, crossing.level.fanout_x, used["x"], distinct["x"])
    y = axis_hops(network.topology, crossing.level.fanout_y, used["y"], distinct["y"])
    receivers = used["x"] * used["y"]
    bit_pj = distinct["y"] * x * network.hop_x_pj + used["x"] * y * network.hop_y_pj
    bit_pj += receivers * network.receiver_pj
    if crossing.operand is not Operand.O:
        return crossing.rounds * precision.bits(crossing.operand) * bit_pj
    added = receivers - distinct["x"] * distinct["y"]
    round_pj = _output_bits(crossing, precision, psum_bits) * bit_pj + added * network.add_pj
    return crossing.rounds * round_pj


def _output_bits(crossing: _Crossing, precision: Precision, psum_bits: int) -> float:
    """Bits that cross per update, both ways: what is read again to go on summing comes back.

    A finished output has its own width where nothing is added to it from here on outwards.
    """
    nest, outer = crossing.nest, crossing.outer
    updates = exchanged(nest, Operand.O, crossing.inner)
    updates *= distinct_receivers(nest, Operand.O, outer, crossing.inner)
    finished = distinct_outputs(nest, outer)
    in_space = (loop for level in nest.spatial[: crossing.index + 1] for loop in level)
    added_up = product(loop for loop in in_space if loop.dim in REDUCTION) > 1
    last_bits = psum_bits if added_up else precision.output_bits
    return (2 * (updates - finished) * psum_bits + finished * last_bits) / updates
