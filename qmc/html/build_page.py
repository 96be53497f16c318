"""What the page of a build shows, worked out from its report: rows, bars, boxes, charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmc.html.bars import Segment, cycle_bar, energy_bar, memory_colours, totals_by_memory
from qmc.html.nest_boxes import Box, nest_boxes
from qmc.html.numbers import picojoule, share
from qmc.html.roofline import roofline
from qmc.html.widths_strip import layer_strip

Json = dict[str, Any]

_OBJECTIVES = {"edp": "EDP", "energy": "energy", "latency": "cycles"}
#: SQNR of a full bar, dB.
_FULL_DB = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One layer.

    Attributes:
        index: place in the network.
        key: path of the layer in the report.
        layer: its entry.
        energy, cycles: bars.
        gain: energy against 8 bits, for sorting.
        proof, proof_sentence: how the mapping was found, short and long.
        boxes: the loop nest.
        sqnr_percent, own_percent: lengths of the bars of damage.
    """

    index: int
    key: str
    layer: Json
    energy: tuple[Segment, ...]
    cycles: tuple[Segment, ...]
    gain: float
    proof: str
    proof_sentence: str
    boxes: tuple[Box, ...]
    sqnr_percent: float
    own_percent: float


def build_values(report: Json) -> Json:
    """The values of the template ``build.html``."""
    layers = report["layers"]
    colours = memory_colours(report)
    rows = _rows(report, colours)
    totals = totals_by_memory(layers)
    whole: Json = {"energy_pj": sum(totals.values()), "energy_by_memory_pj": totals}
    flows = report["network"].get("baselines") or {}
    return {
        "report": report,
        "rows": rows,
        "colours": colours,
        "strip": layer_strip(layers),
        "total_bar": energy_bar(whole, colours, whole["energy_pj"]),
        "legend": [(name, colours[name], picojoule(energy)) for name, energy in totals.items()],
        "roofline": roofline(report),
        "damage": _worst_first(rows),
        "first": max(range(len(layers)), key=lambda i: layers[i]["energy_pj"], default=0),
        "objective": _OBJECTIVES.get(report.get("objective", "edp"), "EDP"),
        "proofs": _proofs(layers),
        "most_times": max([1.0, *(one.get("times", 0.0) for one in flows.values())]),
        "sections": _sections(report),
    }


def _rows(report: Json, colours: Mapping[str, str]) -> tuple[Row, ...]:
    layers = report["layers"]
    most = max((layer["energy_pj"] for layer in layers), default=0.0)
    longest = max((layer["cycles"] for layer in layers), default=0)
    return tuple(
        Row(
            index=index,
            key=f"layers.{index}",
            layer=layer,
            energy=energy_bar(layer, colours, most),
            cycles=cycle_bar(layer, colours, longest),
            gain=_gain(layer),
            proof=_proof(layer["certificate"]),
            proof_sentence=_proof_sentence(layer["certificate"]),
            boxes=nest_boxes(layer, report["target"], colours),
            sqnr_percent=_length(layer.get("sqnr_db")),
            own_percent=_length(layer.get("own_sqnr_db")),
        )
        for index, layer in enumerate(layers)
    )


def _gain(layer: Json) -> float:
    eight = layer.get("at_8_bits")
    return layer["energy_pj"] / eight["energy_pj"] - 1 if eight and eight["energy_pj"] else 0.0


def _length(decibel: float | None) -> float:
    """Of a bar; no difference at all fills it."""
    return 100.0 if decibel is None else min(100.0, max(0.0, share(decibel, _FULL_DB)))


def _proof(certificate: Json) -> str:
    if not certificate:
        return ""
    if certificate["proved"]:
        return "proof"
    gap = certificate["gap"]
    return "search" if gap is None else f"gap {100 * gap:.3g} %"


def _proof_sentence(certificate: Json) -> str:
    if not certificate:
        return ""
    if certificate["proved"]:
        return "proved: no mapping of the space is better"
    gap = certificate["gap"]
    told = "the best that was found"
    return told if gap is None else f"{told}; at most {100 * gap:.3g} % above the best there is"


def _proofs(layers: Sequence[Json]) -> str:
    found = [layer["certificate"] for layer in layers if layer["certificate"]]
    return f"{sum(bool(one['proved']) for one in found)} of {len(found)}"


def _worst_first(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Layers whose output differs from float, least SQNR first."""
    damaged = [row for row in rows if row.layer.get("sqnr_db") is not None]
    return tuple(sorted(damaged, key=lambda row: row.layer["sqnr_db"]))


def _sections(report: Json) -> tuple[tuple[str, str], ...]:
    """Anchors and names of the parts that the page has."""
    network, layers = report["network"], report["layers"]
    parts = (
        ("summary", "Summary", True),
        ("widths", "Widths", True),
        ("layers", "Energy and time", True),
        ("layer", "Loop nest", True),
        ("roofline", "Roofline", roofline(report) is not None),
        ("damage", "Damage", any(one.get("sqnr_db") is not None for one in layers)),
        ("eight", "Against 8 bit", bool(network.get("at_8_bits"))),
        ("dataflows", "Dataflows", bool(network.get("baselines"))),
        ("verdicts", "Verdicts", True),
        ("provenance", "Provenance", True),
    )
    return tuple((anchor, name) for anchor, name, present in parts if present)
