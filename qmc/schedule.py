"""The best mapping of every layer of a network: equal problems once, in parallel, with a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from qmc import cache
from qmc.cost_models.base import CostModel
from qmc.errors import QmcError
from qmc.layer import Layer, Precision
from qmc.mapping_text import mapping_to_data, read_mapping_data
from qmc.search import MAX_STEPS, compile_kernels, objective_value, search
from qmc.search_result import Certificate, Objective, SearchResult
from qmc.targets.target import Target

#: Raise with every change of the cost rules, the map space or the search: older entries are void.
RULES_VERSION = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """What decides a mapping: a layer without its names and parameters, and its widths."""

    layer: Layer
    precision: Precision

    @classmethod
    def of(cls, layer: Layer, precision: Precision) -> Problem:
        """The problem of a layer; layers of one shape have the same."""
        plain = Layer(
            name="layer",
            op=layer.op,
            inputs=("input",),
            output="output",
            bounds=layer.bounds,
            strides=layer.strides,
            dilations=layer.dilations,
        )
        return cls(plain, precision)


@dataclass(frozen=True, slots=True)
class _Task:
    """One search; everything that decides its result."""

    layer: Layer
    precision: Precision
    target: Target
    model: CostModel
    objective: Objective
    max_steps: int

    def key(self) -> str:
        problem = Problem.of(self.layer, self.precision)
        return cache.cache_key(
            RULES_VERSION, problem, self.target, self.model, self.objective, self.max_steps
        )


def schedule_network(
    work: Sequence[tuple[Layer, Precision]],
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    max_steps: int = MAX_STEPS,
) -> dict[str, SearchResult]:
    """Search the best mapping of every layer.

    Args:
        work: layers with weights, and the widths of their operands.
        target: the machine.
        model: what prices a mapping.
        objective: what to minimize, for each layer.
        jobs: threads to use; the result is the same for any number.
        progress: called with (layers done, layers in all).
        max_steps: of each search.

    Returns:
        Results by layer name, in the order of ``work``.

    Raises:
        NoMappingError: a layer fits no mapping of the machine; the first such layer of ``work``.
    """
    problems: dict[Problem, list[str]] = {}
    tasks: dict[Problem, _Task] = {}
    for layer, precision in work:
        problem = Problem.of(layer, precision)
        problems.setdefault(problem, []).append(layer.name)
        tasks.setdefault(problem, _Task(layer, precision, target, model, objective, max_steps))
    found: dict[Problem, SearchResult] = {}
    done = 0
    for problem, result in zip(tasks, _run(list(tasks.values()), jobs), strict=True):
        found[problem] = result
        done += len(problems[problem])
        if progress is not None:
            progress(done, len(work))
    return {layer.name: found[Problem.of(layer, precision)] for layer, precision in work}


def _run(tasks: list[_Task], jobs: int) -> Iterator[SearchResult]:
    """Results in the order of the tasks; what the cache has is not searched.

    Threads suffice: the compiled search runs without the interpreter's lock, and processes would
    each load the compiler's libraries anew.
    """
    cached = [_decode(task, cache.load(task.key())) for task in tasks]
    missing = [task for task, result in zip(tasks, cached, strict=True) if result is None]
    with contextlib.ExitStack() as stack:
        fresh: Iterator[SearchResult] = map(_search, missing)
        if jobs > 1 and len(missing) > 1:
            pool = ThreadPoolExecutor(min(jobs, len(missing)))
            stack.callback(pool.shutdown, cancel_futures=True)
            compile_kernels()
            fresh = pool.map(_search, missing)
        for result in cached:
            yield next(fresh) if result is None else result


def _search(task: _Task) -> SearchResult:
    result = search(
        task.layer,
        task.precision,
        task.target,
        task.model,
        task.objective,
        max_steps=task.max_steps,
    )
    cache.store(task.key(), _encode(result))
    return result


def _encode(result: SearchResult) -> dict[str, Any]:
    return {"mapping": mapping_to_data(result.mapping), "certificate": asdict(result.certificate)}


def _decode(task: _Task, entry: Any) -> SearchResult | None:
    """The result an entry holds, priced anew; None when the entry does not fit the task."""
    try:
        mapping = read_mapping_data(entry["mapping"])
        cost = task.model.evaluate(task.layer, task.precision, task.target, mapping)
        certificate = Certificate(**entry["certificate"])
    except (TypeError, KeyError, QmcError):
        return None
    if certificate.best != objective_value(cost, task.objective):
        return None  # found under other rules
    return SearchResult(mapping, cost, certificate)
