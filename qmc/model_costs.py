"""Costs of layers at every width as a learned or calibrated cost model sees them.

The mappings are those that the exact search proves best in the analytical model; their costs are
predictions of another: of the learned model that ships with qmc, or of one that somebody's
measurements corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qmc.bit_costs import LayerCosts
from qmc.cost_models.calibrated_model import CalibratedModel
from qmc.cost_models.features import describe_mappings
from qmc.cost_models.xgboost_model import LearnedModel
from qmc.layer import Layer, Precision
from qmc.network import Network
from qmc.targets import Target
from qmc.width_classes import Triple
from qmc.width_table import WidthEntry, WidthTable


def predicted_costs(
    network: Network,
    target: Target,
    tables: Sequence[WidthTable],
    model: LearnedModel | CalibratedModel,
) -> dict[str, LayerCosts]:
    """Energy in pJ and cycles of every layer with weights at every triple of widths.

    Args:
        network: its layers.
        target: the machine.
        tables: best mappings; each layer is in one of them.
        model: what predicts.

    Raises:
        CostModelError: the model was calibrated for another machine.
    """
    if isinstance(model, CalibratedModel):
        model.check_target(target)
    found: dict[str, dict[Triple, WidthEntry]] = {}
    for table in tables:
        for (name, triple), entry in table.entries.items():
            found.setdefault(name, {})[triple] = entry
    return {name: _of_layer(network.layer(name), target, row, model) for name, row in found.items()}


def _of_layer(
    layer: Layer,
    target: Target,
    entries: Mapping[Triple, WidthEntry],
    model: LearnedModel | CalibratedModel,
) -> LayerCosts:
    described = [
        describe_mappings(layer, Precision(*triple, target.psum_bits), target, [entry.mapping])
        for triple, entry in entries.items()
        if entry.mapping is not None
    ]
    rows = np.concatenate([features for features, _ in described])
    if isinstance(model, LearnedModel):
        logs = model.log_costs(rows, np.concatenate([estimates for _, estimates in described]))
    else:
        own = [(entry.energy_pj, entry.cycles) for entry in entries.values()]
        logs = model.corrected(np.log(np.array(own, dtype=np.float64)), rows)
    return {
        triple: (float(energy), max(1, round(float(cycles))))
        for triple, (energy, cycles) in zip(entries, np.exp(logs), strict=True)
    }


def told_error(model: LearnedModel | CalibratedModel, target: Target) -> str:
    """One sentence: that costs are predictions, and how far these are off."""
    if isinstance(model, LearnedModel):
        told = model.expected_error(Precision(8, 8, 8, target.psum_bits), target)
        how = f"the learned model, on {told['held_out']} that training had not seen"
        return (
            f"costs are predictions of {how} {100 * told['error_median']:.1f} % off in the median "
            f"and {100 * told['error_p95']:.1f} % at the 95th percentile"
        )
    error = model.expected_error()
    figures = ", ".join(f"{k} {v:.3g}" for k, v in error.items() if isinstance(v, float))
    return f"costs are predictions, {model.quantity} calibrated by {error['by']}: {figures}"
