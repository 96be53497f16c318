"""What each mapper means: which search finds the mapping of a layer, and what is said of it.

- ``exact`` proves the best mapping. Under a cost model calibrated by trees nothing can be proved:
  then it is ``learned``, which begins with the exact best of the analytical model.
- ``learned`` asks for few true costs (:mod:`qmc.learned_search`). Where exact proves the optimum
  in less time, its note says so, and how far the mapping found is above it.
- ``auto`` takes exact where that ends soon with a proof, else the better of both.
- ``random`` is the baseline.

Time is counted in steps of the searches, so that the same request has the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from qmc.cost_models.calibrated_model import CalibratedModel, Quantity
from qmc.errors import NoMappingError, QmcError
from qmc.learned_search import learned_search
from qmc.mapping import Mapping
from qmc.options import Mapper
from qmc.progress import Tick, no_tick
from qmc.random_search import random_search
from qmc.schedule import Outcome, Task, mapped, search_all
from qmc.search import compile_kernels, objective_value
from qmc.search_result import Factors, SearchResult

#: Mappings that the random baseline tries for each layer.
RANDOM_SAMPLES = 2000
#: Steps of the exact search before ``auto`` turns to the learned one: about half a second.
AUTO_STEPS = 1 << 22
#: Steps of the exact search in the time that the learned one takes for one mapping that it ranks.
_STEPS_PER_RANKED = 100


@dataclass(frozen=True, slots=True)
class Request:
    """How the searches of some tasks are run.

    Attributes:
        mapper: which search.
        seed: of what is random.
        jobs: threads; the results are the same for any number, unless there is a budget.
        budget_seconds: of all exact searches together; None lets every search take its steps.
        tick: called with (tasks done, tasks in all).
    """

    mapper: Mapper = Mapper.EXACT
    seed: int = 0
    jobs: int = 1
    budget_seconds: float | None = None
    tick: Tick = no_tick


def find_mappings(tasks: Sequence[Task], required: int, request: Request) -> list[Outcome]:
    """Search every task with the mapper asked for.

    Args:
        tasks: what to search; ``model`` may be a calibrated one.
        required: so many of them, from the first, must have a mapping.
        request: how.

    Raises:
        NoMappingError: that of the first required task without a mapping.
    """
    outcomes = _find(list(tasks), request)
    for outcome in outcomes[:required]:
        mapped(outcome)
    return outcomes


def _find(tasks: list[Task], request: Request) -> list[Outcome]:
    trees = any(isinstance(t.model, CalibratedModel) and not t.model.is_scale for t in tasks)
    _check_factors(tasks, request.mapper, trees)
    match request.mapper:
        case Mapper.RANDOM:
            return [_rescaled(task, _draw(_modelled(task), request.seed)) for task in tasks]
        case Mapper.LEARNED:
            found = _learned(tasks, [None] * len(tasks), request)
            return found if trees else _judged(tasks, found, request)
        case Mapper.AUTO if not trees:
            return _automatic(tasks, request)
        case _ if trees:
            exact = _exact([_modelled(task) for task in tasks], request, AUTO_STEPS)
            return _learned(tasks, [_start(one) for one in exact], request)
        case _:
            return _exact(tasks, request)


def _check_factors(tasks: list[Task], mapper: Mapper, trees: bool) -> None:
    """Imperfect factors belong to the exact search of the analytical model, scaled or not.

    Raises:
        QmcError: something else is asked for.
    """
    asked = next((t.factors for t in tasks if t.factors is not Factors.PERFECT), None)
    if asked is not None and (trees or mapper is not Mapper.EXACT):
        found = "a calibrated cost model" if trees else f"--mapper {mapper}"
        raise QmcError(f"--factors {asked}: needs the exact mapper; found {found}")


def _exact(tasks: list[Task], request: Request, max_steps: int | None = None) -> list[Outcome]:
    plain = [_modelled(task) for task in tasks]
    if max_steps is not None:
        plain = [replace(task, max_steps=max_steps) for task in plain]
    found = search_all(
        plain, jobs=request.jobs, progress=request.tick, budget_seconds=request.budget_seconds
    )
    return [_rescaled(task, one) for task, one in zip(tasks, found, strict=True)]


def _modelled(task: Task) -> Task:
    """The task under the analytical model; a limit on cycles follows the scale."""
    if not isinstance(task.model, CalibratedModel):
        return task
    limit = task.max_cycles
    if limit is not None and task.model.is_scale and task.model.quantity is Quantity.CYCLES:
        limit = max(1, int(limit / task.model.scale))
    return replace(task, model=task.model.base, max_cycles=limit)


def _rescaled(task: Task, outcome: Outcome) -> Outcome:
    """What was found under the analytical model, priced by the task's own."""
    if isinstance(outcome, NoMappingError) or not isinstance(task.model, CalibratedModel):
        return outcome
    cost = task.model.evaluate(task.layer, task.precision, task.target, outcome.mapping)
    best, certificate = objective_value(cost, task.objective), outcome.certificate
    changed = replace(
        certificate,
        best=best,
        lower_bound=best * certificate.lower_bound / certificate.best,
        expected=task.model.expected_error(),
        max_cycles=task.max_cycles,
    )
    return SearchResult(outcome.mapping, cost, changed)


