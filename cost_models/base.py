"""The cost-model protocol; the scheduler knows nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from qmc.layer import Layer, Operand, Precision
from qmc.mapping import Mapping

if TYPE_CHECKING:
    from qmc.targets.target import Target


@dataclass(frozen=True, slots=True)
class Accesses:
    """Word accesses of one operand at one memory, per used instance, packed by the memory's rule.

    ``reads`` serve the next inner level, ``fills`` come from the next outer one, ``updates`` are
    results written back from the inner level.
    """

    reads: int
    fills: int
    updates: int
    instances: int
    utilized_words: int
    energy_pj: float  # of all instances


@dataclass(frozen=True, slots=True)
class Cost:
    """Modelled cost of one layer under one mapping.

    Attributes:
        energy_pj: of the whole layer.
        cycles: the largest of the bounds.
        bound: what sets the cycles: "compute" or "<memory> read|write bandwidth".
        energy_by_memory_pj: by memory name, and "mac" for compute; where declared, "leakage" and
            "<memory> network" for the wires below a memory.
        accesses: by memory name, then operand; only operands the memory keeps.
        utilization: used share of the MACs, 0 to 1.
    """

    energy_pj: float
    cycles: int
    bound: str
    energy_by_memory_pj: Dict[str, float]
    accesses: Dict[str, Dict[Operand, Accesses]]
    utilization: float = 1.0

    @property
    def edp_pj_cycles(self) -> float:
        """Energy-delay product of the layer."""
        return self.energy_pj * self.cycles


def total_cost(
    accesses: Dict[str, Dict[Operand, Accesses]],
    mac_pj: float,
    leakage_pj: float,
    cycles: int,
    bound: str,
    utilization: float,
    networks_pj: Dict[str, float] | None = None,
) -> Cost:
    """Add up the energy of a layer: memories, compute and, where declared, networks and leakage."""
    energy = {
        name: sum(entry.energy_pj for entry in entries.values())
        for name, entries in accesses.items()
    }
    for name, network_pj in (networks_pj or {}).items():
        energy[f"{name} network"] = network_pj
    energy["mac"] = mac_pj
    if leakage_pj:
        energy["leakage"] = leakage_pj
    return Cost(math.fsum(energy.values()), cycles, bound, energy, accesses, utilization)


class CostModel(Protocol):
    """Prices a mapping."""

    def evaluate(
        self, layer: Layer, precision: Precision, target: Target, mapping: Mapping
    ) -> Cost:
        """Cost of ``mapping``.

        Raises:
            MappingError: the mapping is not legal for the layer and machine.
        """
        ...
