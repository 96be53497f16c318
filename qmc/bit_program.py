"""The choice of widths under limits as an integer linear program, solved by HiGHS.

A 0/1 variable x for each option of each variable; for each entry of a term of several variables a
share y between 0 and 1, so that the shares of all entries with an option sum to the option's x.
Once the x are whole numbers the y are too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from qmc.bit_problem import BitProblem, Term

#: HiGHS's own word for "no point meets the constraints".
_INFEASIBLE = 2


@dataclass(frozen=True, slots=True, eq=False)
class ProgramResult:
    """What the solver ended with.

    Attributes:
        options: one for each variable.
        lower_bound: of the objective, over all choices that meet the limits.
    """

    options: tuple[int, ...]
    lower_bound: float


class ProgramTimeout(Exception):
    """The solver found nothing in its time."""


def solve_program(
    problem: BitProblem,
    weights: Mapping[str, float],
    limits: Mapping[str, float],
    peak: float | None,
    seconds: float,
) -> ProgramResult | None:
    """The least weighted sum of totals under limits; None when nothing meets them.

    Args:
        problem: variables, terms and steps.
        weights: of the metrics in the objective.
        limits: of totals, by metric.
        peak: limit of the bytes at every step.
        seconds: after which the best so far is taken.

    Raises:
        ProgramTimeout: nothing was found in that time.
    """
    columns = _Columns(problem)
    objective = columns.row(weights)
    scale = float(np.abs(objective).max()) or 1.0
    matrix, ends = columns.structure()
    constraints = [LinearConstraint(matrix, ends, ends)]
    for metric, limit in limits.items():
        unit = abs(limit) or 1.0
        row = columns.row({metric: 1.0 / unit})
        constraints.append(LinearConstraint(row, -np.inf, limit / unit))
    if peak is not None:
        unit = max(1.0, peak)
        for row, room in columns.steps(peak):
            constraints.append(LinearConstraint(row / unit, -np.inf, room / unit))
    result = milp(
        objective / scale,
        integrality=columns.integrality,
        bounds=Bounds(0.0, columns.upper),
        constraints=constraints,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if result.status == _INFEASIBLE:
        return None
    if result.x is None:
        raise ProgramTimeout
    bound = result.fun if result.mip_dual_bound is None else result.mip_dual_bound
    return ProgramResult(columns.options(result.x), float(bound) * scale)


class _Columns:
    """Where the unknowns of the program lie: first every option, then every entry of a table."""

    def __init__(self, problem: BitProblem) -> None:
        self.problem = problem
        sizes = [len(variable.options) for variable in problem.variables]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.tables: list[tuple[Term, int]] = []
        self.width = int(self.starts[-1])
        for term in problem.terms:
            if len(term.variables) > 1:
                self.tables.append((term, self.width))
                self.width += int(np.prod([sizes[v] for v in term.variables]))

    @property
    def integrality(self) -> NDArray[np.int64]:
        """1 for the options, which are whole numbers, and 0 for the shares."""
        return np.where(np.arange(self.width) < self.starts[-1], 1, 0)

    @property
    def upper(self) -> NDArray[np.float64]:
        """1, or 0 for what is not allowed."""
        upper = np.ones(self.width)
        for term, start in self._places():
            if term.allowed is not None:
                upper[start : start + term.allowed.size] = term.allowed.ravel()
        return upper

    def _places(self) -> list[tuple[Term, int]]:
        alone = [t for t in self.problem.terms if len(t.variables) == 1]
        return [*self.tables, *((t, int(self.starts[t.variables[0]])) for t in alone)]

    def row(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Coefficients of a weighted sum of totals."""
        row = np.zeros(self.width)
        for term, start in self._places():
            for metric, table in term.costs.items():
                if weights.get(metric):
                    row[start : start + table.size] += weights[metric] * table.ravel()
        return row

    def structure(self) -> tuple[csr_array, NDArray[np.float64]]:
        """Rows and what they come to: one option each, and shares that agree with it."""
        rows: list[tuple[NDArray[np.int64], float]] = []
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            rows.append((np.arange(start, end), 1.0))
        for term, start in self.tables:
            shape = next(iter(term.costs.values())).shape
            numbers = start + np.arange(int(np.prod(shape))).reshape(shape)
            for axis, variable in enumerate(term.variables):
                for option in range(shape[axis]):
                    own = self.starts[variable] + option
                    rows.append((np.append(np.take(numbers, option, axis).ravel(), own), 0.0))
        lengths = [len(columns) for columns, _ in rows]
        values = [np.ones(length) for length in lengths]
        for signs, (_, end) in zip(values, rows, strict=True):
            signs[-1] = 1.0 if end else -1.0
        columns = np.concatenate([columns for columns, _ in rows])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        matrix = csr_array((np.concatenate(values), columns, starts), (len(rows), self.width))
        return matrix, np.array([end for _, end in rows])

    def steps(self, peak: float) -> list[tuple[NDArray[np.float64], float]]:
        """Bytes at every step as a row, and the room that its constant part leaves."""
        found = []
        for step in self.problem.peaks:
            row = np.zeros(self.width)
            for variable, sizes in zip(step.variables, step.sizes, strict=True):
                start = self.starts[variable]
                row[start : start + sizes.size] += sizes
            found.append((row, peak - step.base))
        return found

    def options(self, solution: NDArray[np.float64]) -> tuple[int, ...]:
        """The option of each variable with the largest x."""
        pairs = zip(self.starts[:-1], self.starts[1:], strict=True)
        return tuple(int(solution[start:end].argmax()) for start, end in pairs)
