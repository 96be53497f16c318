"""Machines as data: one YAML file each."""

from qmc.targets.kernel_family import Header, KernelFamily
from qmc.targets.load import check_target, find_target, list_targets, load_target
from qmc.targets.target import (
    ALL_REMAINING,
    LoopConstraint,
    MacArray,
    MemoryLevel,
    Network,
    Packing,
    Target,
    Topology,
    WidthCycles,
    WidthEnergy,
)
from qmc.targets.toolchain import Toolchain

__all__ = [
    "ALL_REMAINING",
    "Header",
    "KernelFamily",
    "LoopConstraint",
    "MacArray",
    "MemoryLevel",
    "Network",
    "Packing",
    "Target",
    "Toolchain",
    "Topology",
    "WidthCycles",
    "WidthEnergy",
    "check_target",
    "find_target",
    "list_targets",
    "load_target",
]
