"""The chart of a front: cost against what is lost, mixed widths and uniform ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qmc.html.axes import Axis, linear_axis
from qmc.html.numbers import count, digits

Json = dict[str, Any]

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 18, 50
#: Key, name and unit of what a front may minimize.
_COSTS: Mapping[str | None, tuple[str, str, str]] = {
    "energy": ("energy_uj", "energy", "µJ"),
    "latency": ("cycles", "latency", "cycles"),
    "edp": ("edp_pj_cycles", "energy × delay", "pJ·cycle"),
    None: ("measured_cost", "measured cost", ""),
}


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A plan or a uniform assignment in the chart; ``opens`` is empty where nothing is behind."""

    x: float
    y: float
    label: str
    opens: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class FrontChart:
    """What is drawn: axes with titles, the points, and the line through the best mixed ones."""

    x: Axis
    y: Axis
    x_title: str
    y_title: str
    points: tuple[FrontPoint, ...]
    line: str


def cost_of(entry: Json, objective: str | None) -> float | None:
    """What the front minimizes, of one of its points."""
    value = entry.get(_COSTS.get(objective, _COSTS[None])[0])
    return value if value is not None else entry.get("cost")


def cost_title(objective: str | None) -> str:
    """Its name with the unit."""
    _, name, unit = _COSTS.get(objective, _COSTS[None])
    return f"{name}, {unit}" if unit else name


def loss_of(entry: Json, measured: bool) -> float | None:
    """Points of top-1 lost on all images where that was measured, else the sensitivity."""
    if not measured:
        return entry.get("sensitivity")
    scores = [entry[part] for part in ("search", "check") if entry.get(part)]
    images = sum(score["images"] for score in scores)
    return sum(score["drop"] * score["images"] for score in scores) / images if images else None


def is_measured(front: Json) -> bool:
    """Whether accuracy was measured for all plans."""
    points = front["points"]
    return bool(points) and all(loss_of(point, True) is not None for point in points)


def front_chart(front: Json) -> FrontChart | None:
    """The chart; None without points."""
    measured, objective = is_measured(front), front.get("objective")
    found = [
        (entry, cost, loss, index if index < len(front["points"]) else None)
        for index, entry in enumerate([*front["points"], *front.get("uniform", ())])
        if (cost := cost_of(entry, objective)) is not None
        and (loss := loss_of(entry, measured)) is not None
    ]
    if not found:
        return None
    x = linear_axis([cost for _, cost, _, _ in found], _LEFT, WIDTH - _RIGHT)
    y = linear_axis([loss for _, _, loss, _ in found], HEIGHT - _BOTTOM, _TOP)
    title = "top-1 lost, points (measured)" if measured else "sensitivity"
    points = tuple(
        _point(entry, (x.at(cost), y.at(loss)), index, _label(entry, front, measured))
        for entry, cost, loss, index in found
    )
    points = _named_once(points)
    mixed = [(cost, loss) for _, cost, loss, index in found if index is not None]
    return FrontChart(
        x, y, f"{cost_title(objective)} (modelled)", title, points, _line(mixed, x, y)
    )


def _named_once(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Uniform assignments at one place share one text, that of the first of them."""
    names: dict[tuple[float, float], list[str]] = {}
    for point in points:
        if point.name:
            names.setdefault((point.x, point.y), []).append(point.name)
    return tuple(
        replace(point, name=_joined(names.pop((point.x, point.y), []))) if point.name else point
        for point in points
    )


def _joined(names: Sequence[str]) -> str:
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return names[0] + more if names else ""


def _point(entry: Json, at: tuple[float, float], index: int | None, label: str) -> FrontPoint:
    if index is None:
        return FrontPoint(*at, label, "", "uniform", str(entry["name"]))
    kind = "point dominated" if entry.get("dominated_by_uniform") else "point"
    return FrontPoint(*at, label, f"plan-{index}", kind, "")


def _label(entry: Json, front: Json, measured: bool) -> str:
    name = str(entry.get("plan", entry["name"])).removesuffix("/plan.yaml")
    cost, loss = cost_of(entry, front.get("objective")), loss_of(entry, measured)
    assert cost is not None
    assert loss is not None
    amount = count(cost) if isinstance(cost, int) else digits(cost)
    lost = f"{loss:+.2f} points of top-1 lost" if measured else f"sensitivity {digits(loss)}"
    told = f"{name}: {cost_title(front.get('objective'))} {amount}, {lost}"
    beaten = entry.get("dominated_by_uniform")
    return f"{told}, dominated by {', '.join(beaten)}" if beaten else told


def _line(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    """Steps through the points that no other beats in both."""
    path, least = "", float("inf")
    for cost, loss in sorted(points):
        if loss >= least:
            continue
        step = f" H{x.at(cost)} V{y.at(loss)}"
        path += step if path else f"M{x.at(cost)} {y.at(loss)}"
        least = loss
    return path
