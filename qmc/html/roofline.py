"""The roofline of a build: how many MACs a cycle every layer gets, by MACs per byte it moves.

Source: Williams, Waterman, Patterson, Roofline, CACM 52(4), 2009. Bytes are those of the outermost
memory that declares a bandwidth; without any, the roof is that of the MACs alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qmc.html.axes import Axis, log_axis
from qmc.html.numbers import amount, digits

Json = dict[str, Any]

WIDTH, HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 16, 48
_SMALLEST, _LARGEST = 4.0, 13.0


@dataclass(frozen=True, slots=True)
class Point:
    """A layer in the chart; ``index`` is its place in the network."""

    index: int
    x: float
    y: float
    radius: float
    label: str
    bound: str


@dataclass(frozen=True, slots=True)
class Roofline:
    """What is drawn.

    Attributes:
        memory: whose bytes count.
        x, y: axes, MACs per byte and MACs per cycle.
        roof: corners of the roof as an SVG path.
        peak: MACs per cycle.
        bandwidth: bytes per cycle; None where the machine declares none.
        points: layers with MACs.
    """

    memory: str
    x: Axis
    y: Axis
    roof: str
    peak: float
    bandwidth: float | None
    points: tuple[Point, ...]


def roofline(report: Json) -> Roofline | None:
    """The chart; None where the report does not say enough."""
    memories = report["target"].get("memories")
    peak = report["target"].get("macs_per_cycle")
    if not memories or not peak:
        return None
    memory = next((one for one in memories if _bandwidth(one)), memories[0])
    found = [
        (index, layer, layer["macs"] / moved)
        for index, layer in enumerate(report["layers"])
        if layer["macs"] and layer["cycles"] and (moved := _bytes(layer, memory))
    ]
    if not found:
        return None
    bandwidth = _bandwidth(memory)
    knee = [peak / bandwidth] if bandwidth else []
    x = log_axis([value for _, _, value in found] + knee, _LEFT, WIDTH - _RIGHT)
    rates = [layer["macs"] / layer["cycles"] for _, layer, _ in found]
    y = log_axis([*rates, peak], HEIGHT - _BOTTOM, _TOP)
    points = tuple(
        _point(index, layer, value, x, y, max(one["energy_pj"] for _, one, _ in found))
        for index, layer, value in found
    )
    return Roofline(memory["name"], x, y, _roof(x, y, peak, bandwidth), peak, bandwidth, points)


def _bandwidth(memory: Json) -> float | None:
    """Bytes per cycle of the ports that declare a bandwidth; None if none does."""
    ports = [memory[f"{port}_bytes_per_cycle"] for port in ("read", "write")]
    return sum(port for port in ports if port) or None


def _bytes(layer: Json, memory: Json) -> int:
    """Bytes that pass the ports :func:`_bandwidth` counts; all, where none declares one."""
    ports = {"read": "bytes_read", "write": "bytes_written"}
    limited = [key for port, key in ports.items() if memory[f"{port}_bytes_per_cycle"]]
    held = layer["accesses"].get(memory["name"], {}).values()
    return sum(one[key] for one in held for key in limited or ports.values())


def _roof(x: Axis, y: Axis, peak: float, bandwidth: float | None) -> str:
    corners = [(x.low, peak), (x.high, peak)]
    if bandwidth:
        knee = min(max(peak / bandwidth, x.low), x.high)
        low = max(x.low, y.low / bandwidth)  # where the slope leaves the chart
        corners = [(low, low * bandwidth), (knee, min(peak, knee * bandwidth)), (x.high, peak)]
    return "M" + " L".join(f"{x.at(a)} {y.at(b)}" for a, b in corners)


def _point(index: int, layer: Json, intensity: float, x: Axis, y: Axis, most: float) -> Point:
    rate = layer["macs"] / layer["cycles"]
    radius = _SMALLEST + (_LARGEST - _SMALLEST) * (layer["energy_pj"] / most) ** 0.5
    label = (
        f"{layer['name']}: {digits(intensity)} MACs per byte, {digits(rate)} MACs per cycle, "
        f"{amount(layer['cycles'])} cycles set by {layer['bound']}"
    )
    at = x.at(intensity), y.at(rate)
    return Point(index, *at, round(radius, 1), label, layer["bound"])
