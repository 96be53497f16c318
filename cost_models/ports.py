"""Cycles: the largest of compute and every memory port; demand is averaged over the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from qmc.cost_models.base import Accesses
from qmc.layer import Operand
from qmc.targets.target import MemoryLevel

#: What a product of a count and a constant may be too large by, in float arithmetic.
ROUNDING = 1e-15


def compute_cycles(steps: int, cycles_per_mac: float) -> int:
    """Cycles of ``steps`` steps of the array; a step takes as long as one multiply-accumulate."""
    return math.ceil(steps * cycles_per_mac * (1 - ROUNDING))


def slowest(
    compute: int,
    memories: Iterable[MemoryLevel],
    accesses: Mapping[str, Mapping[Operand, Accesses]],
) -> tuple[int, str]:
    """Cycles of the run and what sets them; compute wins ties, then the outer memory, then reads.

    Args:
        compute: cycles of the arithmetic.
        memories: whose ports count, outermost first.
        accesses: words per instance, by memory name and operand.
    """
    cycles, bound = compute, "compute"
    for level in memories:
        entries = accesses[level.name].values()
        read = sum(entry.reads for entry in entries)
        written = sum(entry.fills + entry.updates for entry in entries)
        for port, words, bandwidth in (
            ("read", read, level.read_bandwidth),
            ("write", written, level.write_bandwidth),
        ):
            needed = 0 if bandwidth is None else math.ceil(words / bandwidth)
            if needed > cycles:
                cycles, bound = needed, f"{level.name} {port} bandwidth"
    return cycles, bound
