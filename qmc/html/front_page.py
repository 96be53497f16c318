"""What the page of a front shows: the chart, the plans, and the widths of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qmc.html.front_chart import cost_of, cost_title, front_chart, is_measured, loss_of
from qmc.html.widths_strip import Cell, StripRow

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One plan of the front, or a uniform assignment.

    Attributes:
        index: place among the plans; None of uniform assignments.
        key: path of the entry in front.json.
        entry: the entry.
        name: what to call it.
        cost: what the front minimizes.
        loss: points of top-1 lost, or sensitivity.
        strip: widths layer by layer, where the plan's scheme was found.
        layers: number of layers in the strip.
    """

    index: int | None
    key: str
    entry: Json
    name: str
    cost: float | None
    loss: float | None
    strip: tuple[StripRow, ...]
    layers: int


def front_values(front: Json, schemes: Sequence[Json | None]) -> Json:
    """The values of the template ``front.html``.

    Args:
        front: the object of front.json.
        schemes: what scheme.yaml beside each plan says, None where there is none.
    """
    measured = is_measured(front)
    plans = [
        _row(index, f"points.{index}", entry, front, scheme)
        for index, (entry, scheme) in enumerate(zip(front["points"], schemes, strict=True))
    ]
    uniforms = [
        _row(None, f"uniform.{index}", entry, front, None)
        for index, entry in enumerate(front.get("uniform", ()))
    ]
    return {
        "report": front,
        "front": front,
        "measured": measured,
        "chart": front_chart(front),
        "plans": plans,
        "uniforms": uniforms,
        "cost_title": cost_title(front.get("objective")),
        "sections": (
            *(("summary", "Summary"), ("front", "Pareto front"), ("plans", "Plans")),
            *(("plan", "One plan"), ("provenance", "Provenance")),
        ),
    }


def _row(index: int | None, key: str, entry: Json, front: Json, scheme: Json | None) -> PlanRow:
    name = str(entry.get("plan", entry.get("name", key))).removesuffix("/plan.yaml")
    cost, loss = cost_of(entry, front.get("objective")), loss_of(entry, is_measured(front))
    strip = _strip(scheme) if scheme else ()
    return PlanRow(index, key, entry, name, cost, loss, strip, max(map(_length, strip), default=0))


def _length(row: StripRow) -> int:
    return len(row.cells)


def _strip(scheme: Json) -> tuple[StripRow, ...]:
    """Widths of weights and of activation tensors as scheme.yaml has them."""
    parts = (("W weights", "weights", "weights"), ("A tensors", "tensors", "values"))
    return tuple(
        StripRow(
            title,
            tuple(
                Cell(entry["bits"], f"{name}: {entry['bits']}-bit {what}", "")
                for name, entry in scheme[key].items()
                if isinstance(entry, dict) and isinstance(entry.get("bits"), int)
            ),
        )
        for title, key, what in parts
        if isinstance(scheme.get(key), dict)
    )
