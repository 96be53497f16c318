"""What a person reads of a comparison: the network, then every layer that differs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from qmc.console import plain_table, printable, short
from qmc.mapping_text import size_text

Json = dict[str, Any]

#: Relative changes below this count as none.
_NOTHING = 5e-4
_LABELS = {
    "energy_uj": "Energy, µJ",
    "cycles": "Cycles",
    "latency_ms": "Latency, ms",
    "edp_pj_cycles": "EDP, pJ·cycle",
    "flash_bytes": "Weights and constants",
    "ram_peak_bytes": "Peak RAM",
    "top1": "Top-1, integer C, %",
    "top1_float": "Top-1, float, %",
    "agreement": "Same answer as float, %",
}


def print_diff(data: Json, console: Console) -> None:
    """Network, layers that differ, and how their mappings do."""
    for side in "ab":
        console.print(Text(f"{side}: {printable(data[side]['path'])}  ({data[side]['target']})"))
    for note in data["notes"]:
        console.print(Text(f"note: {printable(note)}", style="yellow"))
    if data["network"]:
        console.print(_network(data["network"]))
    changed = [layer for layer in data["layers"] if differs(layer)]
    if changed:
        console.print(_layers(changed))
    for layer in changed:
        if layer["mapping_changes"]:
            console.print(Text(f"mapping of {printable(layer['name'])}", style="bold"))
            for line in layer["mapping_changes"]:
                console.print(Text(f"  {printable(line)}"))
    console.print(Text(f"{len(data['layers']) - len(changed)} layers are the same"))


def differs(layer: Json) -> bool:
    """Whether anything of a layer is another on the other side."""
    figures = [value for value in layer.values() if isinstance(value, dict)]
    unequal = any(one["a"] != one["b"] for one in figures)
    return unequal or layer["in"] != "both" or bool(layer["mapping_changes"])


def _network(figures: Json) -> Any:
    table = plain_table("Network")
    for name in ("", "a", "b", "change"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, one in figures.items():
        table.add_row(_LABELS[key], _value(key, one["a"]), _value(key, one["b"]), _told(key, one))
    return table


def _value(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    if key.endswith("_bytes"):
        return size_text(int(value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4e}" if key.startswith("edp") else f"{value:,.3f}"


def _told(key: str, one: Json) -> str:
    """The change: in points of percentages, else relative."""
    if one["change"] is None:
        return ""
    if key in ("top1", "top1_float", "agreement"):
        return f"{one['change']:+.2f} points"
    return _percent(one)


def _percent(one: Json | None) -> str:
    if one is None or one["relative"] is None:
        return ""
    return "=" if abs(one["relative"]) < _NOTHING else f"{100 * one['relative']:+.1f} %"


_COLUMNS = ("W/A/O a", "b", "µJ a", "b", "", "Cycles a", "b", "", "dB a", "b", "Map")


def _layers(layers: list[Json]) -> Any:
    """Names give way where the terminal is narrow, figures do not."""
    rows = [_figures_of(layer) for layer in layers]
    table = plain_table("Layers that differ")
    table.add_column("Layer", overflow="fold", min_width=5, max_width=28)
    for name, *cells in zip(_COLUMNS, *rows, strict=True):
        width = max(map(len, (name, *cells)))
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for layer, figures in zip(layers, rows, strict=True):
        table.add_row(Text(printable(layer["name"])), *figures)
    return table


def _figures_of(layer: Json) -> tuple[str, ...]:
    energy, cycles, noise = (layer.get(key) for key in ("energy_pj", "cycles", "sqnr_db"))
    return (
        *(_widths(layer, side) for side in "ab"),
        *(_energy(energy, side) for side in "ab"),
        _percent(energy),
        *("-" if not cycles or cycles[s] is None else short(cycles[s]) for s in "ab"),
        _percent(cycles),
        *("-" if not noise or noise[s] is None else f"{noise[s]:.1f}" for s in "ab"),
        "≠" if layer["mapping_changes"] else "",
    )


def _widths(layer: Json, side: str) -> str:
    if layer["in"] not in ("both", side):
        return "absent"
    keys = ("w_bits", "a_bits", "o_bits")
    return "/".join(str((layer.get(key) or {side: None})[side] or "-") for key in keys)


def _energy(one: Json | None, side: str) -> str:
    return "-" if not one or one[side] is None else f"{one[side] / 1e6:.3g}"
