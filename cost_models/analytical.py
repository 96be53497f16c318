"""The analytical cost model: word counts, energy and cycles of a mapping in closed form.

Semantics, in the order of the code (design section 4; docs/cost-model.md has the formulas):

1. elements moved per memory and operand (:mod:`qmc.cost_models.traffic`);
2. words by the memory's packing rule, rounded up once per total (:mod:`qmc.cost_models.words`);
3. the tiles kept in a memory must fit it;
4. energy = row accesses x energy per row, per action, times used instances (memories whose
   instances share a row: times used clusters), plus networks (:mod:`qmc.cost_models.wires`),
   leakage and MACs;
5. cycles = the largest of compute (steps x cycles per MAC at the operands' widths) and every port's
   words / bandwidth.

Where loops do not divide their dims (:mod:`qmc.cost_models.remainders`) instances differ: 3 and 5
are those of the busiest instance, 2 and 4 those of the average one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qmc.cost_models.base import Accesses, Cost, total_cost
from qmc.cost_models.nest import Nest, build_nest
from qmc.cost_models.ports import compute_cycles, slowest
from qmc.cost_models.remainders import average, check_windows, compute_steps, cut_traffic
from qmc.cost_models.streaming import streaming_cost
from qmc.cost_models.traffic import FirstFill, Traffic, cycles_of_compute, operand_traffic
from qmc.cost_models.wires import network_energies
from qmc.cost_models.words import mixed_words, packed_words, rows
from qmc.errors import CapacityError, CostModelError, MappingError
from qmc.formats import EnergyClass
from qmc.layer import Layer, Operand, Precision
from qmc.mapping import Mapping
from qmc.targets.target import MemoryLevel, Target


class PsumRule(StrEnum):
    """Width of partial sums."""

    HONEST = "honest"  # psum_bits until the last reduction step, output_bits from then on
    OUTPUT = "output"  # output_bits always, and what else Timeloop's records assume


@dataclass(frozen=True, slots=True)
class AnalyticalModel:
    """The closed-form model.

    Attributes:
        first_fill: whether filling an accumulator with zeros is charged.
        psum: width rule of partial sums. OUTPUT also lets neighbours pass inputs on
            (:mod:`qmc.cost_models.forwarding`) and rounds cycles of ports as Timeloop does.
    """

    first_fill: FirstFill = FirstFill.ELIDED
    psum: PsumRule = PsumRule.HONEST

    def evaluate(
        self, layer: Layer, precision: Precision, target: Target, mapping: Mapping
    ) -> Cost:
        """Cost of ``mapping``; layers without weights ignore it.

        Raises:
            MappingError: the mapping is not legal for the layer and machine.
            CapacityError: a tile does not fit the memory it is kept in.
            CostModelError: the MACs do not execute these widths.
        """
        if not layer.has_weights:
            return streaming_cost(layer, precision, target)
        return self.evaluate_widths(layer, (precision,), target, mapping)[0]

    def evaluate_widths(
        self, layer: Layer, precisions: Sequence[Precision], target: Target, mapping: Mapping
    ) -> tuple[Cost, ...]:
        """Cost of ``mapping`` of a layer with weights at several widths; elements are counted once.

        Raises:
            MappingError, CapacityError, CostModelError: as :meth:`evaluate`.
        """
        for precision in precisions:
            check_widths(layer, precision, target)
        nest = build_nest(layer, target, mapping)
        if nest.is_cut:
            return tuple(self._price_cut(nest, precision) for precision in precisions)
        as_timeloop = self.psum is PsumRule.OUTPUT
        traffic = {x: operand_traffic(nest, x, self.first_fill, as_timeloop) for x in Operand}
        return tuple(self._price(nest, traffic, precision) for precision in precisions)

    def _price(self, nest: Nest, traffic: _ByOperand, precision: Precision) -> Cost:
        psum_bits = precision.psum_bits if self.psum is PsumRule.HONEST else precision.output_bits
        accesses = _all_accesses(nest, traffic, precision, psum_bits)
        _check_capacity(nest.layer, nest.target, accesses)
        networks_pj = network_energies(nest, precision, psum_bits)
        by_demand = self.psum is PsumRule.OUTPUT
        compute = cycles_of_compute(nest)
        return _cost(nest, accesses, accesses, compute, networks_pj, precision, by_demand)

    def _price_cut(self, nest: Nest, precision: Precision) -> Cost:
        """Loops that do not divide: the busiest instance sets the pace, the average the energy."""
        _check_cut(nest, self.psum)
        busiest: dict[Operand, dict[int, Traffic]] = {}
        mean: dict[Operand, dict[int, Traffic]] = {}
        for operand in Operand:
            found = cut_traffic(nest, operand, self.first_fill)
            busiest[operand] = {level: first for level, (first, _) in found.items()}
            mean[operand] = {
                level: average(total, nest.used_instances(level))
                for level, (_, total) in found.items()
            }
        at_ports = _all_accesses(nest, busiest, precision, precision.psum_bits)
        accesses = _all_accesses(nest, mean, precision, precision.psum_bits)
        _check_capacity(nest.layer, nest.target, at_ports)
        return _cost(nest, accesses, at_ports, compute_steps(nest), {}, precision, by_demand=False)


_ByOperand = Dict[Operand, Dict[int, Traffic]]


def _check_cut(nest: Nest, psum: PsumRule) -> None:
    """Refuse what has no rule where loops do not divide their dims.

    Raises:
        MappingError: the counting rules or the machine's wires are of perfect factors alone.
    """
    name, found = nest.layer.name, "extents that do not divide a bound"
    if psum is PsumRule.OUTPUT:
        raise MappingError(name, "all levels", f"{found} with psum: output; allowed: psum: honest")
    for level in nest.target.memories:
        if level.network is not None:
            reason = f"{found} and a network; allowed: extents that divide, or no network"
            raise MappingError(name, level.name, reason)
    check_windows(nest)


def _all_accesses(
    nest: Nest, traffic: _ByOperand, precision: Precision, psum_bits: int
) -> dict[str, dict[Operand, Accesses]]:
    """Word accesses by memory and operand."""
    levels = nest.target.memories
    accesses: dict[str, dict[Operand, Accesses]] = {level.name: {} for level in levels}
    for operand, counts in traffic.items():
        for index, moved in counts.items():
            words = _operand_words(moved, operand, precision, psum_bits, levels[index])
            accesses[levels[index].name][operand] = _accesses(words, nest, index)
    return accesses


def check_widths(layer: Layer, precision: Precision, target: Target) -> None:
    """Refuse widths and classes of weights that the machine's MACs do not execute.

    Raises:
        CostModelError: naming the operand, what it has and what is allowed.
    """
    allowed = [EnergyClass.INTEGER, *target.mac.by_class]
    if precision.weight_class not in allowed:
        raise CostModelError(
            f"layer '{layer.name}': weights of class {precision.weight_class.value}; "
            f"the MACs of target '{target.name}' execute {', '.join(allowed)} (mac.by_class)"
        )
    for name, bits, (low, high) in (
        ("weights", precision.weight_bits, target.mac.weight_bits),
        ("inputs", precision.input_bits, target.mac.input_bits),
    ):
        if not low <= bits <= high:
            raise CostModelError(
                f"layer '{layer.name}': {name} of {bits} bits; "
                f"the MACs of target '{target.name}' execute {low} to {high}"
            )


@dataclass(frozen=True, slots=True)
class _Words:
    reads: int
    fills: int
    updates: int
    tile: int


def _operand_words(
    moved: Traffic, operand: Operand, precision: Precision, psum_bits: int, level: MemoryLevel
) -> _Words:
    bits = level.stored_bits(operand, precision.bits(operand))
    partial_bits = level.stored_bits(operand, psum_bits) if operand is Operand.O else bits
    return _Words(
        reads=packed_words(moved.reads, partial_bits, level),
        fills=packed_words(moved.fills, partial_bits, level),
        updates=mixed_words(
            moved.updates - moved.final_updates, moved.final_updates, partial_bits, bits, level
        ),
        tile=packed_words(moved.tile, partial_bits if moved.holds_partial else bits, level),
    )


def _accesses(words: _Words, nest: Nest, index: int) -> Accesses:
    level = nest.target.memories[index]
    instances = nest.used_instances(index)
    energy = (
        rows(words.reads, level) * level.read_pj
        + rows(words.fills, level) * level.fill_pj
        + rows(words.updates, level) * level.update_pj
    )
    # Instances of a cluster share each row access; the used ones are spread over all clusters.
    clusters = min(instances, max(1, level.instances // level.cluster))
    return Accesses(
        words.reads, words.fills, words.updates, instances, words.tile, energy * clusters
    )


def _check_capacity(
    layer: Layer, target: Target, accesses: dict[str, dict[Operand, Accesses]]
) -> None:
    for level in target.memories:
        needed = sum(entry.utilized_words for entry in accesses[level.name].values())
        if level.depth_words is not None and needed > level.depth_words:
            needed_bytes = math.ceil(needed * level.word_bits / 8)
            available = level.depth_words * level.word_bits // 8
            raise CapacityError(layer.name, level.name, needed_bytes, available)


def _cost(
    nest: Nest,
    accesses: dict[str, dict[Operand, Accesses]],
    at_ports: dict[str, dict[Operand, Accesses]],
    steps: int,
    networks_pj: dict[str, float],
    precision: Precision,
    by_demand: bool,
) -> Cost:
    """Cost of accesses; ``at_ports`` are those of the busiest instances, which set the pace."""
    target = nest.target
    mac_pj = target.mac.energy_of(precision)
    mac_cycles = target.mac.cycles_of(precision)
    compute = compute_cycles(steps, mac_cycles)
    cycles, bound = slowest(compute, target.memories, at_ports, by_demand)
    return total_cost(
        accesses,
        mac_pj=nest.layer.macs * mac_pj,
        leakage_pj=cycles * _leakage_per_cycle(nest),
        cycles=cycles,
        bound=bound,
        utilization=nest.layer.macs * mac_cycles / (cycles * target.mac.instances),
        networks_pj=networks_pj,
    )


def _leakage_per_cycle(nest: Nest) -> float:
    memories = math.fsum(
        level.leakage_pj * nest.used_instances(index)
        for index, level in enumerate(nest.target.memories)
    )
    return memories + nest.target.mac.leakage_pj * nest.used_instances(nest.mac_index)
