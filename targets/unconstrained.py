"""A machine without dataflow constraints: what its memories and arrays could do at best."""

from __future__ import annotations

from dataclasses import replace

from qmc.layer import Operand
from qmc.targets.target import LoopConstraint, MemoryLevel, Target

_FREE = LoopConstraint({}, {})


def unconstrained(target: Target) -> Target:
    """The same memories and arrays with every loop allowed anywhere and every bypass.

    A memory that can hold one operand only (a register file of the multiply-accumulate units) still
    holds no other, but may be bypassed; one that holds several may hold any.
    """
    outermost, *inner = target.memories
    free = (_free(outermost, outermost.keep, outermost.bypass), *map(_optional, inner))
    return replace(target, name=f"{target.name}-unconstrained", memories=free)


def _optional(memory: MemoryLevel) -> MemoryLevel:
    dedicated = len(memory.keep) == 1 and len(memory.keep | memory.bypass) == 3
    return _free(memory, frozenset(), memory.bypass if dedicated else frozenset())


def _free(memory: MemoryLevel, keep: frozenset[Operand], bypass: frozenset[Operand]) -> MemoryLevel:
    return replace(
        memory, keep=keep, bypass=bypass, temporal=_FREE, spatial_x=_FREE, spatial_y=_FREE
    )
