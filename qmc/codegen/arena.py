"""Static memory plan: where every buffer lies in the one arena of the emitted program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Bytes; an int32 accumulator tile may start at any multiple.
ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of memory that must survive from step ``first`` to step ``last``, both included."""

    name: str
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Offsets by buffer name, and the exact number of bytes the arena needs."""

    offsets: dict[str, int]
    peak_bytes: int


def plan_memory(buffers: Iterable[Buffer], alignment: int = ALIGNMENT) -> MemoryPlan:
    """Place the buffers so that no two that live at the same time overlap.

    Every offset is a multiple of ``alignment`` bytes.

    Largest first, each at the lowest free offset: the rule that TensorFlow Lite Micro uses
    ("greedy by size", Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
    Inference", 2020, section 5). Ties are broken by life and name, so the plan is deterministic.
    """
    placed: list[tuple[int, Buffer]] = []
    order = sorted(buffers, key=lambda b: (-b.size_bytes, b.first, b.last, b.name))
    for buffer in order:
        placed.append((_lowest_offset(buffer, placed, alignment), buffer))
    plan = MemoryPlan(
        {buffer.name: offset for offset, buffer in placed},
        max((offset + buffer.size_bytes for offset, buffer in placed), default=0),
    )
    assert _is_disjoint(placed), "memory plan overlaps"
    return plan


def live_bytes(buffers: Iterable[Buffer]) -> int:
    """Largest sum of buffers alive at one step: no plan needs less."""
    kept = list(buffers)
    return max(
        (sum(b.size_bytes for b in kept if b.first <= a.first <= b.last) for a in kept), default=0
    )


def _lowest_offset(buffer: Buffer, placed: list[tuple[int, Buffer]], alignment: int) -> int:
    offset = 0
    for start, other in sorted(placed, key=lambda item: item[0]):
        if not _lives_with(buffer, other):
            continue
        if offset + buffer.size_bytes <= start:
            break
        offset = max(offset, -(-(start + other.size_bytes) // alignment) * alignment)
    return offset


def _lives_with(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


def _is_disjoint(placed: list[tuple[int, Buffer]]) -> bool:
    return all(
        a_start + a.size_bytes <= b_start or b_start + b.size_bytes <= a_start
        for i, (a_start, a) in enumerate(placed)
        for b_start, b in placed[:i]
        if _lives_with(a, b)
    )
