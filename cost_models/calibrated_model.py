"""The analytical model corrected by somebody's measurements.

A calibration holds a scale, and trees for what the scale leaves where there were records enough:
measured = modelled x scale x exp(trees(features)). It is made by ``qmc calibrate``
(:mod:`qmc.calibrate_command`) and holds for one machine, one quantity.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.cost_models.features import FEATURES, VERSION, describe_mappings
from qmc.cost_models.xgboost_model import Floats, Rows, booster_of, predict
from qmc.errors import CostModelError
from qmc.layer import Layer, Precision
from qmc.mapping import Mapping
from qmc.targets.target import Target

FORMAT = "qmc-cost-model"
_VERSION = 1
_LARGEST_BYTES = 16 << 20


class Quantity(StrEnum):
    """What was measured."""

    CYCLES = "cycles"
    ENERGY_PJ = "energy_pj"


@dataclass(frozen=True, slots=True)
class CalibratedModel:
    """A cost model that agrees with measurements as well as they allow.

    Attributes:
        quantity: what is corrected; the other stays as modelled.
        scale: measured over modelled.
        trees: what XGBoost saved, as JSON text; empty where a scale has to do.
        target_sha256: the machine that was measured.
        error: relative errors by cross-validation; see :func:`expected_error`.
        base: what is corrected.
    """

    quantity: Quantity
    scale: float
    trees: str
    target_sha256: str
    error: Dict[str, Any]
    base: AnalyticalModel = field(default_factory=AnalyticalModel)

    @property
    def is_scale(self) -> bool:
        """Whether every mapping has the same correction, so that the order of costs stays."""
        return not self.trees

    def evaluate(
        self, layer: Layer, precision: Precision, target: Target, mapping: Mapping
    ) -> Cost:
        """Cost of ``mapping``; where energy is corrected, that of every memory by one factor.

        Raises:
            MappingError: the mapping is not legal for the layer and machine.
            CostModelError: the calibration is of another machine.
        """
        self.check_target(target)
        cost = self.base.evaluate(layer, precision, target, mapping)
        if not layer.has_weights:
            return cost
        rows = np.zeros((1, len(FEATURES)), np.float32)
        if self.trees:
            rows, _ = describe_mappings(layer, precision, target, [mapping])
        factor = math.exp(float(self.log_factors(rows)[0]))
        if self.quantity is Quantity.CYCLES:
            return replace(cost, cycles=max(1, round(cost.cycles * factor)))
        parts = {name: energy * factor for name, energy in cost.energy_by_memory_pj.items()}
        return replace(cost, energy_pj=cost.energy_pj * factor, energy_by_memory_pj=parts)

    def log_factors(self, rows: Rows) -> Floats:
        """Natural logarithms of measured over modelled, (count,)."""
        factors: Floats = np.full(len(rows), math.log(self.scale))
        if self.trees:
            factors += predict(_booster(self.trees), rows)
        return factors

    def corrected(self, logs: Floats, rows: Rows) -> Floats:
        """Corrected logarithms of energy and cycles, (count, 2)."""
        column = 1 if self.quantity is Quantity.CYCLES else 0
        changed = logs.copy()
        valid = np.isfinite(logs[:, column])
        changed[valid, column] += self.log_factors(rows[valid])
        return changed

    def expected_error(self) -> dict[str, Any]:
        """What a report says of costs under this calibration."""
        kind = "scale" if self.is_scale else "trees"
        return {"calibrated": self.quantity.value, "by": kind, **self.error}

    def check_target(self, target: Target) -> None:
        """Refuse a machine that was not measured.

        Raises:
            CostModelError: its description has another hash.
        """
        if target.sha256 != self.target_sha256:
            raise CostModelError(
                f"target '{target.name}': found sha256 {target.sha256[:12]}; allowed: "
                f"{self.target_sha256[:12]}, which the cost model was calibrated for"
            )


@lru_cache(maxsize=4)
def _booster(trees: str) -> Any:
    return booster_of(trees.encode(), "calibration")


def save_calibration(model: CalibratedModel, path: Path, target_name: str) -> None:
    """Write a calibration.

    Raises:
        OSError: the file cannot be written.
    """
    body = {
        "format": FORMAT,
        "version": _VERSION,
        "features": VERSION,
        "target": {"name": target_name, "sha256": model.target_sha256},
        "quantity": model.quantity.value,
        "scale": model.scale,
        "trees": json.loads(model.trees) if model.trees else None,
        "error": dict(model.error),
    }
    path.write_text(json.dumps(body | {"sha256": _digest(body)}) + "\n", encoding="utf-8")


def load_calibration(path: Path) -> CalibratedModel:
    """The calibration in a file.

    Raises:
        CostModelError: it cannot be read, is none, is damaged, or has other features.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise CostModelError(
                f"{path}: larger than {_LARGEST_BYTES >> 20} MiB; not a cost model"
            )
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CostModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CostModelError(f"{path}: not a cost model written by qmc calibrate") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CostModelError(f"{path}: not a cost model written by qmc calibrate")
    if data.pop("sha256", None) != _digest(data):
        raise CostModelError(
            f"{path}: damaged: its content does not have the hash it was saved with"
        )
    versions = (data.get("version"), data.get("features"))
    if versions != (_VERSION, VERSION):
        raise CostModelError(f"{path}: versions {versions}; allowed: {(_VERSION, VERSION)}")
    trees = json.dumps(data["trees"]) if data["trees"] else ""
    if trees:
        booster_of(trees.encode(), path)
    return CalibratedModel(
        quantity=Quantity(data["quantity"]),
        scale=float(data["scale"]),
        trees=trees,
        target_sha256=str(data["target"]["sha256"]),
        error=data["error"],
    )


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
