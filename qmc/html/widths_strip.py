"""The widths of a network as a strip: a row for each operand, a column for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_ROWS = (
    ("W", "weights", "w_bits"),
    ("A", "inputs", "a_bits"),
    ("O", "outputs", "o_bits"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A width, and what a click on it opens."""

    bits: int | None
    label: str
    opens: str


@dataclass(frozen=True, slots=True)
class StripRow:
    """One line of a strip."""

    name: str
    cells: tuple[Cell, ...]


def layer_strip(layers: Sequence[Json]) -> tuple[StripRow, ...]:
    """The strip of the layers of a report."""
    return tuple(
        StripRow(
            f"{letter} {name}",
            tuple(
                Cell(layer[key], _label(layer, name, layer[key]), f"layer-{index}")
                for index, layer in enumerate(layers)
            ),
        )
        for letter, name, key in _ROWS
    )


def _label(layer: Json, name: str, bits: int | None) -> str:
    told = f"{bits}-bit {name}" if bits else f"no {name}"
    return f"{layer['name']}, {layer['op']}: {told}"
