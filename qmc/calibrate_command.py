"""``qmc calibrate``: fit the cost model to measurements; say how far it is off before and after.

Errors are of cross-validation: every group (layer, widths) is predicted by a model that has not
seen it. Trees are kept only where they predict better than a scale factor does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import CalibratedModel, Quantity, save_calibration
from qmc.cost_models.features import describe_mappings
from qmc.cost_models.xgboost_model import Floats, Rows, predict
from qmc.errors import DataError, OutputError, QmcError
from qmc.frontend import load_network
from qmc.layer import Layer
from qmc.measurements import Measurement, read_measurements
from qmc.schedule import Task, mapped, search_all
from qmc.targets import Target, load_target

Json = dict[str, Any]
#: So many records or fewer give a scale factor and no trees.
FEW = 8
_FOLDS = 10
_TREES = 80
_PARAMETERS: dict[str, Any] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_depth": 4,
    "learning_rate": 0.08,
    "min_child_weight": 2,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "nthread": 1,
}


@dataclass(frozen=True, slots=True)
class Records:
    """Measurements beside what the analytical model says.

    Attributes:
        rows: (count, features). residuals: (count,) logarithm of measured over modelled.
        groups: (count,) number of the (layer, widths) of each.
    """

    rows: Rows
    residuals: Floats
    groups: np.ndarray[Any, np.dtype[np.int64]]


def calibrate_target(
    target: str,
    file: Path,
    output: Path | None,
    quantity: str,
    model: Path | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> Json:
    """Fit to a CSV file of measurements and write the cost model.

    Args:
        target: the machine that was measured.
        file: see :mod:`qmc.measurements`.
        output: file to write; None: ``<target>-<quantity>.json`` beside the measurements.
        quantity: what was measured.
        model: ONNX file whose layers the records may name.
        seed: of the trees.
        jobs: threads of the searches for ``best``.

    Raises:
        QmcError: one of its classes, for a file that is wrong.
    """
    if quantity not in list(Quantity):
        raise QmcError(f"--quantity: found {quantity!r}; allowed: {', '.join(Quantity)}")
    what, machine = Quantity(quantity), load_target(target)
    layers: dict[str, Layer] = {}
    if model is not None:
        layers = {layer.name: layer for layer in load_network(model)[1].layers}
    measured = read_measurements(file, machine, what, layers)
    records = compare(measured, machine, what, jobs)
    fitted, data = fit(records, machine, what, seed)
    path = output or file.with_name(f"{machine.name}-{what.value}.json")
    try:
        save_calibration(fitted, path, machine.name)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    return {"target": machine.name, "file": str(path), "quantity": what.value, **data}


def compare(
    measured: Sequence[Measurement], target: Target, quantity: Quantity, jobs: int
) -> Records:
    """Price every record by the analytical model.

    Raises:
        DataError: a mapping is not legal for its layer.
    """
    model = AnalyticalModel()
    open_ones = [one for one in measured if one.mapping is None]
    tasks = [Task(one.layer, one.precision, target, model) for one in open_ones]
    outcomes = search_all(tasks, jobs=jobs)
    best = {one.where: found for one, found in zip(open_ones, outcomes, strict=True)}
    rows, residuals, groups = [], [], []
    numbers: dict[tuple[object, ...], int] = {}
    for one in measured:
        try:
            mapping = one.mapping or mapped(best[one.where]).mapping
            cost = model.evaluate(one.layer, one.precision, target, mapping)
        except QmcError as error:
            raise DataError(f"{one.where}: {error}") from None
        modelled = cost.cycles if quantity is Quantity.CYCLES else cost.energy_pj
        rows.append(describe_mappings(one.layer, one.precision, target, [mapping])[0][0])
        residuals.append(np.log(one.measured / modelled))
        key = (one.layer.bounds, one.layer.strides, one.layer.dilations, one.precision)
        groups.append(numbers.setdefault(key, len(numbers)))
    return Records(np.array(rows), np.array(residuals), np.array(groups))


def fit(
    records: Records, target: Target, quantity: Quantity, seed: int = 0
) -> tuple[CalibratedModel, Json]:
    """A calibrated model, and what there is to say of it."""
    count, groups = len(records.residuals), int(records.groups.max()) + 1
    errors: Json = {
        "before": _errors(records.residuals),
        "scale": _errors(_held_out(records, seed, with_trees=False)),
    }
    scale, trees = float(np.median(records.residuals)), ""
    note = f"{count} records: a scale factor, no trees; these take more than {FEW}"
    if count > FEW:
        errors["trees"] = _errors(_held_out(records, seed, with_trees=True))
        note = "trees predict no better than a scale factor, so that is kept"
        if errors["trees"]["mape"] < errors["scale"]["mape"]:
            trees = _saved(_fit_trees(records.rows, records.residuals - scale, seed))
            note = ""
    kept = "trees" if trees else "scale"
    error = {"before": errors["before"], "after": errors[kept], "records": count}
    model = CalibratedModel(quantity, float(np.exp(scale)), trees, target.sha256, error)
    told: Json = {"records": count, "groups": groups, "scale": model.scale, "kept": kept}
    return model, told | {"errors": errors, "note": note}


def _held_out(records: Records, seed: int, with_trees: bool) -> Floats:
    """What is left of every residual when a model without its group predicts it.

    Where all records are of one group, without the record itself.
    """
    one_group = int(records.groups.max()) == 0
    parts = np.arange(len(records.groups)) if one_group else records.groups
    folds = parts % _FOLDS
    left = records.residuals.copy()
    for fold in np.unique(folds):
        known, asked = folds != fold, folds == fold
        if not known.any():
            continue  # a single record: there is nothing else to learn from
        scale = np.median(records.residuals[known])
        left[asked] -= scale
        if with_trees:
            booster = _fit_trees(records.rows[known], records.residuals[known] - scale, seed)
            left[asked] -= predict(booster, records.rows[asked])
    return left


def _fit_trees(rows: Rows, residuals: Floats, seed: int) -> Any:
    import xgboost

    data = xgboost.DMatrix(rows, residuals, nthread=1)
    parameters = _PARAMETERS | {"seed": seed, "base_score": 0.0}
    return xgboost.train(parameters, data, _TREES)


def _saved(booster: Any) -> str:
    return bytes(booster.save_raw("json")).decode()


def _errors(residuals: Floats) -> Json:
    """Relative errors of modelled against measured."""
    errors = np.abs(np.expm1(-residuals))
    return {
        "mape": float(errors.mean()),
        "median": float(np.median(errors)),
        "p95": float(np.quantile(errors, 0.95)),
    }


def print_calibration(data: Json, console: Console) -> None:
    """The summary for people."""
    told = f"{data['quantity']} on {data['target']}: {data['records']} records"
    told += f" of {data['groups']} layers and widths"
    console.print(Text(told, style="bold"))
    table = Table("Model", "MAPE", "median", "95 %", title="Error, cross-validated", box=None)
    titles = {"before": "analytical", "scale": "and a scale factor", "trees": "and trees"}
    for key, errors in data["errors"].items():
        mark = "  (kept)" if key == data["kept"] else ""
        cells = (f"{100 * errors[name]:.1f} %" for name in ("mape", "median", "p95"))
        table.add_row(titles[key] + mark, *cells)
    console.print(table)
    console.print(Text(f"  measured over modelled: {data['scale']:.4g}"))
    if data["note"]:
        console.print(Text(f"  note: {data['note']}", style="yellow"))
    console.print(Text(f"  written: {data['file']}"))
