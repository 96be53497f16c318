"""The least sum of a problem's terms, exactly, by eliminating variable after variable.

On a chain of layers this is dynamic programming over the width of the tensor between them; with
residual branches the tables grow by the tensors that are alive at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qmc.bit_problem import BitProblem, Table

#: Entries of the largest table that elimination may make.
MAX_ENTRIES = 4_000_000


@dataclass(frozen=True, slots=True)
class EliminationOrder:
    """Which variable goes when; ``largest`` is the number of entries of the largest table."""

    variables: tuple[int, ...]
    largest: int


def elimination_order(problem: BitProblem) -> EliminationOrder:
    """Greedy: always the variable whose elimination joins the smallest table."""
    sizes = [len(variable.options) for variable in problem.variables]
    scopes = {frozenset(term.variables) for term in problem.terms}
    left, order, largest = set(range(len(sizes))), [], 1
    while left:
        joined = {v: frozenset().union(*(s for s in scopes if v in s)) | {v} for v in left}
        cost = {v: int(np.prod([float(sizes[u]) for u in joined[v]])) for v in left}
        best = min(left, key=lambda v: (cost[v], v))
        largest = max(largest, cost[best])
        scopes = {s for s in scopes if best not in s} | {joined[best] - {best}}
        left.remove(best)
        order.append(best)
    return EliminationOrder(tuple(order), largest)


def least_sum(
    problem: BitProblem, tables: Sequence[Table], order: EliminationOrder
) -> tuple[float, tuple[int, ...]]:
    """The least total of ``tables`` and the options that have it.

    Args:
        problem: variables, and the variables of each term.
        tables: one for each term, infinite where a combination is not allowed.
        order: of :func:`elimination_order`; ``largest`` at most :data:`MAX_ENTRIES`.
    """
    factors = [(term.variables, table) for term, table in zip(problem.terms, tables, strict=True)]
    steps: list[tuple[int, tuple[int, ...], Table]] = []
    total = 0.0
    for variable in order.variables:
        mine = [factor for factor in factors if variable in factor[0]]
        factors = [factor for factor in factors if variable not in factor[0]]
        scope = tuple(sorted({v for names, _ in mine for v in names} - {variable}))
        size = len(problem.variables[variable].options)
        shape = (size, *(len(problem.variables[v].options) for v in scope))
        joined = np.zeros(shape)
        for names, table in mine:
            joined = joined + _aligned(names, table, (variable, *scope))
        steps.append((variable, scope, joined.argmin(axis=0)))
        least = joined.min(axis=0)
        if scope:
            factors.append((scope, least))
        else:
            total += float(least)
    chosen = dict.fromkeys(order.variables, 0)
    for variable, scope, best in reversed(steps):
        chosen[variable] = int(best[tuple(chosen[v] for v in scope)])
    return total, tuple(chosen[v] for v in range(len(problem.variables)))


def _aligned(names: tuple[int, ...], table: Table, scope: tuple[int, ...]) -> Table:
    """``table`` with its axes in the order of ``scope``, and length 1 where it has none."""
    present = [v for v in scope if v in names]
    moved = table.transpose([names.index(v) for v in present])
    lengths = iter(moved.shape)
    return moved.reshape([next(lengths) if v in names else 1 for v in scope])
