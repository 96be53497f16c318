"""Measured latencies of layers at all widths, and the search for widths on them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from qmc.errors import QmcError
from qmc.explore_command import explore_command, print_front
from qmc.frontend import load_network
from qmc.layer import Layer, LoopBounds, Op
from qmc.options import ExploreOptions
from qmc.progress import Stages
from qmc.targets import load_target
from qmc.tuning.latency_model import fill_gaps
from qmc.tuning.latency_table import LatencyTable, Meter, latency_table, possible_triples
from qmc.tuning.records import RecordStore
from qmc.tuning.runner import LocalRunner
from qmc.tuning.single_layer import layer_at
from tests.codegen.unity import family_of
from tests.small_build import small_images, small_model

TARGET = "x86-avx2"


def measure(tmp_path: Path, seconds: float) -> LatencyTable:
    network = load_network(small_model(tmp_path))[1]
    store = RecordStore(tmp_path / "records.sqlite", "machine")
    try:
        return latency_table(network, Meter(store, LocalRunner(), family_of(TARGET), seconds))
    finally:
        store.close()


def test_table_has_every_layer_at_every_width_and_goes_on(tmp_path: Path) -> None:
    first = measure(tmp_path, 0.0)
    network = load_network(small_model(tmp_path))[1]
    for layer in network.layers:
        assert set(first.ns[layer.name]) == set(possible_triples(network, layer))
    assert all(0 < ns < 1e6 for table in first.ns.values() for ns in table.values())
    assert 0 < first.measured < first.triples
    second = measure(tmp_path, 0.0)
    assert second.measured > first.measured  # the next program, and not the first once more


def test_layer_alone_keeps_its_place_in_the_network(tmp_path: Path) -> None:
    network = load_network(small_model(tmp_path))[1]
    layers = {layer.name: layer for layer in network.layers}
    stem = layer_at(network, layers["stem"], (4, 8, 3))
    assert (stem.input, stem.output) == (network.input, "")
    assert [stem.layers[0].weight_bits, stem.layers[0].output.bits] == [4, 3]
    assert layer_at(network, layers["dw"], (8, 8, 8)).input == ""


def layer(channels: int) -> Layer:
    bounds = LoopBounds(1, 1, channels, 16, 14, 14, 1, 1)
    return Layer("x", Op.CONV, ("a",), "b", bounds, (1, 1), (1, 1), (0, 0, 0, 0))


def truth(channels: int, triple: tuple[int, int, int]) -> float:
    """Work, what unpacking each operand costs, and both activations at once a little less."""
    weights, inputs, outputs = triple
    narrow = 2.0 * (inputs < 8) + 3.0 * (outputs < 8) - 0.5 * (inputs < 8 and outputs < 8)
    return channels * (10 + weights.bit_count() * (weights < 8) + narrow)


def test_gaps_are_predicted_and_their_error_is_told() -> None:
    triples = [(w, a, o) for w in (8, 4, 3, 2) for a in (8, 4, 2) for o in (8, 4, 2)]
    random = np.random.default_rng(0)
    rows = []
    for channels in (16, 32, 48, 64, 96, 128):
        known = {t for t in triples if sum(bits != 8 for bits in t) < 2}
        known |= {triples[at] for at in random.permutation(len(triples))[:12]}
        rows.append((layer(channels), triples, {t: truth(channels, t) for t in sorted(known)}))
    tables, errors = fill_gaps(rows)
    for (one, _, known), table in zip(rows, tables, strict=True):
        assert set(table) == set(triples)
        for triple, ns in table.items():
            expected = truth(one.bounds.K, triple)
            assert ns == pytest.approx(expected, rel=1e-9 if triple in known else 0.1)
    assert errors.median < 0.05
    assert errors.p95 < 0.1


def test_too_few_measurements_tell_no_error() -> None:
    tables, errors = fill_gaps([(layer(16), [(8, 8, 8), (4, 8, 8)], {(8, 8, 8): 100.0})])
    assert tables[0][4, 8, 8] == 100
    assert math.isnan(errors.median)


def options(tmp_path: Path, target: str) -> ExploreOptions:
    return ExploreOptions(
        small_model(tmp_path),
        target,
        tmp_path / "front",
        calib=small_images(tmp_path),
        measure_seconds=0.0,
        plans=2,
        jobs=1,
    )


def test_explore_searches_on_measured_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family_of(TARGET)
    monkeypatch.setenv("QMC_CACHE_DIR", str(tmp_path / "cache"))
    data = explore_command(options(tmp_path, TARGET), Stages(Console(quiet=True)))
    assert data["objective"] is None
    assert "measured" in data["notes"][0]
    for point in data["points"]:
        assert point["predicted_ms"] == pytest.approx(point["measured_cost"] / 1e6)
        assert 0 < point["measured_ms"] < 1
    console = Console(record=True, width=120)
    print_front(data, console)
    assert "ms predicted" in console.export_text()
    written = json.loads((tmp_path / "front" / "front.json").read_text(encoding="utf-8"))
    assert written["points"] == data["points"]


def test_machine_that_does_not_run_here_cannot_be_measured(tmp_path: Path) -> None:
    assert load_target("simba").kernels is None
    with pytest.raises(QmcError, match="--measure: found target 'simba'"):
        explore_command(options(tmp_path, "simba"), Stages(Console(quiet=True)))
