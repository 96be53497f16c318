"""Costs of an exploration as other cost models see them, against these models one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from small_classifier import write_classifier

from qmc.bit_costs import machine_tables
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import CalibratedModel, Quantity
from qmc.cost_models.xgboost_model import shipped_model
from qmc.errors import CostModelError, QmcError
from qmc.explore import explore, prepare
from qmc.frontend import load_network
from qmc.layer import Precision
from qmc.model_costs import predicted_costs, told_error
from qmc.network import Network
from qmc.options import ExploreOptions
from qmc.progress import Stages
from qmc.search_result import Objective
from qmc.targets import load_target
from qmc.width_table import WidthTable

QUIET = Stages(Console(quiet=True))
TARGET = load_target("eyeriss")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ExploreOptions:
    folder = tmp_path_factory.mktemp("costs")
    model, data = write_classifier(folder)
    return ExploreOptions(model, "eyeriss", folder / "front", calib=data, plans=3, jobs=2)


@pytest.fixture(scope="module")
def network(options: ExploreOptions) -> Network:
    return load_network(options.model)[1]


@pytest.fixture(scope="module")
def tables(network: Network) -> list[WidthTable]:
    return machine_tables(network, TARGET, AnalyticalModel(), Objective.ENERGY)


def test_learned_costs_are_those_of_the_learned_model(
    network: Network, tables: list[WidthTable]
) -> None:
    found = predicted_costs(network, TARGET, tables, shipped_model())
    assert found.keys() == {layer.name for layer in network.layers if layer.has_weights}
    for table in tables:
        for name, triple in list(table.entries)[::97]:
            mapping = table.entries[name, triple].mapping
            assert mapping is not None
            precision = Precision(*triple, TARGET.psum_bits)
            one = shipped_model().evaluate(network.layer(name), precision, TARGET, mapping)
            assert found[name][triple] == pytest.approx((one.energy_pj, one.cycles), rel=1e-6)


def test_scale_of_a_calibration_scales_what_it_measured(
    network: Network, tables: list[WidthTable]
) -> None:
    model = CalibratedModel(Quantity.ENERGY_PJ, 2.5, "", TARGET.sha256, {})
    found = predicted_costs(network, TARGET, tables, model)
    for table in tables:
        for (name, triple), entry in table.entries.items():
            energy, cycles = found[name][triple]
            assert energy == pytest.approx(2.5 * entry.energy_pj)
            assert cycles == entry.cycles


def test_calibration_of_another_machine_is_refused(
    network: Network, tables: list[WidthTable]
) -> None:
    model = CalibratedModel(Quantity.ENERGY_PJ, 2.5, "", "0" * 64, {})
    with pytest.raises(CostModelError, match="calibrated for"):
        predicted_costs(network, TARGET, tables, model)


def test_front_of_learned_costs_says_that_they_are_predictions(options: ExploreOptions) -> None:
    found = explore(replace(options, costs="learned"), QUIET)
    assert found.ground.notes == (told_error(shipped_model(), TARGET),)
    assert "the learned model" in found.ground.notes[0]
    exact = prepare(options, QUIET).space
    for point in found.exact:
        assert point.cost == pytest.approx(exact.judge(point.assignment).cost, rel=0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"costs": "lerned"}, "lerned: cannot be read"),
        ({"costs": "a.csv", "cost_model": Path("m.json")}, "--costs: found 'a.csv' beside"),
    ],
)
def test_costs_that_cannot_be_are_told_in_one_line(
    options: ExploreOptions, change: dict[str, object], told: str
) -> None:
    with pytest.raises(QmcError, match=told):
        prepare(replace(options, **change), QUIET)  # type: ignore[arg-type]
