"""Training of the learned cost model: ``python -m qmc.cost_models.train [-o FOLDER]``.

The truth is the analytical model; what is trained on and what is held out is in
:mod:`qmc.cost_models.training_set`. One core and a few minutes; the same seed gives the same bytes.
Writes ``learned_energy.ubj``, ``learned_cycles.ubj`` and ``learned.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qmc.cost_models.features import FEATURES, VERSION
from qmc.cost_models.training_set import (
    HELD_OUT_MACHINES,
    HELD_OUT_WIDTHS,
    MACHINES,
    WIDTHS,
    Group,
    training_groups,
)
from qmc.cost_models.xgboost_model import QUANTITIES, Floats
from qmc.targets import load_target

#: Groups (layer, target, widths) of the shipped model, and mappings of each.
GROUPS, MAPPINGS = 5000, 240
#: Trees of the two ensembles.
TREES = {"energy": 260, "cycles": 100}
_PARAMETERS: dict[str, Any] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "grow_policy": "lossguide",
    "max_depth": 0,
    "max_leaves": 48,
    "learning_rate": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.7,
    "nthread": 1,
}
#: Power of (best EDP of the group / EDP) that weighs a mapping: good ones matter more.
_FAVOUR = 0.3


def train(groups: Sequence[Group], seed: int, trees: dict[str, int]) -> dict[str, Any]:
    """XGBoost boosters by quantity, from groups of mappings."""
    import xgboost

    rows = np.concatenate([group.rows for group in groups])
    ratios = np.concatenate([np.log(group.truth / group.estimates) for group in groups])
    weights = np.concatenate([_weights(group) for group in groups])
    boosters = {}
    for column, what in enumerate(QUANTITIES):
        data = xgboost.DMatrix(rows, ratios[:, column], weight=weights, nthread=1)
        boosters[what] = xgboost.train(_PARAMETERS | {"seed": seed}, data, trees[what])
    return boosters


def _weights(group: Group) -> Floats:
    """Of mappings in one group; a large group counts more than a small one, but less than all."""
    edp = group.truth.prod(axis=1)
    weights: Floats = (edp.min() / edp) ** _FAVOUR / np.sqrt(len(edp))
    return weights


def save(boosters: dict[str, Any], folder: Path, training: dict[str, Any]) -> None:
    """Write the boosters and their card."""
    hashes = {}
    for what, booster in boosters.items():
        data = bytes(booster.save_raw("ubj"))
        (folder / f"learned_{what}.ubj").write_bytes(data)
        hashes[what] = hashlib.sha256(data).hexdigest()
    card = {
        "features": {"version": VERSION, "names": list(FEATURES)},
        "sha256": hashes,
        "training": training,
        "held_out": {"layers": {}, "widths": {}, "machines": {}},
    }
    (folder / "learned.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def training_facts(groups: Sequence[Group], seed: int) -> dict[str, Any]:
    """What a reader must know of the training set."""
    return {
        "truth": "analytical model",
        "groups": len(groups),
        "mappings": sum(len(group.rows) for group in groups),
        "seed": seed,
        "widths": list(WIDTHS),
        "held_out_widths": list(HELD_OUT_WIDTHS),
        "machines": {name: load_target(name).sha256 for name in MACHINES},
        "held_out_machines": list(HELD_OUT_MACHINES),
    }


def main() -> None:
    """Train and write the model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    groups = list(training_groups(options.seed, options.groups, MAPPINGS))
    boosters = train(groups, options.seed, TREES)
    save(boosters, options.output, training_facts(groups, options.seed))
    size = sum(path.stat().st_size for path in options.output.glob("learned*.ubj"))
    print(f"{len(groups)} groups, {sum(len(g.rows) for g in groups)} mappings, {size} bytes")


if __name__ == "__main__":
    main()
