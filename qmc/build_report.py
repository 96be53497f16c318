"""The object of report.json: everything that a compilation chose and found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qmc import report
from qmc.codegen import Program
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import CalibratedModel
from qmc.damage import Damage
from qmc.evaluation import Accuracy
from qmc.layer_text import parse_latency
from qmc.network import Network
from qmc.options import Options
from qmc.plan import file_sha256
from qmc.pricing import Priced
from qmc.scheme import Scheme
from qmc.targets import Target
from qmc.verify import VerifyResult


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about the emitted program.

    Attributes:
        verified: how it compares with the reference; None unverified.
        accuracy: on labelled images, if there were any.
        damage: of every layer, by name.
        on_images: the damage was measured on images, not on random inputs.
    """

    verified: VerifyResult | None
    accuracy: Accuracy | None
    damage: Mapping[str, Damage]
    on_images: bool


def build_report(
    options: Options,
    network: Network,
    scheme: Scheme,
    target: Target,
    priced: tuple[Priced, ...],
    program: Program,
    known: Findings,
    rules: AnalyticalModel | CalibratedModel,
) -> dict[str, Any]:
    """The object of report.json; ``rules`` priced the mappings."""
    bounds = {one.integer.layer.name: one.integer.accumulator_bound for one in program.kernels}
    layers = [
        one.entry(target, options.optimize)
        | {"accumulator_bound": bounds[one.layer.name] or None}
        | asdict(known.damage[one.layer.name])
        for one in priced
    ]
    accuracy = known.accuracy
    measured = {
        "max_cycles": max_cycles(options, target),
        "flash_bytes": program.flash_bytes,
        "weight_bytes": program.weight_bytes,
        "ram_peak_bytes": program.ram_peak_bytes,
        "top1": accuracy.top1 if accuracy else None,
        "top1_float": accuracy.top1_float if accuracy else None,
        "agreement": accuracy.agreement if accuracy else None,
        "images": accuracy.images if accuracy else 0,
        "sqnr_inputs": "images" if known.on_images else "random",
        "verified": known.verified and known.verified.data(),
        **_variants(program),
    }
    return {
        "network": report.network_entry(network.name, layers, target, measured, options.optimize),
        "layers": layers,
        "target": report.target_entry(target),
        "objective": options.optimize.value,
        "model": {"file": options.model.name, "sha256": file_sha256(options.model)},
        "versions": report.versions(),
        "seed": options.seed,
        "notes": list(scheme.notes),
        "provenance": report.provenance(rules),
    }


def _variants(program: Program) -> dict[str, Any]:
    """What each variant of the program takes, where it has several."""
    if len(program.variants) == 1:
        return {}
    shared = program.constants.names
    return {
        "variants": [
            {
                "name": one.machine,
                "flash_bytes": sum(c.size_bytes for c in one.constants),
                "shared_bytes": sum(c.size_bytes for c in one.constants if c.name in shared),
                "ram_peak_bytes": one.memory.peak_bytes,
            }
            for one in program.variants
        ]
    }


def max_cycles(options: Options, target: Target) -> int | None:
    """The limit on latency in cycles of the target.

    Raises:
        DataError: it is no time.
    """
    limit = options.max_latency
    return None if limit is None else parse_latency(limit, target.clock_hz)
