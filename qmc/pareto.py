"""The exact (energy, cycles) Pareto set of a layer: every mapping that no other beats in both.

From the mapping of least energy, each next point is the mapping of least energy among those of
fewer cycles than the last, until the fastest mapping is reached. Every step is an exact search
under a limit on cycles, so a proved point is a proved point of the set, and none lies between two.
"""

from __future__ import annotations

from collections.abc import Callable

from qmc.cost_models.base import CostModel
from qmc.layer import Layer, Precision
from qmc.search import MAX_STEPS, search
from qmc.search_result import Objective, SearchResult
from qmc.targets.target import Target

#: Searches the mapping of least energy under a limit on cycles (None: no limit), or the fastest.
Search = Callable[[Objective, int | None], SearchResult]


def pareto_front(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: CostModel,
    *,
    max_cycles: int | None = None,
    max_steps: int = MAX_STEPS,
) -> tuple[SearchResult, ...]:
    """The Pareto set of ``layer``, from least energy to fewest cycles.

    Energies closer than a rounding of their sums count as equal; of equal points one is kept.

    Args:
        layer: a layer with weights.
        precision: widths of its operands.
        target: the machine.
        model: the analytical model.
        max_cycles: leave out points of more cycles.
        max_steps: of each search.

    Raises:
        LatencyLimitError: every mapping takes more than ``max_cycles``.
        NoMappingError: no mapping fits the machine.
    """

    def find(objective: Objective, limit: int | None) -> SearchResult:
        problem = (layer, precision, target, model, objective)
        return search(*problem, max_cycles=limit, max_steps=max_steps)

    return front(find, max_cycles)


def front(find: Search, max_cycles: int | None = None) -> tuple[SearchResult, ...]:
    """The Pareto set that ``find`` reaches by repeated search."""
    points = [find(Objective.ENERGY, max_cycles)]
    fastest = find(Objective.LATENCY, None)
    while points[-1].cost.cycles > fastest.cost.cycles:
        points.append(find(Objective.ENERGY, points[-1].cost.cycles - 1))
    return tuple(points)
