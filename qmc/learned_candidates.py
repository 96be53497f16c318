"""Candidates of the learned search: many mappings of one layer as arrays, ranked by the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import CalibratedModel
from qmc.cost_models.feature_kernel import COUNT, describe_all
from qmc.cost_models.features import mapping_arrays
from qmc.cost_models.xgboost_model import Floats, LearnedModel, Rows
from qmc.layer import Layer, Precision
from qmc.learned_moves import change, draw
from qmc.mapping import Mapping
from qmc.mapspace import MapSpace, map_space, to_mapping
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_bounds import Choices
from qmc.nest_kernel import Ints, Problem, empty_nest, price_all
from qmc.search_result import Objective
from qmc.targets.target import Target

Indices = NDArray[np.int64]
#: Added to a score for every factor of e by which the cycles are predicted above the limit.
_OVER_LIMIT = 10.0
#: Share of changed mappings that also keep something else in their memories.
_OTHER_KEEP = 0.1


@dataclass(frozen=True, slots=True)
class Candidates:
    """Mappings of one layer.

    Attributes:
        keep: (count,) index of what the memories keep, see :class:`qmc.mapspace.MapSpace`.
        factors: (count, L, 3, 8). orders: (count, L, 8), innermost first.
        rows: (count, features). scores: (count,) logarithm of the predicted objective; inf where
            the tiles do not fit.
    """

    keep: Ints
    factors: Ints
    orders: Ints
    rows: Rows
    scores: Floats

    def __len__(self) -> int:
        return len(self.keep)

    def take(self, which: NDArray[np.generic]) -> Candidates:
        """Those of an index array or mask."""
        return Candidates(*(array[which] for array in self._arrays()))

    def overwrite(self, where: NDArray[np.generic], other: Candidates) -> None:
        """Put ``other`` in these places."""
        for mine, new in zip(self._arrays(), other._arrays(), strict=True):
            mine[where] = new

    def _arrays(self) -> tuple[NDArray[np.generic], ...]:
        return self.keep, self.factors, self.orders, self.rows, self.scores


def joined(parts: list[Candidates]) -> Candidates:
    """All candidates of several."""
    arrays = zip(*(part._arrays() for part in parts), strict=True)
    return Candidates(*(np.concatenate(array) for array in arrays))


@dataclass(frozen=True, slots=True)
class Ranker:
    """Proposes, ranks and prices mappings of one layer on one machine.

    Attributes:
        problems: the layer on the machine, one for each choice of what the memories keep.
        model: predicts. calibration: corrects both prediction and price; None is the analytical
            model as it is.
        max_cycles: limit on cycles, inf is none.
    """

    space: MapSpace
    choices: Choices
    problems: tuple[Problem, ...]
    model: LearnedModel
    calibration: CalibratedModel | None
    objective: Objective
    max_cycles: float

    def random(self, count: int, rng: np.random.Generator) -> Candidates:
        """About ``count`` random mappings that fit, fewer where few are found."""
        levels = len(self.space.target.memories)
        each = -(-count // len(self.problems))
        parts = []
        for keep, problem in enumerate(self.problems):
            factors = np.ones((each, levels, 3, 8), np.int64)
            orders = np.zeros((each, levels, 8), np.int64)
            found = draw(
                problem,
                self.choices,
                empty_nest(problem["bounds"]),
                new_state(self.space),
                int(rng.integers(1 << 31)),
                *(factors, orders, 16 * each),
            )
            parts.append(self.ranked(np.full(found, keep), factors[:found], orders[:found]))
        return joined(parts)

    def changed(self, parents: Candidates, rng: np.random.Generator) -> Candidates:
        """A changed copy of every one of ``parents``."""
        keep = parents.keep.copy()
        if len(self.problems) > 1:
            other = rng.random(len(keep)) < _OTHER_KEEP
            keep[other] = rng.integers(len(self.problems), size=np.count_nonzero(other))
        factors, orders = np.empty_like(parents.factors), np.empty_like(parents.orders)
        change(
            self.choices,
            empty_nest(self.problems[0]["bounds"]),
            int(rng.integers(1 << 31)),
            *(parents.factors, parents.orders, np.arange(len(keep)), factors, orders),
        )
        return self.ranked(keep, factors, orders)

    def given(self, mapping: Mapping) -> Candidates:
        """One mapping as candidates."""
        keep = self.space.keeps.index(mapping.keep)
        factors, orders = mapping_arrays(self.space.target, mapping)
        return self.ranked(np.array([keep]), factors[None], orders[None])

    def ranked(self, keep: Ints, factors: Ints, orders: Ints) -> Candidates:
        """Describe mappings and predict what they cost."""
        rows = np.full((len(keep), COUNT), np.nan, np.float32)
        estimates = np.full((len(keep), 2), np.nan)
        for index, problem in enumerate(self.problems):
            own = keep == index
            if own.any():
                nest = empty_nest(problem["bounds"])
                rows[own], estimates[own] = describe_all(problem, nest, factors[own], orders[own])
        fits = np.isfinite(estimates[:, 0])
        scores = np.full(len(keep), np.inf)
        if fits.any():
            scores[fits] = self._score(
                self.model.log_costs(rows[fits], estimates[fits]), rows[fits]
            )
        return Candidates(keep, factors, orders, rows, scores)

    def prices(self, candidates: Candidates) -> Floats:
        """Logarithms of their true objective; inf where they do not fit or are too slow."""
        costs = np.full((len(candidates), 2), np.nan)
        for index, problem in enumerate(self.problems):
            own = candidates.keep == index
            nest = empty_nest(problem["bounds"])
            costs[own] = price_all(problem, nest, candidates.factors[own], candidates.orders[own])
        logs = self._calibrated(np.log(costs), candidates.rows)
        wrong = ~(np.exp(logs[:, 1]) <= self.max_cycles)
        return np.where(wrong, np.inf, self._objective(logs))

    def mapping(self, candidates: Candidates, index: int) -> Mapping:
        """One of the candidates."""
        factors, orders = candidates.factors[index], candidates.orders[index]
        tiling, loops = [], []
        for block in self.space.blocks:
            taken = tuple(int(f) for f in factors[block.level, _AXES.index(block.axis)])
            order = orders[block.level] if block.axis is None else range(8)
            tiling.append(taken)
            loops.append(tuple(int(dim) for dim in order if taken[dim] > 1))
        keep = self.space.keeps[int(candidates.keep[index])]
        return to_mapping(self.space, tuple(tiling), tuple(loops), keep)

    def _score(self, logs: Floats, rows: Rows) -> Floats:
        logs = self._calibrated(logs, rows)
        scores = self._objective(logs)
        if np.isfinite(self.max_cycles):
            scores = scores + _OVER_LIMIT * np.maximum(0.0, logs[:, 1] - np.log(self.max_cycles))
        return scores

    def _calibrated(self, logs: Floats, rows: Rows) -> Floats:
        return logs if self.calibration is None else self.calibration.corrected(logs, rows)

    def _objective(self, logs: Floats) -> Floats:
        match self.objective:
            case Objective.EDP:
                return logs[:, 0] + logs[:, 1]
            case Objective.ENERGY:
                return logs[:, 0]
            case Objective.LATENCY:
                return logs[:, 1]


_AXES = (None, "x", "y")


def build_ranker(
    layer: Layer,
    precision: Precision,
    target: Target,
    rules: AnalyticalModel,
    model: LearnedModel,
    objective: Objective,
    max_cycles: int | None = None,
    calibration: CalibratedModel | None = None,
) -> Ranker:
    """What is needed to search the map space of a layer.

    Raises:
        NoMappingError: the constraints leave part of a loop no place.
    """
    space = map_space(layer, target)
    return Ranker(
        space,
        build_choices(space),
        tuple(build_problem(layer, precision, target, keep, rules) for keep in space.keeps),
        model,
        calibration,
        objective,
        np.inf if max_cycles is None else max_cycles,
    )