def _start(outcome: Outcome) -> Mapping | None:
    return outcome.mapping if isinstance(outcome, SearchResult) else None


def _learned(
    tasks: list[Task], starts: Sequence[Mapping | None], request: Request
) -> list[Outcome]:
    """Learned searches; equal ones once."""
    keys = [task.key() for task in tasks]
    distinct = {key: (task, start) for key, task, start in zip(keys, tasks, starts, strict=True)}
    found: dict[str, Outcome] = {}
    done = 0

    def search_one(pair: tuple[Task, Mapping | None]) -> Outcome:
        return _search_learned(*pair, request.seed)

    if len(distinct) > 1 and request.jobs > 1:
        compile_kernels()
    for key, outcome in zip(
        distinct, _in_threads(search_one, list(distinct.values()), request.jobs), strict=True
    ):
        found[key] = outcome
        done += keys.count(key)
        request.tick(done, len(tasks))
    return [found[key] for key in keys]


def _in_threads(
    work: Callable[[tuple[Task, Mapping | None]], Outcome],
    items: list[tuple[Task, Mapping | None]],
    jobs: int,
) -> Iterator[Outcome]:
    """Results in the order of ``items``; the first runs alone, which compiles what all need."""
    if not items:
        return
    yield work(items[0])
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        yield from pool.map(work, items[1:])


def _search_learned(task: Task, start: Mapping | None, seed: int) -> Outcome:
    problem = (task.layer, task.precision, task.target, task.model, task.objective)
    try:
        return learned_search(*problem, seed=seed, max_cycles=task.max_cycles, start=start)
    except NoMappingError as error:
        return error


def _judged(tasks: list[Task], found: list[Outcome], request: Request) -> list[Outcome]:
    """Add to learned searches what the exact one does in the same time."""
    judged: list[Outcome] = []
    quiet = replace(request, tick=no_tick, budget_seconds=None)
    for task, one in zip(tasks, found, strict=True):
        if isinstance(one, NoMappingError):
            judged.append(one)
            continue
        steps = _STEPS_PER_RANKED * one.certificate.visited
        (exact,) = _exact([task], quiet, steps)
        judged.append(_with_note(one, exact))
    return judged


def _with_note(learned: SearchResult, exact: Outcome) -> SearchResult:
    note, bound = "exact proves nothing in the time of this search", learned.certificate.lower_bound
    if isinstance(exact, SearchResult) and exact.certificate.proved:
        optimum = exact.certificate.best
        above = learned.certificate.best / optimum - 1
        bound = min(optimum, learned.certificate.best)
        told = f"{100 * above:.2g} % above it" if above > 1e-9 else "the same"
        note = (
            f"exact proves the optimum in less time than this search took; this mapping is {told}"
        )
    certificate = replace(learned.certificate, note=note, lower_bound=bound)
    return replace(learned, certificate=certificate)


def _automatic(tasks: list[Task], request: Request) -> list[Outcome]:
    """Exact where it ends soon with a proof; else the better of exact and learned."""
    found = _exact(tasks, request, AUTO_STEPS)
    opened = [
        index
        for index, one in enumerate(found)
        if isinstance(one, SearchResult) and not one.certificate.proved
    ]
    starts = [_start(found[index]) for index in opened]
    quiet = replace(request, tick=no_tick)
    learned = _learned([tasks[index] for index in opened], starts, quiet)
    for index, other in zip(opened, learned, strict=True):
        exact = mapped(found[index])
        found[index] = _better(exact, other, request.budget_seconds is not None)
    return found


def _better(exact: SearchResult, learned: Outcome, timed: bool) -> SearchResult:
    limit = "the time given" if timed else f"{AUTO_STEPS:,} steps"
    steps = f"auto: exact proved nothing in {limit}"
    if isinstance(learned, NoMappingError) or learned.certificate.best >= exact.certificate.best:
        note = f"{steps}, learned found nothing better"
        return replace(exact, certificate=replace(exact.certificate, note=note))
    gain = 1 - learned.certificate.best / exact.certificate.best
    bound = min(exact.certificate.lower_bound, learned.certificate.best)
    note = f"{steps}, learned found a mapping {100 * gain:.2g} % better"
    certificate = replace(learned.certificate, note=note, lower_bound=bound)
    return replace(learned, certificate=certificate)


def _draw(task: Task, seed: int) -> Outcome:
    problem = (task.layer, task.precision, task.target, task.model, task.objective)
    try:
        return random_search(
            *problem, samples=RANDOM_SAMPLES, seed=seed, max_cycles=task.max_cycles
        )
    except NoMappingError as error:
        return error
