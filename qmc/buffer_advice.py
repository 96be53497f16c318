"""How small each memory may be while a network costs what it does, and what powers of two give.

Mappings are searched anew on the machine with one memory of another size, all else as it is:
energies per access too, although a smaller memory costs less per access. A larger memory never
costs more, so the smallest that keeps the cost is found by bisection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qmc.cost_models.base import CostModel
from qmc.layer import Layer, Precision
from qmc.progress import Tick, no_tick
from qmc.schedule import Task, search_all
from qmc.search import objective_value
from qmc.search_result import Objective, SearchResult
from qmc.targets.target import MemoryLevel, Target

#: Costs closer than this, relative, are the same.
_SAME = 1e-9
#: Steps of one search: dozens of them make one table.
_STEPS = 1 << 20

#: Layers with their widths, and their best mappings on the machine as it is.
Mapped = Sequence[tuple[Layer, Precision, SearchResult]]


@dataclass(frozen=True, slots=True)
class BufferAdvice:
    """One memory; sizes in bytes of one instance.

    Attributes:
        memory: its name.
        size_bytes: as it is.
        used_bytes: what the mappings at hand hold at most.
        smallest_bytes: the least size at which the network costs the same.
        power_of_two_bytes: the next power of two from there on.
        half: change of the network's objective at half that power of two, relative; None where a
            layer fits no mapping then.
        double: change at the next power of two above the present size, 0 or less.
    """

    memory: str
    size_bytes: int
    used_bytes: int
    smallest_bytes: int
    power_of_two_bytes: int
    half: float | None
    double: float


def buffer_advice(
    work: Mapped,
    target: Target,
    model: CostModel,
    objective: Objective,
    *,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> list[BufferAdvice]:
    """Advice on every memory of bounded size, outermost first.

    Args:
        work: every layer with weights.
        target: the machine.
        model: what prices mappings.
        objective: what is to be kept, as the sum over the layers.
        jobs: threads.
        tick: called with memories done and in all.
    """
    sizer = _Sizer(work, target, model, objective, jobs)
    bounded = [i for i, memory in enumerate(target.memories) if memory.depth_words is not None]
    found = []
    for index in bounded:
        found.append(_advise(sizer, index))
        tick(len(found), len(bounded))
    return found


@dataclass(frozen=True, slots=True)
class _Sizer:
    """Costs of the network with one memory of another depth."""

    work: Mapped
    target: Target
    model: CostModel
    objective: Objective
    jobs: int

    def used_words(self, index: int) -> int:
        """Words that an instance holds at most, over all layers."""
        name = self.target.memories[index].name
        held = (
            sum(access.utilized_words for access in result.cost.accesses.get(name, {}).values())
            for _, _, result in self.work
        )
        return max(held, default=0)

    def keeps(self, index: int, words: int) -> bool:
        """Whether every layer costs the same with so many words; mappings that fit stay."""
        tight = [one for one in self.work if self._held(one[2], index) > words]
        tight.sort(key=lambda one: -self._held(one[2], index))
        for one in tight:  # the tightest first: mostly one search tells
            value = self._value(one, self._machine(index, words))
            if value is None or value > self._own(one) * (1 + _SAME):
                return False
        return True

    def change(self, index: int, words: int) -> float | None:
        """Change of the network's objective, relative; None where a layer has no mapping."""
        machine = self._machine(index, words)
        before = sum(map(self._own, self.work))
        larger = words > (self.target.memories[index].depth_words or 0)
        after = 0.0
        for one in self.work:
            value: float | None = self._own(one)
            if larger or self._held(one[2], index) > words:
                value = self._value(one, machine)
            if value is None:
                return None
            after += min(value, self._own(one)) if larger else value
        return after / before - 1

    def _held(self, result: SearchResult, index: int) -> int:
        name = self.target.memories[index].name
        return sum(a.utilized_words for a in result.cost.accesses.get(name, {}).values())

    def _own(self, one: tuple[Layer, Precision, SearchResult]) -> float:
        return objective_value(one[2].cost, self.objective)

    def _machine(self, index: int, words: int) -> Target:
        memories = list(self.target.memories)
        memories[index] = replace(memories[index], depth_words=words)
        return replace(self.target, memories=tuple(memories))

    def _value(self, one: tuple[Layer, Precision, SearchResult], machine: Target) -> float | None:
        task = Task(one[0], one[1], machine, self.model, self.objective, _STEPS)
        (outcome,) = search_all([task], jobs=self.jobs)
        if not isinstance(outcome, SearchResult):
            return None
        return objective_value(outcome.cost, self.objective)


def _advise(sizer: _Sizer, index: int) -> BufferAdvice:
    memory = sizer.target.memories[index]
    present = memory.depth_words or 0
    used = sizer.used_words(index)
    low, high = 0, used  # more words than are held are never needed
    while high - low > 1:
        middle = (low + high) // 2
        if sizer.keeps(index, middle):
            high = middle
        else:
            low = middle
    power = _power_of_two(high)
    return BufferAdvice(
        memory.name,
        _bytes(memory, present),
        _bytes(memory, used),
        _bytes(memory, high),
        _bytes(memory, power),
        sizer.change(index, power // 2) if power > 1 else None,
        sizer.change(index, _power_of_two(present + 1)) or 0.0,
    )


def _power_of_two(words: int) -> int:
    """The least power of two that is at least ``words``."""
    return 1 << max(0, words - 1).bit_length()


def _bytes(memory: MemoryLevel, words: int) -> int:
    return words * memory.word_bits // 8
