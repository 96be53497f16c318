"""Exact choice of widths: the least weighted sum, the front, and the best under limits.

Without limits a least weighted sum comes from elimination (:mod:`qmc.min_sum`). All choices that
are best for some weighting of two totals, the corners of the front's lower hull, are found by
asking for the weighting of every edge. Under limits an integer linear program is solved by HiGHS:
a 0/1 variable for each option, and for each entry of a term's table a share that agrees with them.

Source: 0/1 variables per (layer, width) and one inequality per memory step as in Sony's Model
Compression Toolkit; HAWQ-V3 (arXiv 2011.10680), section 3.4, for the linear program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qmc.bit_problem import BitProblem, Choice, evaluate, weighted, without_dominated
from qmc.bit_program import solve_program
from qmc.min_sum import MAX_ENTRIES, EliminationOrder, elimination_order, least_sum

#: Seconds that one integer program may take unless told otherwise.
SECONDS = 10.0
#: Two values closer than this, relative, are equal.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Proof:
    """How good a choice is.

    Attributes:
        value: of what was minimized.
        lower_bound: no choice that meets the limits has less.
        method: what found it.
    """

    value: float
    lower_bound: float
    method: str

    @property
    def gap(self) -> float:
        """How far the value may be above the least, relative; 0 is proved."""
        if self.value - self.lower_bound <= _TOLERANCE * max(1e-300, abs(self.value)):
            return 0.0
        return (self.value - self.lower_bound) / max(1e-300, abs(self.value))

    @property
    def proved(self) -> bool:
        """Whether nothing is better."""
        return self.gap == 0.0


@dataclass(frozen=True, slots=True)
class Solution:
    """A choice with its proof."""

    choice: Choice
    proof: Proof


@dataclass(frozen=True, slots=True)
class Limits:
    """What a choice may cost: totals by metric, and bytes alive at any step."""

    totals: Mapping[str, float]
    peak: float | None = None


NO_LIMITS = Limits({})


class Solver:
    """Answers questions about one problem; what does not depend on the question is done once."""

    def __init__(self, problem: BitProblem) -> None:
        """Keep the problem."""
        self.problem = problem
        self._reduced: dict[tuple[frozenset[str], bool], _Reduced] = {}

    def least(self, weights: Mapping[str, float]) -> Solution | None:
        """The least weighted sum of totals, without limits; None when nothing is allowed."""
        small = self._reduce(weights, NO_LIMITS)
        if small.order.largest > MAX_ENTRIES:
            return self.best(weights, NO_LIMITS)
        value, options = least_sum(small.problem, weighted(small.problem, weights), small.order)
        if not np.isfinite(value):
            return None
        return Solution(self._choice(small, options), Proof(value, value, "dynamic programming"))

    def best(
        self, weights: Mapping[str, float], limits: Limits, seconds: float = SECONDS
    ) -> Solution | None:
        """The least weighted sum of totals under limits; None when nothing meets them.

        Raises:
            ProgramTimeout: nothing was found in ``seconds``.
        """
        small = self._reduce(weights, limits)
        found = solve_program(small.problem, weights, limits.totals, limits.peak, seconds)
        if found is None:
            return None
        choice = self._choice(small, found.options)
        value = sum(weight * choice.totals[metric] for metric, weight in weights.items())
        bound = min(value, found.lower_bound)
        return Solution(choice, Proof(value, bound, "integer linear program"))

    def front(self, first: str, second: Mapping[str, float], points: int = 256) -> list[Choice]:
        """Choices that are best for some weighting of two totals, the first total ascending.

        Args:
            first: a metric.
            second: a weighted sum of metrics.
            points: about as many at most.
        """
        ends = [self.least(_mixed({first: 1.0}, second, 0.0)), self.least({**second, first: 0.0})]
        if ends[0] is None or ends[1] is None:
            return []

        def position(choice: Choice) -> tuple[float, float]:
            return choice.totals[first], sum(w * choice.totals[m] for m, w in second.items())

        scales = [
            max(1e-300, abs(a - b))
            for a, b in zip(position(ends[0].choice), position(ends[1].choice), strict=True)
        ]
        tiny = 1e-7  # the cheapest of equally insensitive choices, and the other way round
        corners = [
            self.least(_mixed({first: 1.0 / scales[0]}, second, tiny / scales[1])),
            self.least(_mixed({first: tiny / scales[0]}, second, 1.0 / scales[1])),
        ]
        found = [corner.choice for corner in corners if corner is not None]
        edges = [(found[0], found[-1])]
        while edges and len(found) < points:
            left, right = edges.pop(0)  # breadth first: an early end leaves an even front
            (a, b), (c, d) = position(left), position(right)
            if not (c > a and b > d):
                continue
            middle = self.least(_mixed({first: b - d}, second, c - a))
            assert middle is not None
            x, y = position(middle.choice)
            on_edge = (b - d) * a + (c - a) * b
            if (b - d) * x + (c - a) * y < on_edge - _TOLERANCE * abs(on_edge):
                found.append(middle.choice)
                edges += [(left, middle.choice), (middle.choice, right)]
        return _undominated_choices(found, position)

    def undominated(self, metrics: Iterable[str]) -> tuple[tuple[int, ...], ...]:
        """For each variable the options worth having where only ``metrics`` count."""
        return self._reduce(dict.fromkeys(metrics, 1.0), NO_LIMITS).kept

    def _reduce(self, weights: Mapping[str, float], limits: Limits) -> _Reduced:
        """The problem without options that are dominated in what is asked for."""
        metrics = frozenset(weights) | frozenset(limits.totals)
        peaks = limits.peak is not None
        if (metrics, peaks) not in self._reduced:
            small, kept = without_dominated(self.problem, metrics, peaks)
            self._reduced[metrics, peaks] = _Reduced(small, kept, elimination_order(small))
        return self._reduced[metrics, peaks]

    def _choice(self, small: _Reduced, options: Sequence[int]) -> Choice:
        """A choice of a reduced problem as one of the whole."""
        old = [small.kept[v][option] for v, option in enumerate(options)]
        return evaluate(self.problem, old)


@dataclass(frozen=True, slots=True, eq=False)
class _Reduced:
    """A problem with fewer options, the old indices of these, and how it is eliminated."""

    problem: BitProblem
    kept: tuple[tuple[int, ...], ...]
    order: EliminationOrder


def _mixed(
    first: Mapping[str, float], second: Mapping[str, float], factor: float
) -> dict[str, float]:
    mixed = dict(first)
    for metric, weight in second.items():
        mixed[metric] = mixed.get(metric, 0.0) + factor * weight
    return mixed


def _undominated_choices(
    found: list[Choice], position: Callable[[Choice], tuple[float, float]]
) -> list[Choice]:
    kept: list[Choice] = []
    for choice in sorted(found, key=position):
        if not kept or position(choice)[1] < position(kept[-1])[1]:
            kept.append(choice)
    return kept


def brute_force(
    problem: BitProblem, weights: Mapping[str, float], limits: Limits = NO_LIMITS
) -> Choice | None:
    """Look at every choice; for tests and tiny problems."""
    best, least = None, np.inf
    for options in itertools.product(*(range(len(v.options)) for v in problem.variables)):
        choice = evaluate(problem, options)
        value = sum(weight * choice.totals[metric] for metric, weight in weights.items())
        if value < least and meets(choice, limits):
            best, least = choice, value
    return best


def meets(choice: Choice, limits: Limits) -> bool:
    """Whether a choice keeps to limits, up to rounding."""
    totals = all(
        choice.totals[metric] <= limit + _TOLERANCE * abs(limit)
        for metric, limit in limits.totals.items()
    )
    return totals and (limits.peak is None or choice.peak <= limits.peak)
