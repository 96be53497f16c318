"""The learned cost model: gradient-boosted trees that correct a cheap estimate.

Two ensembles predict the natural logarithm of (true / estimated) energy and cycles from the
features of :mod:`qmc.cost_models.features`; a prediction is the estimate times that ratio. The
model that ships with qmc learned from the analytical model: ``learned.md`` is its card,
``learned.json`` says what it was trained on and how far it was off where it was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.cost_models.features import FEATURES, VERSION, describe_mappings
from qmc.errors import CostModelError
from qmc.layer import Layer, Precision
from qmc.mapping import Mapping
from qmc.targets.target import Target

#: What is predicted, in the order of the columns of estimates.
QUANTITIES = ("energy", "cycles")
#: Figures of the card that every search reports.
EXPECTED = ("error_median", "error_p95", "regret_median", "regret_p95")
_FOLDER = Path(__file__).parent

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LearnedModel:
    """Trees for energy and cycles, and what is known of their errors.

    Attributes:
        energy, cycles: XGBoost boosters.
        card: what learned.json holds: training set, error on what was held out.
    """

    energy: Any
    cycles: Any
    card: Dict[str, Any]

    def log_costs(self, rows: Rows, estimates: Floats) -> Floats:
        """Natural logarithms of predicted energy in pJ and cycles, (count, 2)."""
        ratios = [predict(booster, rows) for booster in (self.energy, self.cycles)]
        logs: Floats = np.log(estimates) + np.stack(ratios, axis=1)
        return logs

    def evaluate(
        self, layer: Layer, precision: Precision, target: Target, mapping: Mapping
    ) -> Cost:
        """Predicted cost of ``mapping``; accesses are not predicted.

        Raises:
            CapacityError: a tile does not fit the memory it is kept in.
        """
        rows, estimates = describe_mappings(layer, precision, target, [mapping])
        if not np.isfinite(estimates).all():
            AnalyticalModel().evaluate(layer, precision, target, mapping)  # raises, saying where
            raise AssertionError(f"{layer.name}: the features find no room, the cost model does")
        energy, cycles = np.exp(self.log_costs(rows, estimates)[0])
        mac = layer.macs * target.mac.energy_of(precision)
        parts = {"memories": max(0.0, float(energy) - mac), "mac": min(mac, float(energy))}
        return Cost(float(energy), max(1, round(float(cycles))), "predicted", parts, {})

    def expected_error(self, precision: Precision, target: Target) -> dict[str, Any]:
        """Error of predictions and regret to expect, from what was held out in training.

        The figures are those of machines held out where training has not seen the machine, of
        widths held out where it has not seen one of them, of layers held out otherwise.
        """
        trained = self.card["training"]
        widths = {precision.weight_bits, precision.input_bits, precision.output_bits}
        scope = "layers"
        if not widths <= set(trained["widths"]):
            scope = "widths"
        if target.sha256 not in trained["machines"].values():
            scope = "machines"
        figures = self.card["held_out"][scope]
        told = {name: figures[name] for name in EXPECTED if name in figures}
        return {"held_out": scope, **told}


def predict(booster: Any, rows: Rows) -> Floats:
    """Predictions of one booster, the same on every number of cores."""
    values: Floats = np.asarray(booster.inplace_predict(rows), np.float64)
    return values


@lru_cache(maxsize=1)
def shipped_model() -> LearnedModel:
    """The model that ships with qmc.

    Raises:
        CostModelError: its files are damaged, or of another version of the features.
    """
    return load_model(_FOLDER)


def load_model(folder: Path) -> LearnedModel:
    """The model in ``learned.json`` and ``learned_energy.ubj``, ``learned_cycles.ubj`` of a folder.

    Raises:
        CostModelError: a file is missing, damaged, or of another version of the features.
    """
    path = folder / "learned.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version, hashes = card["features"]["version"], card["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CostModelError(f"{path}: not a model card: {type(error).__name__}") from None
    if version != VERSION or card["features"]["names"] != list(FEATURES):
        raise CostModelError(f"{path}: features of version {version}; allowed: {VERSION}")
    energy, cycles = (
        _read_booster(folder / f"learned_{what}.ubj", hashes.get(what)) for what in QUANTITIES
    )
    return LearnedModel(energy, cycles, card)


def _read_booster(path: Path, sha256: object) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CostModelError(f"{path}: cannot be read: {error.strerror}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CostModelError(f"{path}: damaged: found sha256 {found[:12]}; allowed: {sha256!s:.12}")
    return booster_of(data, path)


def booster_of(data: bytes, where: Path | str) -> Any:
    """A booster of the bytes that XGBoost saved.

    Raises:
        CostModelError: they are none, or expect other features.
    """
    import xgboost

    try:
        booster = xgboost.Booster(model_file=bytearray(data))
        booster.set_param({"nthread": 1})
        width = booster.num_features()
    except xgboost.core.XGBoostError:
        raise CostModelError(f"{where}: not a model of XGBoost") from None
    if width != len(FEATURES):
        raise CostModelError(f"{where}: {width} features; allowed: {len(FEATURES)}")
    return booster
