"""Points of accuracy and cost: which are on the front, and whether a uniform width does better.

Both axes are losses: smaller is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmc.bit_groups import Assignment
from qmc.bit_problem import Choice
from qmc.trial import Score


@dataclass(frozen=True, slots=True)
class Point:
    """One assignment of widths with everything known of it.

    Attributes:
        name: ``w8a8`` of a uniform one, else ``mixed``.
        assignment: its widths.
        choice: predicted totals.
        cost: what the front minimizes.
        score: measured on the images that the search chose by; None without labels.
        check: measured on the others.
        trial: measured by a trial on the former, before calibration in full.
    """

    name: str
    assignment: Assignment
    choice: Choice
    cost: float
    score: Score | None = None
    check: Score | None = None
    trial: Score | None = None

    @property
    def is_uniform(self) -> bool:
        """Whether all weights have one width, and all activations."""
        return self.name != "mixed"

    @property
    def loss(self) -> float:
        """Points of top-1 lost on all images it was run on; without these the sensitivity."""
        if self.score is None:
            return self.choice.totals["sensitivity"]
        return (self.score if self.check is None else self.score + self.check).drop


def dominates(first: Point, second: Point) -> bool:
    """Whether ``first`` is at least as good in both, and better in one."""
    return (first.cost, first.loss) != (second.cost, second.loss) and (
        first.cost <= second.cost and first.loss <= second.loss
    )


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates, least loss first; of equal ones the first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.loss, p.cost)):
        if not kept or point.cost < kept[-1].cost:
            kept.append(point)
    return kept


def hypervolume(points: Sequence[Point], cost: float, loss: float, best_loss: float = 0.0) -> float:
    """The share of the box of costs from 0 and losses from ``best_loss`` that the points dominate.

    Args:
        points: any.
        cost: of the reference point.
        loss: of the reference point.
        best_loss: losses below count as this one.
    """
    area, ceiling = 0.0, cost
    for point in pareto(points):
        start = max(point.loss, best_loss)
        if point.cost < ceiling and start < loss:
            area += (ceiling - max(0.0, point.cost)) * (loss - start)
            ceiling = point.cost
    return area / (cost * (loss - best_loss))


def best_uniform(point: Point, uniforms: Sequence[Point]) -> Point | None:
    """The uniform assignment that loses least at no more than the point's cost."""
    affordable = [other for other in uniforms if other.cost <= point.cost]
    return min(affordable, key=lambda p: (p.loss, p.cost), default=None)


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """At most ``count`` points at even distances along the front, both ends included.

    Args:
        points: a front, least loss first.
        count: at least 2.
    """
    if len(points) <= count:
        return list(points)
    costs = [point.cost for point in points]
    span = max(costs) - min(costs) or 1.0
    lengths = [0.0]
    for i in range(1, len(points)):
        step = abs(costs[i] - costs[i - 1]) / span + 1.0 / len(points)
        lengths.append(lengths[-1] + step)
    wanted = [lengths[-1] * k / (count - 1) for k in range(count)]
    nearest = [min(range(len(points)), key=lambda i: (abs(lengths[i] - w), i)) for w in wanted]
    return [points[i] for i in sorted(set(nearest))]
