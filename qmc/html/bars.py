"""Stacked bars: the energy of a layer by memory, its cycles by what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmc.html.numbers import amount, picojoule, share

Json = dict[str, Any]

#: Colours of memories that the style sheet has.
_MEMORY_COLOURS = 8
_NETWORK = " network"
_PORTS = (" read bandwidth", " write bandwidth")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar.

    Attributes:
        colour: class of the style sheet.
        percent: of the full width.
        label: what it is and how much.
    """

    colour: str
    percent: float
    label: str


def memory_colours(report: Json) -> dict[str, str]:
    """A colour class for every key of ``energy_by_memory_pj``, memories outermost first."""
    names = [memory["name"] for memory in report["target"].get("memories", ())]
    for layer in report["layers"]:
        names += [name for name in layer["energy_by_memory_pj"] if name not in names]
    memories = [name for name in names if not is_extra(name)]
    colours = {name: f"c{index % _MEMORY_COLOURS}" for index, name in enumerate(memories)}
    for name in names:
        if name.endswith(_NETWORK):
            colours[name] = colours.get(name.removesuffix(_NETWORK), "c0") + " wires"
        elif is_extra(name):
            colours[name] = "mac" if name == "mac" else "leakage"
    return colours


def is_extra(name: str) -> bool:
    """Whether a key of ``energy_by_memory_pj`` is no memory."""
    return name in ("mac", "leakage") or name.endswith(_NETWORK)


def energy_bar(layer: Json, colours: Mapping[str, str], largest: float) -> tuple[Segment, ...]:
    """Energy by memory; ``largest`` is the energy of a full-width bar, pJ."""
    return tuple(
        Segment(
            colours.get(memory, "mac"),
            share(energy, largest),
            f"{memory} {picojoule(energy)}, {share(energy, layer['energy_pj']):.1f} %",
        )
        for memory, energy in layer["energy_by_memory_pj"].items()
        if energy
    )


def cycle_bar(layer: Json, colours: Mapping[str, str], largest: int) -> tuple[Segment, ...]:
    """Cycles of arithmetic, then those that the slowest memory port adds to them."""
    cycles = layer["cycles"]
    compute = min(cycles, layer.get("cycles_by_bound", {}).get("compute", cycles))
    memory = bounding_memory(layer["bound"])
    if memory is None:
        compute = cycles
    elif "compute" not in layer.get("cycles_by_bound", {}):
        compute = 0
    parts = [Segment("mac", share(compute, largest), f"arithmetic {amount(compute)} cycles")]
    if memory is not None and cycles > compute:
        label = f"{layer['bound']}: {amount(cycles - compute)} cycles more"
        parts.append(Segment(colours.get(memory, "c0"), share(cycles - compute, largest), label))
    return tuple(part for part in parts if part.percent)


def bounding_memory(bound: str) -> str | None:
    """The memory in ``<memory> read bandwidth``; None of ``compute``."""
    for port in _PORTS:
        if bound.endswith(port):
            return bound.removesuffix(port)
    return None


def totals_by_memory(layers: Sequence[Json]) -> dict[str, float]:
    """Energy of the whole network by memory, pJ."""
    totals: dict[str, float] = {}
    for layer in layers:
        for memory, energy in layer["energy_by_memory_pj"].items():
            totals[memory] = totals.get(memory, 0.0) + energy
    return {memory: energy for memory, energy in totals.items() if energy}
