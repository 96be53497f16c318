"""The named dataflows of the literature as baselines: the best mapping of each class on a machine.

A dataflow is a set of loop constraints; here each becomes a machine with the same memories, array,
bandwidths and energies whose own loop constraints are replaced by those of the dataflow. The search
then finds the best mapping of the class, so that a baseline is as good as it can be.

The *array* is the fan-out with the most instances; the memories inside it are the *PE*.

Source: Y.-H. Chen, J. Emer, V. Sze, Eyeriss: a spatial architecture for energy-efficient dataflow
for convolutional neural networks, ISCA 2016, sections IV (the other dataflows) and V (row
stationary).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from qmc.layer import REDUCTION, RELEVANT, LoopDim, Operand
from qmc.targets.target import ALL_REMAINING, LoopConstraint, MemoryLevel, Target

_N, _K, _C, _P = LoopDim.N, LoopDim.K, LoopDim.C, LoopDim.P
_Q, _R, _S = LoopDim.Q, LoopDim.R, LoopDim.S
_WEIGHT_REUSE = frozenset(LoopDim) - RELEVANT[Operand.W]
_OPERANDS = frozenset(Operand)


class Dataflow(StrEnum):
    """Named dataflows of convolutional layers.

    - row-stationary: a PE holds a filter row (S) and slides it along a row of outputs (Q); filter
      rows (R) lie along one axis of the array, output rows (P) along the other.
    - weight-stationary: every multiplier holds one weight for all outputs (N, P, Q) of the tile;
      only weights (K, C, R, S) are spread over the array.
    - output-stationary: every sum stays where it is accumulated until it is finished; only outputs
      (N, K, P, Q) are spread over the array.
    - no-local-reuse: the PEs keep nothing and the shared buffer everything; input channels (sums
      add up across the array) and output channels (inputs are shared) lie along the array.
    """

    ROW_STATIONARY = "row-stationary"
    WEIGHT_STATIONARY = "weight-stationary"
    OUTPUT_STATIONARY = "output-stationary"
    NO_LOCAL_REUSE = "no-local-reuse"


def dataflow_machines(target: Target, dataflow: Dataflow) -> tuple[Target, ...]:
    """``target`` with the loop constraints of ``dataflow`` for its own; the class is their union.

    Empty where the machine has no place for the dataflow.
    """
    match dataflow:
        case Dataflow.ROW_STATIONARY:
            return _row_stationary(target)
        case Dataflow.WEIGHT_STATIONARY:
            return _weight_stationary(target)
        case Dataflow.OUTPUT_STATIONARY:
            return _output_stationary(target)
        case Dataflow.NO_LOCAL_REUSE:
            return _no_local_reuse(target)


def array_level(target: Target) -> int:
    """Index of the memory above the array; of machines without one, the last memory but one."""
    instances = [memory.fanout_x * memory.fanout_y for memory in target.memories]
    if max(instances) == 1:
        return max(0, len(instances) - 2)
    return instances.index(max(instances))


def innermost_holder(target: Target, operand: Operand) -> int:
    """Index of the innermost memory that can keep ``operand``."""
    return max(
        index for index, memory in enumerate(target.memories) if operand not in memory.bypass
    )


def _row_stationary(target: Target) -> tuple[Target, ...]:
    array = array_level(target)
    above = target.memories[array]
    if innermost_holder(target, Operand.W) <= array:
        return ()  # no PE holds a row
    rows = {_R: ALL_REMAINING}
    if above.fanout_x > 1 and above.fanout_y > 1:
        axes = (_only({_N, _K, _P}), _only({_R, _C, _K}, rows))
    else:
        axes = (_only({_N, _K, _P, _R, _C}, rows),) * 2
    memories = []
    for index, memory in enumerate(target.memories):
        if index < array:
            memory = _constrain(memory, _only({_N, _K, _C, _P}), _NOTHING, _NOTHING)
        elif index == array:
            slide = _only({_N, _K, _C, _P, _Q}, {_Q: ALL_REMAINING}, (_Q,))
            memory = _constrain(memory, slide, *axes)
        else:
            lanes = _only({_K, _C})
            memory = _constrain(memory, _only({_N, _K, _C, _R, _S}), lanes, lanes)
        memories.append(memory)
    return (_machine(target, memories),)


def _weight_stationary(target: Target) -> tuple[Target, ...]:
    holder = innermost_holder(target, Operand.W)
    if holder == 0:
        return ()
    weights = _only(RELEVANT[Operand.W])
    memories = [
        _constrain(
            memory,
            _only(_WEIGHT_REUSE) if index >= holder else _only(LoopDim, order=(_Q, _P, _N)),
            weights,
            weights,
        )
        for index, memory in enumerate(target.memories)
    ]
    memories[holder] = _keeping(memories[holder], Operand.W)
    return (_machine(target, memories),)


def _output_stationary(target: Target) -> tuple[Target, ...]:
    """One machine for each memory that can be where loops over outputs end."""
    holder = innermost_holder(target, Operand.O)
    return tuple(
        _sums_inside(target, holder, boundary)
        for boundary in range(min(holder, array_level(target) + 1))
    )


def _sums_inside(target: Target, holder: int, boundary: int) -> Target:
    """Loops over C, R, S inside all others: innermost at the memory ``boundary``, then alone."""
    outputs, sums = _only(RELEVANT[Operand.O]), _only(REDUCTION)
    memories = []
    for index, memory in enumerate(target.memories):
        if index == boundary:
            temporal = _only(LoopDim, order=(_S, _R, _C))
        else:
            temporal = outputs if index < boundary else sums
        memories.append(_constrain(memory, temporal, outputs, outputs))
    memories[holder] = _keeping(memories[holder], Operand.O)
    return _machine(target, memories)


def _no_local_reuse(target: Target) -> tuple[Target, ...]:
    array = array_level(target)
    channels = _only({_C, _K})
    memories = []
    for index, memory in enumerate(target.memories):
        if index <= array:
            memory = _constrain(memory, _FREE, channels, channels)
        else:
            memory = _constrain(memory, _NOTHING, channels, channels)
            memory = replace(memory, keep=frozenset(), bypass=_OPERANDS)
        memories.append(memory)
    memories[array] = replace(memories[array], keep=_OPERANDS, bypass=frozenset())
    return (_machine(target, memories),)


def _only(
    dims: Iterable[LoopDim],
    factors: dict[LoopDim, int] | None = None,
    order: tuple[LoopDim, ...] = (),
) -> LoopConstraint:
    """A block that loops over ``dims`` alone; G obeys the constraints of K."""
    allowed = frozenset(dims) | {LoopDim.G}
    barred = {dim: 1 for dim in LoopDim if dim not in allowed}
    return LoopConstraint(barred | (factors or {}), {}, order)


_FREE = LoopConstraint({}, {})
_NOTHING = _only(())


def _constrain(
    memory: MemoryLevel, temporal: LoopConstraint, x: LoopConstraint, y: LoopConstraint
) -> MemoryLevel:
    return replace(memory, temporal=temporal, spatial_x=x, spatial_y=y)


def _keeping(memory: MemoryLevel, operand: Operand) -> MemoryLevel:
    return replace(memory, keep=memory.keep | {operand})


def _machine(target: Target, memories: list[MemoryLevel]) -> Target:
    return replace(target, memories=tuple(memories), groups_follow=LoopDim.K)
