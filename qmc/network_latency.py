"""The best mappings of a network whose latency, the sum over its layers, is limited."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from qmc.cost_models.base import CostModel
from qmc.errors import QmcError
from qmc.latency_choice import choose_points, least_cycles
from qmc.layer import Layer, Precision
from qmc.pareto import front
from qmc.progress import Tick, no_tick
from qmc.schedule import Problem, Task, mapped, search_all
from qmc.search import compile_kernels
from qmc.search_result import Objective, SearchResult
from qmc.targets.target import Target

Front = tuple[SearchResult, ...]


def schedule_within(
    work: Sequence[tuple[Layer, Precision]],
    target: Target,
    model: CostModel,
    objective: Objective,
    max_cycles: int,
    *,
    other_cycles: int = 0,
    jobs: int = 1,
    progress: Tick = no_tick,
) -> list[SearchResult]:
    """Choose a point of every layer's Pareto set so that the network meets its limit.

    Args:
        work: layers with weights, and the widths of their operands.
        target: the machine.
        model: what prices a mapping.
        objective: of the network's total energy and cycles.
        max_cycles: limit on the sum of all cycles.
        other_cycles: those of the layers without weights.
        jobs: threads.
        progress: called with (layers done, layers in all).

    Raises:
        QmcError: the fastest mappings together take longer.
        NoMappingError: a layer fits no mapping of the machine.
    """
    problems = {Problem.of(*pair): pair for pair in reversed(work)}
    fronts: dict[Problem, Front] = {}
    found = _fronts([Task(*pair, target, model) for pair in problems.values()], jobs)
    for problem, points in zip(problems, found, strict=True):
        fronts[problem] = points
        progress(len(fronts), len(problems))
    layers = [fronts[Problem.of(*pair)] for pair in work]
    figures = [[(p.cost.energy_pj, p.cost.cycles) for p in points] for points in layers]
    least = least_cycles(figures) + other_cycles
    if least > max_cycles:
        raise QmcError(
            f"--max-latency: {max_cycles} cycles are allowed; the fastest mappings of all layers "
            f"take {least} ({1e3 * least / target.clock_hz:.4g} ms) on target '{target.name}'"
        )
    choice = choose_points(figures, max_cycles - other_cycles, objective)
    return [points[index] for points, index in zip(layers, choice, strict=True)]


def _fronts(tasks: list[Task], jobs: int) -> Iterator[Front]:
    with contextlib.ExitStack() as stack:
        fronts: Iterator[Front] = map(task_front, tasks)
        if jobs > 1 and len(tasks) > 1:
            pool = ThreadPoolExecutor(min(jobs, len(tasks)))
            stack.callback(pool.shutdown, cancel_futures=True)
            compile_kernels()
            fronts = pool.map(task_front, tasks)
        yield from fronts


def task_front(task: Task) -> Front:
    """The Pareto set of a task's layer up to its limit; what the cache has is not searched."""
    return front(partial(_find, task), task.max_cycles)


def _find(task: Task, objective: Objective, max_cycles: int | None) -> SearchResult:
    (outcome,) = search_all([replace(task, objective=objective, max_cycles=max_cycles)])
    return mapped(outcome)
