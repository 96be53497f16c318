"""The report of a build: plain data with the keys of docs/report.md, the same as CSV."""

from __future__ import annotations

import csv
import io
import math
import platform
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import qmc
from qmc.baselines import network_baselines
from qmc.cost_models.base import Cost, CostModel
from qmc.cost_models.calibrated_model import CalibratedModel, Quantity
from qmc.layer import Layer, LoopDim, Precision
from qmc.layer_figures import accesses_data, cycles_by_bound
from qmc.mapping import Mapping
from qmc.mapping_text import mapping_to_data
from qmc.search_result import Certificate, Objective, SearchResult
from qmc.targets.target import MemoryLevel, Target

Json = dict[str, Any]

#: What each group of numbers is, printed wherever they are shown.
PROVENANCE = {
    "energy": "modelled: analytical model of the target",
    "cycles": "modelled: analytical model of the target",
    "top1": "measured by the emitted integer network",
    "top1_float": "measured by ONNX Runtime on the float model",
    "ram_peak_bytes": "exact: the arena of the emitted program",
    "flash_bytes": "exact: packed weights and constants of the emitted program",
}


def provenance(model: CostModel) -> Dict[str, str]:
    """What each group of numbers is when ``model`` prices the mappings."""
    if not isinstance(model, CalibratedModel):
        return PROVENANCE
    corrected = "cycles" if model.quantity is Quantity.CYCLES else "energy"
    told = "modelled: analytical model of the target, corrected by measurements"
    return PROVENANCE | {corrected: told}


def layer_entry(
    layer: Layer,
    precision: Precision,
    result: SearchResult | Cost,
    target: Target,
    verdict: str,
    mapping: Mapping | None = None,
) -> Json:
    """One entry of ``layers``; also what ``qmc map`` and ``qmc evaluate`` print.

    Args:
        layer: what was priced.
        precision: its widths.
        target: the machine.
        result: of the search, or the cost of a layer that was not searched.
        verdict: one sentence.
        mapping: that ``result`` is the cost of, if it is no search's.
    """
    cost, certificate = result, {}
    if isinstance(result, SearchResult):
        cost, mapping = result.cost, result.mapping
        certificate = certificate_data(result.certificate)
    assert isinstance(cost, Cost)
    return {
        "name": layer.name,
        "op": layer.op.value,
        "macs": layer.macs,
        "bounds": {dim.value: layer.bounds[dim] for dim in LoopDim},
        "w_bits": precision.weight_bits if layer.has_weights else None,
        "a_bits": precision.input_bits,
        "o_bits": precision.output_bits,
        "psum_bits": precision.psum_bits if layer.has_weights else None,
        "energy_pj": cost.energy_pj,
        "cycles": cost.cycles,
        "edp_pj_cycles": cost.edp_pj_cycles,
        "utilization": cost.utilization,
        "bound": cost.bound,
        "cycles_by_bound": cycles_by_bound(cost, target, mapping, precision),
        "energy_by_memory_pj": dict(cost.energy_by_memory_pj),
        "accesses": accesses_data(cost, target),
        "mapping": [] if mapping is None else mapping_to_data(mapping),
        "certificate": certificate,
        "verdict": verdict,
    }


def certificate_data(certificate: Certificate) -> Json:
    """The certificate without its running time, which is not reproducible."""
    told: Json = {
        "space": certificate.space,
        "factors": certificate.factors,
        "orders": certificate.orders,
        "keep_choices": certificate.keep_choices,
        "keep_choices_cut": certificate.keep_choices_cut,
        "max_cycles": certificate.max_cycles,
        "visited": certificate.visited,
        "evaluated": certificate.evaluated,
        "pruned": dict(certificate.pruned),
        "lower_bound": certificate.lower_bound,
        "best": certificate.best,
        "proved": certificate.proved,
        "gap": certificate.gap if math.isfinite(certificate.gap) else None,
    }
    if certificate.expected:
        told["expected"] = dict(certificate.expected)
    return told | ({"note": certificate.note} if certificate.note else {})


