"""The choice of widths as a problem of discrete optimization.

Variables are widths; terms are tables of costs over the options of a few variables: a layer's
energy over the widths of its weights, inputs and outputs; a tensor's sensitivity over its own.
Sums of terms are to be small or limited; the memory of live tensors is limited at every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]

#: Metrics of a network. A problem may have others: these are data.
SENSITIVITY, ENERGY, CYCLES, FLASH = "sensitivity", "energy_pj", "cycles", "flash_bytes"


@dataclass(frozen=True, slots=True)
class Variable:
    """One width to be chosen; of equally good options the first is taken."""

    name: str
    options: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """What one part of the network costs.

    Attributes:
        name: of the layer or tensor.
        variables: numbers of the variables it depends on.
        costs: by metric; one axis for each variable, one entry for each option.
        allowed: of the same shape; None admits every combination of options.
    """

    name: str
    variables: tuple[int, ...]
    costs: Mapping[str, Table]
    allowed: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """Bytes that live at one step: a constant, and one number for each option of some variables."""

    name: str
    base: float
    variables: tuple[int, ...]
    sizes: tuple[Table, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BitProblem:
    """Variables, the terms whose sums count, and the steps whose largest counts."""

    variables: tuple[Variable, ...]
    terms: tuple[Term, ...]
    peaks: tuple[Peak, ...] = ()

    def metrics(self) -> tuple[str, ...]:
        """Every metric that a term has, sorted."""
        return tuple(sorted({metric for term in self.terms for metric in term.costs}))


@dataclass(frozen=True, slots=True)
class Choice:
    """An option for each variable.

    Attributes:
        options: their indices.
        totals: sum over all terms by metric.
        peak: largest number of bytes alive at a step.
    """

    options: tuple[int, ...]
    totals: Mapping[str, float] = field(hash=False)
    peak: float = 0.0


def evaluate(problem: BitProblem, options: Sequence[int]) -> Choice:
    """Totals of a choice; infinite where it is not allowed."""
    totals = dict.fromkeys(problem.metrics(), 0.0)
    for term in problem.terms:
        index = tuple(options[v] for v in term.variables)
        allowed = term.allowed is None or bool(term.allowed[index])
        for metric, table in term.costs.items():
            totals[metric] += float(table[index]) if allowed else np.inf
    peaks = [
        peak.base
        + sum(float(t[options[v]]) for v, t in zip(peak.variables, peak.sizes, strict=True))
        for peak in problem.peaks
    ]
    return Choice(tuple(options), totals, max(peaks, default=0.0))


def weighted(problem: BitProblem, weights: Mapping[str, float]) -> list[Table]:
    """One table for each term: its metrics together, infinite where it is not allowed."""
    tables = []
    for term in problem.terms:
        shape = tuple(len(problem.variables[v].options) for v in term.variables)
        table = np.zeros(shape)
        for metric, values in term.costs.items():
            if weights.get(metric):
                table = table + weights[metric] * values
        tables.append(table if term.allowed is None else np.where(term.allowed, table, np.inf))
    return tables


def without_dominated(
    problem: BitProblem, metrics: Iterable[str], peaks: bool
) -> tuple[BitProblem, tuple[tuple[int, ...], ...]]:
    """Drop options that another option of the same variable beats or equals everywhere.

    Whatever the limits and weights, a best choice without them remains; where two options cost the
    same everywhere the first stays.

    Args:
        problem: all options.
        metrics: those that count.
        peaks: whether the bytes alive at the steps count.

    Returns:
        The smaller problem, and for each variable the old indices of its options.
    """
    kept = [list(range(len(variable.options))) for variable in problem.variables]
    touching: list[list[tuple[Table, int]]] = [[] for _ in problem.variables]
    counted = set(metrics)
    for term in problem.terms:
        tables = [t for metric, t in term.costs.items() if metric in counted]
        if term.allowed is not None:
            tables = [np.where(term.allowed, table, np.inf) for table in tables]
            tables.append(np.where(term.allowed, 0.0, np.inf))
        for axis, variable in enumerate(term.variables):
            touching[variable] += [(table, axis) for table in tables]
    for peak in problem.peaks if peaks else ():
        for variable, sizes in zip(peak.variables, peak.sizes, strict=True):
            touching[variable].append((sizes, 0))
    for variable, tables_of in enumerate(touching):
        kept[variable] = _undominated(tables_of, kept[variable])
    return restricted(problem, kept), tuple(map(tuple, kept))


def restricted(problem: BitProblem, kept: Sequence[Sequence[int]]) -> BitProblem:
    """The problem with only some options of every variable."""
    variables = tuple(
        Variable(v.name, tuple(v.options[i] for i in indices))
        for v, indices in zip(problem.variables, kept, strict=True)
    )
    terms = []
    for term in problem.terms:
        index = np.ix_(*(kept[v] for v in term.variables))
        costs = {metric: table[index] for metric, table in term.costs.items()}
        allowed = None if term.allowed is None else term.allowed[index]
        terms.append(Term(term.name, term.variables, costs, allowed))
    peaks = []
    for peak in problem.peaks:
        pairs = zip(peak.variables, peak.sizes, strict=True)
        sizes = tuple(table[list(kept[v])] for v, table in pairs)
        peaks.append(Peak(peak.name, peak.base, peak.variables, sizes))
    return BitProblem(variables, tuple(terms), tuple(peaks))


def _undominated(tables: Sequence[tuple[Table, int]], options: list[int]) -> list[int]:
    rows = {
        option: np.concatenate([np.zeros(0), *(np.take(t, option, a).ravel() for t, a in tables)])
        for option in options
    }
    kept: list[int] = []
    for option in options:
        others = [other for other in options if other != option]
        beaten = any(
            bool(np.all(rows[other] <= rows[option]))
            and (other < option or not np.array_equal(rows[other], rows[option]))
            for other in others
        )
        if not beaten:
            kept.append(option)
    return kept
