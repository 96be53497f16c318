"""Machines of the reference records that are not worth a file in targets/: three word variants."""

from __future__ import annotations

from dataclasses import replace

from qmc.layer import LoopDim, Operand
from qmc.targets import load_target
from qmc.targets.target import LoopConstraint, MacArray, MemoryLevel, Packing, Target

#: pJ per row of 16-bit words read and written, by variant where it differs (golden folder, ERT).
WEIGHT_PJ = {
    ("eyeriss", "8bit_int_changed_arch"): ("weights_spad", 0.70363, 1.01518),
    ("simba", "8bit_int_changed_arch"): ("PEWeightBuffer", 33.61808, 33.61808),
}
REGISTER_8_BIT_PJ = 0.489008
MAC_8_BIT_PJ = 0.5608


def word_variant(machine: str, arch: str) -> Target:
    """``machine`` is eyeriss or simba; ``arch`` as the records name it."""
    target = load_target(machine)
    if arch == "16bit_int_arch":
        return target
    memories = tuple(_eight_bit(machine, arch, level) for level in target.memories)
    return replace(target, memories=memories, mac=replace(target.mac, energy_pj=MAC_8_BIT_PJ))


def _eight_bit(machine: str, arch: str, level: MemoryLevel) -> MemoryLevel:
    if level.name == "PEAccuBuffer":
        return replace(level, word_bits=24)
    if level.name == "PEWeightRegs":
        pj = REGISTER_8_BIT_PJ
        return replace(level, word_bits=8, read_pj=pj, fill_pj=pj, update_pj=pj)
    depth = None if level.depth_words is None else 2 * level.depth_words
    level = replace(level, word_bits=8, row_words=2 * level.row_words, depth_words=depth)
    if arch == "8bit_int_same_arch":
        return level
    bandwidth = None if level.read_bandwidth is None else 2 * level.read_bandwidth
    level = replace(level, read_bandwidth=bandwidth, write_bandwidth=bandwidth)
    name, read_pj, write_pj = WEIGHT_PJ[machine, arch]
    if level.name != name:
        return level
    assert depth is not None
    return replace(
        level, depth_words=depth * 3 // 4, read_pj=read_pj, fill_pj=write_pj, update_pj=write_pj
    )


FREE = LoopConstraint({}, {})


def memory(name: str, **changes: object) -> MemoryLevel:
    """A memory that holds anything: 16-bit words, one per row, 1 pJ per access."""
    plain = MemoryLevel(
        name=name,
        instances=1,
        word_bits=16,
        row_words=1,
        depth_words=None,
        fanout_x=1,
        fanout_y=1,
        keep=frozenset(Operand),
        bypass=frozenset(),
        packing=Packing.SINGLE,
        read_pj=1.0,
        fill_pj=1.0,
        update_pj=1.0,
        leakage_pj=0.0,
        read_bandwidth=None,
        write_bandwidth=None,
        cluster=1,
        temporal=FREE,
        spatial_x=FREE,
        spatial_y=FREE,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def machine(*memories: MemoryLevel, mac_pj: float = 1.0) -> Target:
    """A machine of these memories; instances follow from the fan-outs."""
    levels = []
    instances = 1
    for level in memories:
        levels.append(replace(level, instances=instances))
        instances *= level.fanout_x * level.fanout_y
    mac = MacArray("mac", instances, mac_pj, 0.0, (1, 16), (1, 16))
    return Target("test", "", tuple(levels), mac, 1e9, 32, LoopDim.K, {"test": "made up"}, "")
