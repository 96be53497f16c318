"""A machine as plain data. Built from YAML by ``qmc.targets.schema``; the core reads only this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from qmc.formats import EnergyClass
from qmc.layer import LoopDim, Operand, Precision
from qmc.targets.kernel_family import KernelFamily

#: A fixed factor of a constraint: the loop takes all of the bound that other levels leave.
ALL_REMAINING = 0


class Packing(StrEnum):
    """How elements narrower than a word lie in a memory."""

    WORDS = "words"  # floor(word_bits / bits) per word, none straddles
    SINGLE = "single"  # one element per word, however narrow (an accumulator register)
    DENSE = "dense"  # a bit stream
    PLANES = "planes"  # bit-serial: one plane per bit


@dataclass(frozen=True, slots=True)
class LoopConstraint:
    """What one block of loops (the temporal one, or one spatial axis, of a level) may contain.

    Attributes:
        factors: exact extent of a dim in this block; ``ALL_REMAINING`` gives it the whole bound.
            A dim fixed to an extent that does not divide the bound takes the largest divisor of the
            bound not above it (a layer of 3 channels on an axis fixed to 4 uses 3).
        maximum: largest extent of a dim.
        order: innermost dims first; dims not named lie outside these in any order. Meaningful for
            temporal blocks only.
    """

    factors: Mapping[LoopDim, int]
    maximum: Mapping[LoopDim, int]
    order: tuple[LoopDim, ...] = ()


class Topology(StrEnum):
    """How the wires of one axis of a fan-out lie."""

    BUS = "bus"  # one wire along the whole axis: every transfer drives all of it
    MESH = "mesh"  # links from neighbour to neighbour: a transfer drives those on its way


@dataclass(frozen=True, slots=True)
class Network:
    """Wires between a memory and the instances right below it; docs/cost-model.md has the rule.

    Attributes:
        topology: of both axes.
        hop_x_pj, hop_y_pj: to move a bit from one instance to its neighbour along the axis.
        receiver_pj: per bit at every instance that takes it (a multicast controller, a router).
        add_pj: to add two outputs that meet on their way out.
    """

    topology: Topology
    hop_x_pj: float
    hop_y_pj: float
    receiver_pj: float
    add_pj: float


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """One memory of the hierarchy.

    Attributes:
        name: unique in the target.
        instances: in the whole machine.
        word_bits: bits of a word; the unit of capacity, counts and bandwidth.
        row_words: words moved by one access (the row); energies are per row.
        depth_words: words of an instance that tiles can take; None is unlimited.
        fanout_x, fanout_y: instances of the next inner level (or MACs) below one instance, by axis.
        keep: operands it must keep. bypass: operands that must bypass it. Others are free.
        packing: rule for elements narrower than a word.
        read_pj, fill_pj, update_pj: energy per row access.
        leakage_pj: energy per cycle and used instance.
        read_bandwidth, write_bandwidth: words per cycle and instance; None is unlimited.
        cluster: instances that share one physical row access (Simba's weight registers).
        temporal, spatial_x, spatial_y: dataflow constraints of its loops.
        buffering: copies of a tile that lie in it at once (2: one is filled while the other is
            read); ``depth_words`` is what one copy can take.
        store_bits: width of the entries it stores an operand in, where that is not the layer's.
        network: wires to the instances below; None where they cost nothing.
    """

    name: str
    instances: int
    word_bits: int
    row_words: int
    depth_words: int | None
    fanout_x: int
    fanout_y: int
    keep: frozenset[Operand]
    bypass: frozenset[Operand]
    packing: Packing
    read_pj: float
    fill_pj: float
    update_pj: float
    leakage_pj: float
    read_bandwidth: float | None
    write_bandwidth: float | None
    cluster: int
    temporal: LoopConstraint
    spatial_x: LoopConstraint
    spatial_y: LoopConstraint
    buffering: int = 1
    store_bits: Mapping[Operand, int] = field(default_factory=dict)
    network: Network | None = None

    def stored_bits(self, operand: Operand, bits: int) -> int:
        """Bits that an element of ``bits`` bits takes up here: whole entries where declared."""
        entry = self.store_bits.get(operand)
        return bits if entry is None else -(-bits // entry) * entry

    @property
    def size_bytes(self) -> int | None:
        """Bytes of one instance that tiles can take; None is unlimited."""
        return None if self.depth_words is None else self.depth_words * self.word_bits // 8


@dataclass(frozen=True, slots=True)
class WidthEnergy:
    """Energy of a multiply-accumulate of operands up to these widths (fused, bit-serial MACs)."""

    weight_bits: int
    input_bits: int
    energy_pj: float


@dataclass(frozen=True, slots=True)
class WidthCycles:
    """Cycles of a multiply-accumulate of operands up to these widths; below 1 for fused units."""

    weight_bits: int
    input_bits: int
    cycles: float


@dataclass(frozen=True, slots=True)
class ClassCost:
    """One multiply-accumulate by a weight that is no integer, at any width."""

    energy_pj: float
    cycles: float


@dataclass(frozen=True, slots=True)
class MacArray:
    """The multiply-accumulate units.

    Attributes:
        name: for reports.
        instances: in the whole machine.
        energy_pj: per multiply-accumulate at the native widths.
        leakage_pj: per cycle and used instance.
        weight_bits, input_bits: widths the MACs execute, smallest and largest.
        energy_by_width: cheaper multiply-accumulates of narrower operands.
        cycles: that a unit is busy with one multiply-accumulate at the native widths.
        cycles_by_width: faster multiply-accumulates of narrower operands.
        by_class: multiply-accumulates by weights that are no integers; those not listed are not
            executed.
    """

    name: str
    instances: int
    energy_pj: float
    leakage_pj: float
    weight_bits: tuple[int, int]
    input_bits: tuple[int, int]
    energy_by_width: tuple[WidthEnergy, ...] = ()
    cycles: float = 1.0
    cycles_by_width: tuple[WidthCycles, ...] = ()
    by_class: Mapping[EnergyClass, ClassCost] = field(default_factory=dict)

    def energy_of(self, precision: Precision) -> float:
        """Energy of one multiply-accumulate, pJ.

        Raises:
            KeyError: the units do not execute such weights.
        """
        if precision.weight_class is EnergyClass.INTEGER:
            return self.energy_at(precision.weight_bits, precision.input_bits)
        return self.by_class[precision.weight_class].energy_pj

    def cycles_of(self, precision: Precision) -> float:
        """Cycles of one multiply-accumulate.

        Raises:
            KeyError: the units do not execute such weights.
        """
        if precision.weight_class is EnergyClass.INTEGER:
            return self.cycles_at(precision.weight_bits, precision.input_bits)
        return self.by_class[precision.weight_class].cycles

    def energy_at(self, weight_bits: int, input_bits: int) -> float:
        """Energy of one of integers, pJ: the least of all entries that hold the widths."""
        fitting = [
            entry.energy_pj
            for entry in self.energy_by_width
            if weight_bits <= entry.weight_bits and input_bits <= entry.input_bits
        ]
        return min([self.energy_pj, *fitting])

    def cycles_at(self, weight_bits: int, input_bits: int) -> float:
        """Cycles of one of integers: the least of all entries that hold the widths."""
        fitting = [
            entry.cycles
            for entry in self.cycles_by_width
            if weight_bits <= entry.weight_bits and input_bits <= entry.input_bits
        ]
        return min([self.cycles, *fitting])


@dataclass(frozen=True, slots=True)
class Target:
    """A machine.

    Attributes:
        name: as users type it.
        description: one sentence.
        memories: outermost (main memory) first.
        mac: the MACs below the innermost memory.
        clock_hz: cycles per second, for latency in ms.
        psum_bits: width of a partial sum unless a rule overrides it.
        groups_follow: the dim whose constraints the group loop G obeys.
        sources: where the numbers come from, by topic.
        sha256: of the description, for caches and reports.
        kernels: the vector unit that the emitted C uses; None emits the mapping's loops.
    """

    name: str
    description: str
    memories: tuple[MemoryLevel, ...]
    mac: MacArray
    clock_hz: float
    psum_bits: int
    groups_follow: LoopDim
    sources: Mapping[str, str]
    sha256: str
    kernels: KernelFamily | None = None

    def memory(self, name: str) -> MemoryLevel:
        """The level called ``name``.

        Raises:
            KeyError: there is none.
        """
        for level in self.memories:
            if level.name == name:
                return level
        raise KeyError(name)
