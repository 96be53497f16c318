"""The best mapping of every layer of a network: equal problems once, in parallel, with a cache."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from qmc import cache
from qmc.cost_models.base import CostModel
from qmc.errors import NoMappingError, QmcError
from qmc.imperfect_search import imperfect_search
from qmc.layer import Layer, Precision
from qmc.mapping_text import mapping_to_data, read_mapping_data
from qmc.search import MAX_STEPS, compile_kernels, objective_value, search
from qmc.search_result import Certificate, Factors, Objective, SearchResult
from qmc.targets.target import Target

#: Raise with every change of the cost rules, the map space or the search: older entries are void.
RULES_VERSION = 6
#: Steps of a search that a budget of time ends.
_NO_LIMIT = 1 << 62


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
class Task:
    """One search; everything that decides its result, the time it may take aside.

    Attributes:
        layer, precision, target, model, objective: see :func:`qmc.search.search`.
        max_steps: of each walk of the search.
        max_cycles: limit on cycles; None is none.
        factors: which extents loops may have.
    """

    layer: Layer
    precision: Precision
    target: Target
    model: CostModel
    objective: Objective = Objective.EDP
    max_steps: int = MAX_STEPS
    max_cycles: int | None = None
    factors: Factors = Factors.PERFECT

    def key(self, target_key: str | None = None) -> str:
        """The same for tasks of the same result; ``target_key`` is that of the target, if known."""
        problem = Problem.of(self.layer, self.precision)
        target = target_key or cache.cache_key(self.target)
        rest: tuple[object, ...] = (self.model, self.objective, self.max_steps, self.max_cycles)
        if self.factors is not Factors.PERFECT:
            rest = (*rest, self.factors)
        return cache.cache_key(RULES_VERSION, problem, target, *rest)


def schedule_network(
    work: Sequence[tuple[Layer, Precision]],
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    max_steps: int = MAX_STEPS,
    budget_seconds: float | None = None,
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
        budget_seconds: of all searches together; see :func:`search_all`.

    Returns:
        Results by layer name, in the order of ``work``.

    Raises:
        NoMappingError: a layer fits no mapping of the machine; the first such layer of ``work``.
    """
    tasks = [Task(*pair, target, model, objective, max_steps) for pair in work]
    found = search_all(
        *(tasks, len(tasks)), jobs=jobs, progress=progress, budget_seconds=budget_seconds
    )
    return {task.layer.name: mapped(one) for task, one in zip(tasks, found, strict=True)}


#: What a search ends with.
Outcome = SearchResult | NoMappingError


def mapped(outcome: Outcome) -> SearchResult:
    """The result of a search.

    Raises:
        NoMappingError: it ended with that.
    """
    if isinstance(outcome, NoMappingError):
        raise outcome
    return outcome


def search_all(
    tasks: Sequence[Task],
    required: int = 0,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    budget_seconds: float | None = None,
) -> list[Outcome]:
    """Search every task; equal ones once, those that the cache has not at all.

    With a budget the limit on steps falls away: every search in turn may take its share of the time
    that is left. What a budget cut short is not kept in the cache.

    Args:
        tasks: what to search.
        required: so many of them, from the first, must have a mapping.
        jobs: threads to use; the result is the same for any number, unless there is a budget.
        progress: called with (tasks done, tasks in all).
        budget_seconds: of all searches together.

    Returns:
        What each task ended with, in their order.

    Raises:
        NoMappingError: that of the first required task without a mapping.
    """
    if budget_seconds is not None:
        tasks = [replace(task, max_steps=_NO_LIMIT) for task in tasks]
    targets = {id(task.target): task.target for task in tasks}
    target_keys = {name: cache.cache_key(target) for name, target in targets.items()}
    keys = [task.key(target_keys[id(task.target)]) for task in tasks]
    needed = set(keys[:required])
    distinct = dict(zip(reversed(keys), reversed(tasks), strict=True))
    distinct = {key: distinct[key] for key in dict.fromkeys(keys)}  # the first of equal ones counts
    found: dict[str, Outcome] = {}
    done = 0
    for key, outcome in _run(distinct, jobs, budget_seconds):
        found[key] = mapped(outcome) if key in needed else outcome
        done += keys.count(key)
        if progress is not None:
            progress(done, len(tasks))
    return [found[key] for key in keys]


def _run(
    tasks: dict[str, Task], jobs: int, budget_seconds: float | None
) -> Iterator[tuple[str, Outcome]]:
    """Outcomes by key, in the order of the tasks.

    Threads suffice: the compiled search runs without the interpreter's lock, and processes would
    each load the compiler's libraries anew.
    """
    cached = {key: _decode(task, cache.load(key)) for key, task in tasks.items()}
    missing = [key for key, result in cached.items() if result is None]
    workers = min(jobs, len(missing))
    clock = None
    if budget_seconds is not None and missing:
        compile_kernels()  # its time is not the searches'
        clock = _Clock(budget_seconds, len(missing), workers)

    def search_one(key: str) -> Outcome:
        return _search(key, tasks[key], clock)

    with contextlib.ExitStack() as stack:
        fresh: Iterator[Outcome] = map(search_one, missing)
        if workers > 1:
            pool = ThreadPoolExecutor(workers)
            stack.callback(pool.shutdown, cancel_futures=True)
            compile_kernels()
            fresh = pool.map(search_one, missing)
        for key, result in cached.items():
            yield key, next(fresh) if result is None else result


class _Clock:
    """Shares the time that is left evenly among the searches that have not begun."""

    def __init__(self, seconds: float, searches: int, workers: int) -> None:
        self._end = time.monotonic() + seconds
        self._waiting = searches
        self._workers = workers
        self._lock = threading.Lock()

    def share(self) -> float:
        """Seconds for the search that begins now."""
        with self._lock:
            left = max(0.0, self._end - time.monotonic())
            share = left * min(self._workers, self._waiting) / self._waiting
            self._waiting -= 1
        return share


def _search(key: str, task: Task, clock: _Clock | None) -> Outcome:
    find: Callable[..., SearchResult] = search
    if task.factors is not Factors.PERFECT:
        find = partial(imperfect_search, factors=task.factors)
    try:
        result = find(
            task.layer,
            task.precision,
            task.target,
            task.model,
            task.objective,
            max_cycles=task.max_cycles,
            budget_seconds=clock.share() if clock else None,
            max_steps=task.max_steps,
        )
    except NoMappingError as error:
        return error
    if result.certificate.proved or clock is None:
        cache.store(key, _encode(result))
    return result


def _encode(result: SearchResult) -> dict[str, Any]:
    return {"mapping": mapping_to_data(result.mapping), "certificate": asdict(result.certificate)}


def _decode(task: Task, entry: Any) -> SearchResult | None:
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
