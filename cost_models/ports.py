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
    by_demand: bool = False,
) -> tuple[int, str]:
    """Cycles of the run and what sets them; compute wins ties, then the outer memory, then reads.

    Args:
        compute: cycles of the arithmetic.
        memories: whose ports count, outermost first.
        accesses: words per instance, by memory name and operand.
        by_demand: round as Timeloop does (:func:`cycles_by_demand`).
    """
    cycles, bound = compute, "compute"
    for level in memories:
        entries = accesses[level.name].values()
        for port, words, bandwidth in (
            ("read", [entry.reads for entry in entries], level.read_bandwidth),
            ("write", [entry.fills + entry.updates for entry in entries], level.write_bandwidth),
        ):
            if bandwidth is None:
                continue
            if by_demand:
                needed = cycles_by_demand(compute, words, bandwidth)
            else:
                needed = math.ceil(sum(words) / bandwidth)
            if needed > cycles:
                cycles, bound = needed, f"{level.name} {port} bandwidth"
    return cycles, bound


def cycles_by_demand(compute: int, words: Iterable[int], bandwidth: float) -> int:
    """Cycles of a port as Timeloop computes them, its floating point included.

    Demands per cycle are added up, then the run is stretched by demand over bandwidth. Where that
    is a whole number of cycles, rounding can make it one more than words / bandwidth.

    Source: NVlabs/timeloop src/model/buffer.cpp, ComputePerformance.
    """
    demand = 0.0
    for count in words:
        demand += count / compute
    return compute if demand <= bandwidth else math.ceil(compute / (bandwidth / demand))
