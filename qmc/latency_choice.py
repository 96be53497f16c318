"""Mappings of all layers of a network together, under a limit on the network's cycles.

Energies and cycles of a network are sums over its layers, so every total worth having is a sum of
points of the layers' Pareto sets. Layer by layer all sums are formed and those that another beats
in both are dropped, as are those that the layers left cannot bring under the limit: what remains is
the exact Pareto set of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.search_result import Objective

#: (energy in pJ, cycles) of the points of one layer.
Points = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True, eq=False)
class _Totals:
    """Sums over the first layers: cycles ascending, energies descending.

    ``before`` is the index of the sum without the last layer, ``chosen`` that layer's point.
    """

    energies: NDArray[np.float64]
    cycles: NDArray[np.int64]
    before: NDArray[np.int64]
    chosen: NDArray[np.int64]


def least_cycles(layers: Sequence[Points]) -> int:
    """Cycles of the network when every layer is mapped for speed."""
    return sum(min(cycles for _, cycles in points) for points in layers)


def choose_points(
    layers: Sequence[Points], max_cycles: int, objective: Objective
) -> tuple[int, ...]:
    """The point of each layer with which the network is best and meets the limit.

    Args:
        layers: Pareto set of every layer.
        max_cycles: limit on the sum of cycles; at least :func:`least_cycles`.
        objective: of the network's total energy and cycles.

    Returns:
        Index of the point chosen of each layer.
    """
    steps: list[_Totals] = []
    slowest_start = max_cycles - least_cycles(layers)
    assert slowest_start >= 0, "no choice meets the limit"
    start = np.zeros(1, np.int64)
    totals = _Totals(np.zeros(1), start, start, start)
    for points in layers:
        fastest = min(cycles for _, cycles in points)
        slowest_start += fastest  # what the sums so far may take, the rest being fastest
        totals = _add_layer(totals, points, slowest_start)
        steps.append(totals)
    return _trace(steps, _best(totals, objective))


def _add_layer(totals: _Totals, points: Points, max_cycles: int) -> _Totals:
    energies = np.add.outer(totals.energies, np.array([energy for energy, _ in points])).ravel()
    cycles = np.add.outer(totals.cycles, np.array([cycles for _, cycles in points])).ravel()
    before, chosen = np.divmod(np.arange(energies.size), len(points))
    order = np.lexsort((energies, cycles))
    order = order[cycles[order] <= max_cycles]
    least = np.minimum.accumulate(energies[order])
    kept = order[np.r_[True, energies[order][1:] < least[:-1]]]
    return _Totals(energies[kept], cycles[kept], before[kept], chosen[kept])


def _best(totals: _Totals, objective: Objective) -> int:
    match objective:
        case Objective.ENERGY:
            return int(np.argmin(totals.energies))
        case Objective.LATENCY:
            return int(np.argmin(totals.cycles))
        case Objective.EDP:
            return int(np.argmin(totals.energies * totals.cycles))


def _trace(steps: list[_Totals], index: int) -> tuple[int, ...]:
    choice = []
    for totals in reversed(steps):
        choice.append(int(totals.chosen[index]))
        index = int(totals.before[index])
    return tuple(reversed(choice))
