"""Figures of one layer that follow from its cost: bytes moved by memory, and cycles by bound."""

from __future__ import annotations

import math
from typing import Any

from qmc.cost_models.base import Accesses, Cost
from qmc.cost_models.ports import compute_cycles
from qmc.layer import Precision
from qmc.mapping import Mapping
from qmc.targets.target import MemoryLevel, Target

Json = dict[str, Any]


def accesses_data(cost: Cost, target: Target) -> Json:
    """Counts and bytes by memory and operand.

    Words and ``bytes_held`` are those of one used instance, bytes read and written of all.
    """
    return {
        level.name: {
            operand.value: _operand_data(counts, level)
            for operand, counts in cost.accesses.get(level.name, {}).items()
        }
        for level in target.memories
    }


def _operand_data(counts: Accesses, level: MemoryLevel) -> Json:
    written = counts.fills + counts.updates
    return {
        "reads": counts.reads,
        "fills": counts.fills,
        "updates": counts.updates,
        "instances": counts.instances,
        "utilized_words": counts.utilized_words,
        "bytes_held": word_bytes(counts.utilized_words, level),
        "bytes_read": word_bytes(counts.reads * counts.instances, level),
        "bytes_written": word_bytes(written * counts.instances, level),
        "energy_pj": counts.energy_pj,
    }


def word_bytes(words: int, level: MemoryLevel) -> int:
    """Bytes of so many words of a memory, rounded up."""
    return -(-words * level.word_bits // 8)


def cycles_by_bound(
    cost: Cost, target: Target, mapping: Mapping | None, precision: Precision
) -> dict[str, int]:
    """Cycles that arithmetic and every memory port with a bandwidth need; the largest counts.

    Args:
        cost: of the layer.
        target: the machine.
        mapping: of the layer; without one (layers without weights) arithmetic is left out, unless
            it is what counts.
        precision: widths of the operands.
    """
    cycles: dict[str, int] = {}
    if mapping is not None:
        steps = math.prod(loop.extent for loop in mapping.loops if loop.spatial is None)
        per_mac = target.mac.cycles_of(precision)
        cycles["compute"] = compute_cycles(steps, per_mac)
    for level in target.memories:
        entries = cost.accesses.get(level.name, {}).values()
        words = {
            "read": (sum(one.reads for one in entries), level.read_bandwidth),
            "write": (sum(one.fills + one.updates for one in entries), level.write_bandwidth),
        }
        for port, (count, bandwidth) in words.items():
            if bandwidth is not None and count:
                cycles[f"{level.name} {port} bandwidth"] = math.ceil(count / bandwidth)
    # Compatibility rules may round the cycles otherwise: then what was priced counts.
    return {bound: min(count, cost.cycles) for bound, count in cycles.items()} | {
        cost.bound: cost.cycles
    }
