"""The learned model: it learns, it is reproducible, damaged files are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.features import FEATURES
from qmc.cost_models.train import save, train, training_facts
from qmc.cost_models.training_set import (
    HELD_OUT_MACHINES,
    HELD_OUT_WIDTHS,
    MACHINES,
    Group,
    random_layer,
    random_precision,
    training_groups,
)
from qmc.cost_models.xgboost_model import EXPECTED, load_model, shipped_model
from qmc.errors import CapacityError, CostModelError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Precision
from qmc.mapping import Loop, Mapping
from qmc.search import search
from qmc.targets import load_target

SHIPPED = Path(__file__).parent.parent.parent / "cost_models"
TREES = {"energy": 40, "cycles": 10}
LAYER = Layer("conv", Op.CONV, ("x",), "y", LoopBounds(K=24, C=20, P=14, Q=11, R=3, S=3))


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return list(training_groups(seed=3, count=90, mappings=80))


@pytest.fixture(scope="module")
def tiny(groups: list[Group], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save(train(groups[:60], 0, TREES), folder, training_facts(groups[:60], 3))
    return folder


def correlation(left: np.ndarray, right: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (left, right)]
    return float(np.corrcoef(*ranks)[0, 1])


def copy_of(folder: Path, tmp_path: Path) -> Path:
    for file in folder.glob("learned*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_tiny_model_ranks_unseen_layers_better_than_the_plain_estimate(
    groups: list[Group], tiny: Path
) -> None:
    model = load_model(tiny)
    learned, plain = [], []
    for group in groups[60:]:
        energy = group.truth[:, 0]
        learned.append(correlation(model.log_costs(group.rows, group.estimates)[:, 0], energy))
        plain.append(correlation(group.estimates[:, 0], energy))
    assert np.median(learned) > 0.9
    assert np.median(learned) > np.median(plain) + 0.05


def test_same_seed_gives_the_same_bytes(groups: list[Group], tiny: Path, tmp_path: Path) -> None:
    again = list(training_groups(seed=3, count=60, mappings=80))
    save(train(again, 0, TREES), tmp_path, training_facts(again, 3))
    for file in tiny.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_training_holds_no_layer_width_or_machine_that_is_held_out() -> None:
    rng = np.random.default_rng(0)
    held_out_sizes, simba = {7, 14, 28, 56, 112, 224}, load_target("simba")
    for _ in range(300):
        bounds = random_layer(rng).bounds
        assert not {bounds.P, bounds.Q} & held_out_sizes
        assert bounds.K * bounds.G != 1000 or bounds.P > 1
        precision = random_precision(rng, simba)
        assert not {precision.weight_bits, precision.input_bits, precision.output_bits} & set(
            HELD_OUT_WIDTHS
        )
    assert not set(MACHINES) & set(HELD_OUT_MACHINES)


def test_shipped_model_is_small_and_of_these_features() -> None:
    files = list(SHIPPED.glob("learned*"))
    assert {file.name for file in files} >= {"learned.json", "learned.md", "learned_energy.ubj"}
    assert sum(file.stat().st_size for file in files) < 1_500_000
    card = shipped_model().card
    assert card["features"]["names"] == list(FEATURES)
    assert card["held_out"]["layers"]["spearman"] >= 0.97


def test_shipped_model_prices_a_mapping_it_has_not_seen() -> None:
    target, precision = load_target("simba"), Precision(4, 8, 8)
    found = search(LAYER, precision, target, AnalyticalModel())
    cost = shipped_model().evaluate(LAYER, precision, target, found.mapping)
    assert cost.energy_pj == pytest.approx(found.cost.energy_pj, rel=0.3)
    assert cost.cycles == pytest.approx(found.cost.cycles, rel=0.3)
    assert sum(cost.energy_by_memory_pj.values()) == pytest.approx(cost.energy_pj)


def test_mapping_that_does_not_fit_is_refused() -> None:
    target = load_target("simba")
    mapping = search(LAYER, Precision(), target, AnalyticalModel()).mapping
    loops = tuple(
        Loop(dim, LAYER.bounds[dim], "PEWeightRegs") for dim in LoopDim if LAYER.bounds[dim] > 1
    )
    with pytest.raises(CapacityError, match="tile needs 14784 bytes, PEAccuBuffer has 256 bytes"):
        shipped_model().evaluate(LAYER, Precision(), target, Mapping(loops, mapping.keep))


@pytest.mark.parametrize(
    ("precision", "name", "scope"),
    [
        (Precision(4, 8, 8), "simba", "layers"),
        (Precision(3, 8, 8), "simba", "widths"),
        (Precision(4, 8, 8), "stripes", "machines"),
    ],
)
def test_expected_error_is_that_of_what_is_new(precision: Precision, name: str, scope: str) -> None:
    model = shipped_model()
    told = model.expected_error(precision, load_target(name))
    assert told == {
        "held_out": scope,
        **{key: model.card["held_out"][scope][key] for key in EXPECTED},
    }


def test_changed_description_of_a_training_machine_is_a_new_machine() -> None:
    target = replace(load_target("simba"), sha256="0" * 64)
    assert shipped_model().expected_error(Precision(), target)["held_out"] == "machines"


def test_damaged_trees_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path)
    path = folder / "learned_cycles.ubj"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CostModelError, match=r"learned_cycles\.ubj: damaged: found sha256"):
        load_model(folder)


def test_missing_trees_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path)
    (folder / "learned_energy.ubj").unlink()
    with pytest.raises(CostModelError, match=r"learned_energy\.ubj: cannot be read"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"features": 3}'])
def test_card_that_is_none_is_refused(tiny: Path, tmp_path: Path, text: str) -> None:
    folder = copy_of(tiny, tmp_path)
    (folder / "learned.json").write_text(text)
    with pytest.raises(CostModelError, match="not a model card"):
        load_model(folder)


def test_other_version_of_the_features_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path)
    path = folder / "learned.json"
    card = json.loads(path.read_text())
    card["features"]["version"] = 0
    path.write_text(json.dumps(card))
    with pytest.raises(CostModelError, match="features of version 0; allowed"):
        load_model(folder)
