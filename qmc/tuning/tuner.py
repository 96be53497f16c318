"""The search for the fastest kernels of a network: measure, learn, measure what looks best.

Rounds go over the distinct layers, the slowest first; each has a program with the defaults and a
batch of candidates measured in turns, and every record teaches one model of all layers. At the end
the best of each layer meets the defaults once more, and stays only if it wins again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qmc.codegen.trial import TrialProgram, print_trial
from qmc.codegen.vector.knobs import NO_KNOBS, Knobs
from qmc.progress import Tick, no_tick
from qmc.tuning.features import describe
from qmc.tuning.problem import Problem
from qmc.tuning.ranking import Ranking, next_batch
from qmc.tuning.records import NO_KNOBS_TEXT, Record, RecordStore, knobs_text
from qmc.tuning.runner import FINAL_EFFORT, SEARCH_EFFORT, Effort, Runner, build_trial, measure
from qmc.tuning.timing import Timing

#: Candidates measured beside the defaults in one program.
BATCH = 8
#: Of the budget, kept for the last comparison.
_FINAL_SHARE = 0.15
#: Batches without a gain of _GAIN after which a layer is left alone.
_PATIENCE = 2
_GAIN = 0.01
#: The best has to beat the defaults by this much in the last comparison.
_WIN = 0.985


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found for one distinct layer.

    Attributes:
        names: layers of the network that it stands for.
        knobs: the choice; the defaults where nothing beat them.
        untuned_ns, tuned_ns: of a call, in one program.
        measured: kernels measured, and ``candidates`` that there are.
    """

    names: tuple[str, ...]
    knobs: Knobs
    untuned_ns: float
    tuned_ns: float
    measured: int
    candidates: int


