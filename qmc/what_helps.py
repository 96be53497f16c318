"""What would help a layer most: its best mapping with every size and bandwidth doubled and halved.

Every buffer, every declared bandwidth and every axis of the array is changed alone, by a factor of
two up and down, and the layer is searched anew on that machine: a gain counts what the best mapping
would become, not what the present one would. Energies per access stay as they are, although a
larger memory costs more per access.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from qmc.baselines import ratio
from qmc.cost_models.base import Cost, CostModel
from qmc.layer import Layer, Precision
from qmc.schedule import Outcome, Task, search_all
from qmc.search_result import Objective, SearchResult
from qmc.targets.target import LoopConstraint, MacArray, MemoryLevel, Target

Json = dict[str, Any]

#: Steps of one search: dozens of them make one table.
WHAT_HELPS_STEPS = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """A machine with one quantity doubled or halved.

    Attributes:
        what: the quantity, "GlobalBuffer size", "DRAM read bandwidth", "GlobalBuffer x axis".
        times: 2 or 0.5.
        target: the machine that has it.
    """

    what: str
    times: float
    target: Target


def what_helps(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: CostModel,
    objective: Objective,
    cost: Cost,
    *,
    max_cycles: int | None = None,
    jobs: int = 1,
    max_steps: int = WHAT_HELPS_STEPS,
) -> list[Json]:
    """The changes of ``target`` that help ``layer``, most helpful first.

    Args:
        layer: a layer with weights.
        precision: widths of its operands.
        target: the machine to change.
        model: the analytical model.
        objective: what to minimize.
        cost: of the best mapping on ``target``.
        max_cycles: limit on cycles; None is none.
        jobs: threads.
        max_steps: of each search.

    Returns:
        One entry per change: ``what``, ``times``, ``energy_pj``, ``cycles``, ``relative`` (change
        of the objective: -0.12 is 12 % better), ``proved``; None in place of numbers where the
        layer has no mapping.
    """
    changes = list(machine_changes(target))
    tasks = [
        Task(layer, precision, one.target, model, objective, max_steps, max_cycles)
        for one in changes
    ]
    outcomes = search_all(tasks, jobs=jobs)
    rows = [_row(*pair, cost, objective) for pair in zip(changes, outcomes, strict=True)]
    return sorted(rows, key=_rank)


def _row(change: Change, outcome: Outcome, cost: Cost, objective: Objective) -> Json:
    row: Json = {"what": change.what, "times": change.times}
    if not isinstance(outcome, SearchResult):
        return row | {"energy_pj": None, "cycles": None, "relative": None, "proved": True}
    other, proved = outcome.cost, outcome.certificate.proved
    found = ratio((other.energy_pj, other.cycles), (cost.energy_pj, cost.cycles), objective)
    if change.times > 1 and found > 1:  # the mapping at hand is legal on a larger machine too
        other, found = cost, 1.0
    return row | {
        "energy_pj": other.energy_pj,
        "cycles": other.cycles,
        "relative": found - 1,
        "proved": proved,
    }


def _rank(row: Json) -> tuple[bool, float]:
    return row["relative"] is None, row["relative"] or 0.0


def machine_changes(target: Target) -> Iterator[Change]:
    """Every machine that differs from ``target`` by one size, bandwidth or axis, times 2 or 1/2."""
    for index, memory in enumerate(target.memories):
        for times in (2.0, 0.5):
            for what, changed in _memory_changes(memory, times):
                machine = replace(target, memories=_with(target.memories, index, changed))
                yield Change(f"{memory.name} {what}", times, machine)
            for axis, size in (("x", memory.fanout_x), ("y", memory.fanout_y)):
                if size > 1 and size * times == int(size * times):
                    machine = _with_axis(target, index, axis, times)
                    yield Change(f"{memory.name} {axis} axis", times, machine)


def _memory_changes(memory: MemoryLevel, times: float) -> Iterator[tuple[str, MemoryLevel]]:
    if memory.depth_words is not None and memory.depth_words * times >= 1:
        yield "size", replace(memory, depth_words=int(memory.depth_words * times))
    read, write = memory.read_bandwidth, memory.write_bandwidth
    if read is not None:
        yield "read bandwidth", replace(memory, read_bandwidth=read * times)
    if write is not None:
        yield "write bandwidth", replace(memory, write_bandwidth=write * times)


def _with(
    memories: tuple[MemoryLevel, ...], index: int, changed: MemoryLevel
) -> tuple[MemoryLevel, ...]:
    return (*memories[:index], changed, *memories[index + 1 :])


def _with_axis(target: Target, index: int, axis: str, times: float) -> Target:
    """``target`` with an axis below one memory longer or shorter, and all that lies inside it."""
    memory = target.memories[index]
    if axis == "x":
        size = int(memory.fanout_x * times)
        constraint = _stretch(memory.spatial_x, memory.fanout_x, size)
        changed = replace(memory, fanout_x=size, spatial_x=constraint)
    else:
        size = int(memory.fanout_y * times)
        constraint = _stretch(memory.spatial_y, memory.fanout_y, size)
        changed = replace(memory, fanout_y=size, spatial_y=constraint)
    inside = (
        replace(inner, instances=int(inner.instances * times))
        for inner in target.memories[index + 1 :]
    )
    mac: MacArray = replace(target.mac, instances=int(target.mac.instances * times))
    return replace(target, memories=(*target.memories[:index], changed, *inside), mac=mac)


def _stretch(constraint: LoopConstraint, size: int, changed: int) -> LoopConstraint:
    """Limits that mean the whole axis mean the whole of the changed one."""

    def scale(limits: dict[Any, int]) -> dict[Any, int]:
        return {dim: changed if limit == size else limit for dim, limit in limits.items()}

    factors, maximum = scale(dict(constraint.factors)), scale(dict(constraint.maximum))
    return replace(constraint, factors=factors, maximum=maximum)
