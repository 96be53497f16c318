"""``qmc diff``: two builds or plans, layer by layer: widths, costs, mappings, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmc.edited_files import as_written
from qmc.errors import DataError
from qmc.plan import load_plan, load_report
from qmc.yaml_input import read_yaml

Json = dict[str, Any]

#: Figures of a network that are compared, in the order they are shown.
NETWORK_FIGURES = (
    *("energy_uj", "cycles", "latency_ms", "edp_pj_cycles", "flash_bytes", "ram_peak_bytes"),
    *("top1", "top1_float", "agreement"),
)
#: Figures of a layer.
LAYER_FIGURES = ("w_bits", "a_bits", "o_bits", "energy_pj", "cycles", "sqnr_db")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Attributes:
        path: as the user gave it.
        header: network, target, model and qmc version, whose difference is worth a word.
        network: figures of the network; empty of a plan that was not built.
        layers: figures of each layer by name, in order.
        mappings: of each layer by name, as plain data.
    """

    path: str
    header: Mapping[str, Any]
    network: Mapping[str, Any]
    layers: Mapping[str, Json]
    mappings: Mapping[str, list[Json]]


def diff(first: Path, second: Path) -> Json:
    """Compare two builds or plans.

    Args:
        first: folder made by ``qmc compile``, folder of a plan, or a plan.yaml.
        second: what it is compared with.

    Returns:
        ``{"a", "b", "notes", "network": {figure: {"a", "b", "change"}}, "layers": [...]}``;
        ``change`` is b - a, ``relative`` that over a.

    Raises:
        DataError: one of them is neither, or is damaged.
    """
    with as_written(first, second):
        return _compare(load_side(first), load_side(second))


def _compare(a: Side, b: Side) -> Json:
    names = list(dict.fromkeys([*a.layers, *b.layers]))
    return {
        "a": {"path": a.path, **a.header},
        "b": {"path": b.path, **b.header},
        "notes": _notes(a, b),
        "network": _figures(a.network, b.network, NETWORK_FIGURES),
        "layers": [_layer(name, a, b) for name in names],
    }


def load_side(path: Path) -> Side:
    """A build by its report, or a plan by plan.yaml and the scheme.yaml beside it.

    Raises:
        DataError: it is neither.
    """
    folder = path.parent if path.name == "plan.yaml" else path
    if (folder / "report.json").is_file():
        return _of_report(path, load_report(folder))
    if (folder / "plan.yaml").is_file():
        return _of_plan(path, load_plan(folder), folder / "scheme.yaml")
    raise DataError(f"{path}: found no report.json or plan.yaml; allowed: a build or a plan")


def _of_report(path: Path, report: Json) -> Side:
    header = {
        "network": report["network"].get("name"),
        "target": report["target"]["name"],
        "target_sha256": report["target"].get("sha256"),
        "model_sha256": report.get("model", {}).get("sha256"),
        "qmc": report.get("versions", {}).get("qmc"),
    }
    layers = {layer["name"]: layer for layer in report["layers"]}
    mappings = {name: layer["mapping"] for name, layer in layers.items() if layer["mapping"]}
    return Side(str(path), header, report["network"], layers, mappings)


def _of_plan(path: Path, plan: Json, scheme_file: Path) -> Side:
    try:
        header = {
            "network": None,
            "target": plan["target"]["name"],
            "target_sha256": plan["target"]["sha256"],
            "model_sha256": plan["model"]["sha256"],
            "qmc": plan["qmc"],
        }
        mappings = dict(plan["mappings"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a plan of qmc: {error!r}") from error
    weights = _weights(scheme_file)
    layers = {name: {"w_bits": weights.get(name)} for name in mappings}
    return Side(str(path), header, {}, layers, mappings)


def _weights(scheme_file: Path) -> dict[str, int]:
    """Widths of weights by layer; empty without a scheme."""
    if not scheme_file.is_file():
        return {}
    scheme = read_yaml(scheme_file, DataError)
    entries = scheme.get("weights") if isinstance(scheme, dict) else None
    if not isinstance(entries, dict):
        raise DataError(f"{scheme_file}: weights: found {entries!r:.40}; allowed: a table by layer")
    return {name: entry["bits"] for name, entry in entries.items() if "bits" in entry}


def _notes(a: Side, b: Side) -> list[str]:
    """What else differs, beside the choices that are compared."""
    told = {
        "network": "networks",
        "model_sha256": "model files",
        "target_sha256": "targets",
        "qmc": "versions of qmc",
    }
    return [
        f"different {what}: {_short(a.header[key])} and {_short(b.header[key])}"
        for key, what in told.items()
        if None not in (a.header[key], b.header[key]) and a.header[key] != b.header[key]
    ]


def _short(text: str) -> str:
    return text[:12] if len(text) == 64 else text


def _layer(name: str, a: Side, b: Side) -> Json:
    here, there = a.layers.get(name), b.layers.get(name)
    place = "both" if here is not None and there is not None else "a" if there is None else "b"
    figures = _figures(here or {}, there or {}, LAYER_FIGURES)
    changes = mapping_changes(a.mappings.get(name), b.mappings.get(name))
    return {"name": name, "in": place, **figures, "mapping_changes": changes}


def _figures(a: Mapping[str, Any], b: Mapping[str, Any], keys: tuple[str, ...]) -> Json:
    """Both values of every figure that one of them has, and the change between numbers."""
    return {
        key: _change(a.get(key), b.get(key))
        for key in keys
        if a.get(key) is not None or b.get(key) is not None
    }


def _change(a: float | None, b: float | None) -> Json:
    if a is None or b is None:
        return {"a": a, "b": b, "change": None, "relative": None}
    return {"a": a, "b": b, "change": b - a, "relative": (b - a) / a if a else None}


def mapping_changes(a: list[Json] | None, b: list[Json] | None) -> list[str]:
    """What differs between two mappings, a sentence for each memory; empty where nothing does."""
    if a is None or b is None:
        return [] if a is b else ["no mapping on one side"]
    levels = list(dict.fromkeys(level["level"] for level in (*a, *b)))
    here, there = ({level["level"]: level for level in side} for side in (a, b))
    changes = []
    for level in levels:
        before, after = here.get(level), there.get(level)
        if before is None or after is None:
            changes.append(f"{level}: in one mapping only")
        elif before != after:
            changes.append(f"{level}: {_level_text(before)} -> {_level_text(after)}")
    return changes


def _level_text(level: Json) -> str:
    """``keeps W I; K8 C4; parallel K4x``."""
    parts = ["keeps " + (" ".join(level["keep"]) or "nothing")]
    if level["temporal"]:
        parts.append(" ".join(f"{dim}{extent}" for dim, extent in level["temporal"]))
    if level["spatial"]:
        loops = " ".join(f"{dim}{extent}{axis}" for dim, extent, axis in level["spatial"])
        parts.append(f"parallel {loops}")
    return "; ".join(parts)