def verdict(layer: Layer, cost: Cost, reference: Cost | None) -> str:
    """One sentence: what holds the layer back, and what its widths gain over 8 bits here."""
    memory, energy = max(cost.energy_by_memory_pj.items(), key=lambda item: item[1])
    share = 100 * energy / cost.energy_pj if cost.energy_pj else 0.0
    text = f"{memory} takes {share:.0f} % of the energy, {cost.bound} sets the cycles"
    if reference is None or not layer.has_weights:
        return text
    saved = 100 * (cost.energy_pj / reference.energy_pj - 1)
    faster = 100 * (cost.cycles / reference.cycles - 1)
    if abs(saved) < 0.05 and abs(faster) < 0.05:
        return f"no gain over w8a8 on this machine; {text}"
    return f"{saved:+.1f} % energy, {faster:+.1f} % cycles against w8a8; {text}"


def network_entry(
    name: str, layers: Sequence[Json], target: Target, measured: Json, objective: Objective
) -> Json:
    """The ``network`` object: sums over layers and what was measured.

    EDP is network energy times network cycles, not a sum; BOPs = MACs * w_bits * a_bits.
    """
    energy_pj = sum(layer["energy_pj"] for layer in layers)
    cycles = sum(layer["cycles"] for layer in layers)
    return {
        "name": name,
        "macs": sum(layer["macs"] for layer in layers),
        "bops": sum(layer["macs"] * (layer["w_bits"] or 0) * layer["a_bits"] for layer in layers),
        "energy_uj": energy_pj / 1e6,
        "cycles": cycles,
        "latency_ms": 1e3 * cycles / target.clock_hz,
        "edp_pj_cycles": energy_pj * cycles,
        "at_8_bits": _network_at_8_bits(layers),
        "baselines": network_baselines(layers, objective),
        **measured,
    }


def _network_at_8_bits(layers: Sequence[Json]) -> Json | None:
    """Energy, cycles and EDP of all layers at w8a8; None where one has no mapping there."""
    known = [layer["at_8_bits"] for layer in layers if layer.get("at_8_bits")]
    if len(known) < len(layers):
        return None
    energy_pj = sum(one["energy_pj"] for one in known)
    cycles = sum(one["cycles"] for one in known)
    return {
        "energy_uj": energy_pj / 1e6,
        "cycles": cycles,
        "edp_pj_cycles": energy_pj * cycles,
    }


def target_entry(target: Target) -> Json:
    """The ``target`` object: what the roofline and the loop nests are drawn on."""
    return {
        "name": target.name,
        "sha256": target.sha256,
        "clock_hz": target.clock_hz,
        "description": target.description,
        "macs_per_cycle": target.mac.instances / target.mac.cycles,
        "memories": [_memory_entry(level) for level in target.memories],
        "sources": dict(target.sources),
    }


def _memory_entry(level: MemoryLevel) -> Json:
    """One memory; bandwidths are those of all instances together, None where unlimited."""
    return {
        "name": level.name,
        "instances": level.instances,
        "size_bytes": level.size_bytes,
        "word_bits": level.word_bits,
        "fanout": [level.fanout_x, level.fanout_y],
        "read_bytes_per_cycle": _bytes_per_cycle(level, level.read_bandwidth),
        "write_bytes_per_cycle": _bytes_per_cycle(level, level.write_bandwidth),
    }


def _bytes_per_cycle(level: MemoryLevel, words: float | None) -> float | None:
    return None if words is None else words * level.word_bits / 8 * level.instances


def versions() -> Json:
    """Versions of everything that decides the bytes."""
    packages = ("apache-tvm", "apache-tvm-ffi", "numpy", "onnx", "onnxruntime")
    found = {name: metadata.version(name) for name in packages}
    return {"qmc": qmc.__version__, "python": platform.python_version(), **found}


def to_csv(layers: Sequence[Json]) -> str:
    """Flat columns of every layer, one line each."""
    memories = sorted({memory for layer in layers for memory in layer["energy_by_memory_pj"]})
    flows = list(dict.fromkeys(flow for layer in layers for flow in layer["baselines"]))
    plain = [
        *("name", "op", "macs", "w_bits", "a_bits", "o_bits", "psum_bits"),
        *("energy_pj", "cycles", "edp_pj_cycles", "utilization", "bound"),
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"energy_{memory}_pj" for memory in memories]
    writer.writerow([*plain, *names, "gap", *(f"times_{flow}" for flow in flows), "verdict"])
    for layer in layers:
        energies: Dict[str, float] = layer["energy_by_memory_pj"]
        cells = [layer[key] for key in plain]
        cells += [energies.get(memory, 0.0) for memory in memories]
        cells.append(layer["certificate"].get("gap"))
        cells += [(layer["baselines"].get(flow) or {}).get("times") for flow in flows]
        writer.writerow([*cells, layer["verdict"]])
    return text.getvalue()
