"""Evolutionary search for measured accuracy, which does not add up over the layers.

NSGA-II (Deb et al. 2002) by pymoo, from the exact front of the additive estimate on. Every
candidate is an integer program that is run on labelled images; its score is stored before the next
generation is made, so that a run that was killed repeats no trial and ends with the same front.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.problems.static import StaticProblem

from qmc.bit_choice import Limits, meets
from qmc.bit_front import Point
from qmc.bit_problem import SENSITIVITY
from qmc.bit_space import BitSpace
from qmc.progress import Tick, no_tick
from qmc.trial import Images, Laboratory

#: Candidates alive at a time, at least.
_POPULATION = 16
#: What a candidate that the machine cannot do, or that breaks a limit, is given for both losses.
_WORST = 1e30


@dataclass(frozen=True, slots=True)
class Evolution:
    """How long to search.

    Attributes:
        generations: after the first.
        seed: of every random choice.
        deadline: of time.monotonic; no generation begins after it.
    """

    generations: int
    seed: int
    deadline: float | None = None


def evolve(
    space: BitSpace,
    laboratory: Laboratory,
    images: Images,
    start: Sequence[Point],
    evolution: Evolution,
    limits: Limits,
    tick: Tick = no_tick,
) -> list[Point]:
    """Every candidate that was measured and keeps to the limits, the given ones first.

    Args:
        space: all assignments.
        laboratory: makes the trials.
        images: to measure on.
        start: candidates to begin with, measured or not.
        evolution: how long.
        limits: that candidates must keep to.
        tick: called with generations done and in all.
    """
    genes = _Genes.of(space)
    archive: dict[tuple[int, ...], Point] = {}
    algorithm = _algorithm(genes, start, evolution.seed)
    for generation in range(evolution.generations + 1):
        population = algorithm.ask()
        rows = [tuple(int(g) for g in row) for row in population.get("X")]
        _measure(space, laboratory, images, genes, rows, archive)
        losses = np.array([_losses(archive[row], limits) for row in rows])
        Evaluator().eval(StaticProblem(algorithm.problem, F=losses), population)
        algorithm.tell(infills=population)
        tick(generation + 1, evolution.generations + 1)
        if evolution.deadline is not None and time.monotonic() > evolution.deadline:
            break
    tried = [*start, *archive.values()]
    return [p for p in tried if p.score is not None and meets(p.choice, limits)]


@dataclass(frozen=True, slots=True)
class _Genes:
    """A candidate as whole numbers: for each variable the position of its option in ``options``."""

    options: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, space: BitSpace) -> _Genes:
        return cls(space.solver.undominated((*space.weights, SENSITIVITY)))

    def encode(self, choice: Sequence[int]) -> list[int]:
        """The nearest candidate."""
        pairs = zip(self.options, choice, strict=True)
        return [min(range(len(o)), key=lambda i: (abs(o[i] - c), i)) for o, c in pairs]

    def decode(self, genes: Sequence[int]) -> tuple[int, ...]:
        return tuple(o[g] for o, g in zip(self.options, genes, strict=True))


class _Step(Mutation):  # type: ignore[misc]
    """A few genes go one option up or down: about two a candidate."""

    def _do(
        self, problem: Any, X: NDArray[Any], *_: Any, random_state: Any = None, **__: Any
    ) -> NDArray[np.int64]:
        chosen = random_state.random(X.shape) < 2.0 / X.shape[1]
        steps = np.where(random_state.random(X.shape) < 0.5, -1, 1)
        moved = X.astype(np.int64) + chosen * steps
        return np.asarray(np.clip(moved, problem.xl, problem.xu), dtype=np.int64)


def _algorithm(genes: _Genes, start: Sequence[Point], seed: int) -> Any:
    upper = np.array([len(options) - 1 for options in genes.options])
    problem = Problem(n_var=len(upper), n_obj=2, xl=np.zeros_like(upper), xu=upper, vtype=int)
    rows = [genes.encode(point.choice.options) for point in start]
    rng = np.random.default_rng(seed)
    while len(rows) < _POPULATION:  # neighbours of what is given
        row = np.array(rows[int(rng.integers(len(start)))])
        rows.append(np.clip(row + rng.integers(-1, 2, row.shape), 0, upper).tolist())
    algorithm = NSGA2(
        pop_size=len(rows),
        sampling=np.array(rows),
        crossover=UniformCrossover(prob=0.9),
        mutation=_Step(prob=1.0),
        eliminate_duplicates=True,
    )
    algorithm.setup(problem, seed=seed, verbose=False)
    return algorithm


def _measure(
    space: BitSpace,
    laboratory: Laboratory,
    images: Images,
    genes: _Genes,
    rows: Sequence[tuple[int, ...]],
    archive: dict[tuple[int, ...], Point],
) -> None:
    """Put every row into the archive; those that the machine can do with their scores."""
    new = list(dict.fromkeys(row for row in rows if row not in archive))
    points = [space.at(genes.decode(row)) for row in new]
    possible = [p for p in points if np.isfinite(p.cost)]
    scores = laboratory.try_all([p.assignment for p in possible], images)
    measured = {id(p): score for p, (score,) in zip(possible, scores, strict=True)}
    for row, point in zip(new, points, strict=True):
        archive[row] = replace(point, score=measured.get(id(point)))


def _losses(point: Point, limits: Limits) -> tuple[float, float]:
    if point.score is None or not meets(point.choice, limits):
        return _WORST, _WORST
    return point.cost, point.score.drop