@dataclass(slots=True)
class _Search:
    """A layer while it is tuned."""

    problem: Problem
    knobs: dict[str, Knobs]
    rows: dict[str, list[float]]
    found: dict[str, Timing] = field(default_factory=dict)
    idle: int = 0

    @property
    def open(self) -> list[str]:
        """Candidates that are not measured."""
        return [text for text in self.knobs if text not in self.found]

    @property
    def is_over(self) -> bool:
        return self.idle >= _PATIENCE or not self.open

    @property
    def best(self) -> str:
        """The fastest kernel relative to the defaults."""
        return min(self.found, key=lambda text: (self.found[text].ratio, text))

    @property
    def ns(self) -> float:
        """Nanoseconds of all layers that it stands for, by default."""
        default = self.found.get(NO_KNOBS_TEXT)
        macs = self.problem.network.layers[self.problem.index].layer.macs
        return len(self.problem.names) * (default.ns if default else macs / 100)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how long kernels are measured.

    Attributes:
        store: of records.
        runner: where programs run.
        budget: seconds.
        seed: of what is drawn at random.
        jobs: compilers that run side by side.
        learned: whether a model orders the candidates; else all are drawn at random.
        clock: seconds, for tests.
    """

    store: RecordStore
    runner: Runner
    budget: float
    seed: int = 0
    jobs: int = 1
    learned: bool = True
    clock: Callable[[], float] = time.monotonic


def tune(problems: Sequence[Problem], bench: Bench, tick: Tick = no_tick) -> list[Tuned]:
    """Search until the budget is spent or nothing gains any more.

    Args:
        problems: distinct layers; those without choices are passed over.
        bench: where and how long.
        tick: called with seconds spent, and the budget.

    Raises:
        BuildError: a kernel cannot be built or run.
    """
    began = bench.clock()
    searches = _resume(problems, bench)
    random = np.random.default_rng(bench.seed)

    def left() -> float:
        spent = bench.clock() - began
        tick(int(min(spent, bench.budget)), int(bench.budget))
        return (1 - _FINAL_SHARE) * bench.budget - spent

    while left() > 0:
        active = sorted((s for s in searches if not s.is_over), key=lambda s: -s.ns)
        if not active:
            break
        for at in range(0, len(active), max(1, bench.jobs)):
            if left() <= 0:
                break
            _measure_batches(active[at : at + max(1, bench.jobs)], bench, random)
    return _decide(searches, bench)


def _resume(problems: Sequence[Problem], bench: Bench) -> list[_Search]:
    """Layers with what earlier runs have measured of them."""
    searches = []
    records = bench.store.all()
    for problem in problems:
        candidates = problem.candidates()
        if len(candidates) < 2:
            continue
        knobs = {knobs_text(one): one for one in candidates}
        rows = {text: describe(problem, one) for text, one in knobs.items()}
        found = {
            r.knobs: r.timing for r in records if r.problem == problem.key and r.knobs in knobs
        }
        searches.append(_Search(problem, knobs, rows, found))
    return searches


def _measure_batches(
    searches: Sequence[_Search], bench: Bench, random: np.random.Generator
) -> None:
    """A batch of each of some layers: compiled side by side, measured one after another."""
    ranking = Ranking(bench.store.all() if bench.learned else [], bench.seed)
    batches = []
    for search in searches:
        waiting = [text for text in search.open if text != NO_KNOBS_TEXT]
        rows = [search.rows[text] for text in waiting]
        batches.append([waiting[at] for at in next_batch(ranking, rows, BATCH, random)])
    with tempfile.TemporaryDirectory(prefix="qmc-tune-") as name:
        tasks = list(zip(searches, batches, strict=True))
        built = build_all(
            [(search.problem, [search.knobs[t] for t in batch]) for search, batch in tasks],
            Path(name),
            bench.jobs,
        )
        for (search, batch), (program, executable) in zip(tasks, built, strict=True):
            timings = measure(
                program, executable, bench.runner, search.problem.sweep_bytes, SEARCH_EFFORT
            )
            _keep(search, batch, timings, bench.store)


def build_all(
    tasks: Sequence[tuple[Problem, Sequence[Knobs]]], folder: Path, jobs: int
) -> list[tuple[TrialProgram, Path]]:
    """Programs of the defaults and some knobs each, compiled side by side.

    Raises:
        BuildError: the compiler fails.
    """

    def build(number: int) -> tuple[TrialProgram, Path]:
        problem, chosen = tasks[number]
        kernels = tuple(
            problem.kernel(f"s{side}", knobs) for side, knobs in enumerate((NO_KNOBS, *chosen))
        )
        program = print_trial(problem.network, kernels, problem.family)
        place = folder / str(number)
        place.mkdir()
        return program, build_trial(program, place)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return list(pool.map(build, range(len(tasks))))


def _keep(
    search: _Search, batch: Sequence[str], timings: Sequence[Timing], store: RecordStore
) -> None:
    """Store a batch and note whether it gained anything."""
    before = search.found[search.best].ratio if search.found else 1.0
    records = []
    for text, timing in zip((NO_KNOBS_TEXT, *batch), timings, strict=True):
        if text not in search.found:
            search.found[text] = timing
            records.append(Record(search.problem.key, text, tuple(search.rows[text]), timing))
    store.add(records)
    gained = search.found[search.best].ratio < (1 - _GAIN) * before
    search.idle = 0 if gained else search.idle + 1


def _decide(searches: Sequence[_Search], bench: Bench) -> list[Tuned]:
    """The best of every layer against the defaults once more."""
    known = [search for search in searches if search.found]
    tasks = [(s.problem, [s.knobs[s.best]]) for s in known]
    with tempfile.TemporaryDirectory(prefix="qmc-tune-") as name:
        built = build_all(tasks, Path(name), bench.jobs)
        return [
            _decided(search, program, executable, bench, FINAL_EFFORT)
            for search, (program, executable) in zip(known, built, strict=True)
        ]


def _decided(
    search: _Search, program: TrialProgram, executable: Path, bench: Bench, effort: Effort
) -> Tuned:
    problem = search.problem
    default, best = measure(program, executable, bench.runner, problem.sweep_bytes, effort)
    wins = best.ratio < _WIN
    return Tuned(
        problem.names,
        search.knobs[search.best] if wins else NO_KNOBS,
        default.ns,
        default.ns * best.ratio if wins else default.ns,
        len(search.found),
        len(search.knobs),
    )
