"""Sensitivities: measured ones against whole runs of the rounded network; files with mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_classifier import write_classifier

from qmc import cache
from qmc.bit_groups import Assignment, activation_groups, tensor_bits, to_widths, uniform
from qmc.cheap_sensitivity import second_order_sensitivities, weight_sensitivities
from qmc.errors import DataError, QmcError
from qmc.find_sensitivities import find_sensitivities
from qmc.float_model import FloatModel
from qmc.frontend import load_network
from qmc.layer_model import LayerModel
from qmc.measure_sensitivity import make_probe, measure_sensitivities
from qmc.network import Network
from qmc.observe import observe
from qmc.rounded_tensors import RoundedTensors, round_tensors
from qmc.sensitivity import Sensitivities, Source
from qmc.sensitivity_csv import read_costs, read_sensitivities, sensitivities_text
from qmc.widths import activation_bits

WIDTHS = (2, 4, 8)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load_network(write_classifier(tmp_path_factory.mktemp("small"))[0])[1]


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 1, (12, 3, 8, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def rounded(network: Network, images: NDArray[np.float32]) -> RoundedTensors:
    return round_tensors(network, observe(network, [images]), WIDTHS)


@pytest.fixture(scope="module")
def measured(
    network: Network, images: NDArray[np.float32], rounded: RoundedTensors
) -> Sensitivities:
    return measure_sensitivities(network, rounded, make_probe(images, None, 2))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    values = logits.reshape(len(logits), -1).astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def divergence(
    network: Network, changed: Network, data: NDArray[np.float32], after: str | None = None
) -> float:
    expected, found = (log_softmax(FloatModel(n).run(data)[n.output]) for n in (network, changed))
    return float((np.exp(expected) * (expected - found)).sum(axis=1).mean())


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("layer", ["stem", "b", "head"])
def test_weight_sensitivity_is_the_divergence_of_a_whole_run(
    network: Network,
    images: NDArray[np.float32],
    rounded: RoundedTensors,
    measured: Sensitivities,
    layer: str,
    bits: int,
) -> None:
    changed = {**network.parameters, layer: rounded.weights[layer][bits]}
    expected = divergence(network, replace(network, parameters=changed), images)
    assert measured.weights[layer][bits] == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_activation_sensitivity_rounds_every_tensor_of_the_group(
    network: Network,
    images: NDArray[np.float32],
    rounded: RoundedTensors,
    measured: Sensitivities,
) -> None:
    group = next(g for g in activation_groups(network) if len(g.tensors) > 1)
    values = dict(FloatModel(network).run(images))
    outputs = {}

    for layer in network.layers:  # every layer anew, the group's tensors rounded by definition
        inputs = {**values, **outputs}
        result = LayerModel(network, layer).run(*(inputs[name] for name in layer.inputs))
        if layer.output in group.tensors:
            params = rounded.activations[layer.output][4]
            result = params.dequantize(params.quantize(result))
        outputs[layer.output] = result
    expected, found = (log_softmax(v[network.output]) for v in (values, outputs))
    kl = float((np.exp(expected) * (expected - found)).sum(axis=1).mean())
    assert measured.activations[group.name][4] == pytest.approx(kl, rel=1e-3)


def test_terms_of_an_addition_share_a_group_and_ends_are_fixed(network: Network) -> None:
    groups = {t: g for g in activation_groups(network) for t in g.tensors}
    add = next(layer for layer in network.layers if len(layer.inputs) == 2)
    assert groups[add.inputs[0]] is groups[add.inputs[1]]
    assert groups[add.inputs[0]].fixed is None
    assert groups[network.input].fixed == 8
    assert groups[network.output].fixed == 16


def test_widths_of_an_assignment_reach_every_tensor(network: Network) -> None:
    chosen = uniform(network, 3, 5)
    first = next(iter(chosen.activations))
    mixed = Assignment(chosen.weights, {**chosen.activations, first: 2})
    assert activation_bits(network, to_widths(network, mixed)) == tensor_bits(network, mixed)


def test_second_measurement_comes_from_the_cache(
    network: Network,
    images: NDArray[np.float32],
    rounded: RoundedTensors,
    measured: Sensitivities,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored: list[str] = []
    monkeypatch.setattr(cache, "store", lambda key, value: stored.append(key))
    again = measure_sensitivities(network, rounded, make_probe(images, None, 1))
    assert again == measured
    assert not stored


def test_entry_of_the_cache_that_is_damaged_is_measured_again(
    network: Network,
    images: NDArray[np.float32],
    rounded: RoundedTensors,
    measured: Sensitivities,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "load", lambda key: {"not": "a row"})
    assert measure_sensitivities(network, rounded, make_probe(images, None, 1)) == measured


def test_loss_of_labelled_images_is_the_rise_of_the_cross_entropy(
    network: Network, images: NDArray[np.float32], rounded: RoundedTensors
) -> None:
    labels = np.arange(len(images)) % 5
    found = measure_sensitivities(network, rounded, make_probe(images, labels, 1))
    changed = {**network.parameters, "a": rounded.weights["a"][2]}
    logs = [
        log_softmax(FloatModel(n).run(images)[n.output])[np.arange(len(images)), labels]
        for n in (network, replace(network, parameters=changed))
    ]
    assert found.source is Source.LOSS
    assert found.weights["a"][2] == pytest.approx(float((logs[0] - logs[1]).mean()), rel=1e-3)


def test_second_order_meets_the_measured_width_and_falls_with_bits(
    network: Network, images: NDArray[np.float32], rounded: RoundedTensors, measured: Sensitivities
) -> None:
    seen = observe(network, [images])
    probe = make_probe(images, None, 1)
    found = second_order_sensitivities(network, rounded, seen.histograms, probe)
    for name, row in found.weights.items():
        assert row[4] == pytest.approx(measured.weights[name][4])
        assert row[2] > row[4] > row[8]
    for name, row in found.activations.items():
        assert row[4] == pytest.approx(measured.activations[name][4])


def test_weight_sensitivities_are_relative_squared_errors(network: Network) -> None:
    found = weight_sensitivities(network)
    for row in found.weights.values():
        assert 1 > row[2] > row[3] > row[4] > row[8] > 0
    assert found.activations.keys() == {
        g.name for g in activation_groups(network) if g.fixed is None
    }


def test_table_written_is_the_table_read(
    network: Network, measured: Sensitivities, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(sensitivities_text(measured))
    found = read_sensitivities(path, network)
    assert (found.weights, found.activations) == (measured.weights, measured.activations)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: found columns none"),
        ("a,b\n", "line 1: found columns a, b"),
        ("operand,name,bits,sensitivity\nW,stem,4\n", "line 2: found 3 cells; allowed: 4"),
        ("operand,name,bits,sensitivity\nX,stem,4,1\n", "line 2: operand: found 'X'"),
        ("operand,name,bits,sensitivity\nW,stm,4,1\n", "line 2: .*the nearest is 'stem'"),
        ("operand,name,bits,sensitivity\nW,stem,99999999999,1\n", "line 2: bits: found"),
        ("operand,name,bits,sensitivity\nW,stem,4,nan\n", "line 2: sensitivity: found 'nan'"),
        ("operand,name,bits,sensitivity\nW,stem,4,1\nW,stem,4,2\n", "line 3: .*twice"),
        ("operand,name,bits,sensitivity\nW,stem,4,1\n", "no row of operand W and name 'a'"),
    ],
)
def test_wrong_table_is_told_in_one_line(
    network: Network, tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=told) as raised:
        read_sensitivities(path, network)
    assert "\n" not in str(raised.value)


def test_binary_table_is_refused(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not UTF-8"):
        read_sensitivities(path, network)


def test_measured_costs_tell_gaps_and_rises(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    layers = [layer.name for layer in network.layers if layer.has_weights]
    rows = [f"{name},w{w}a{a},{w * a}" for name in layers for w in (4, 8) for a in (4, 8)]
    rows.remove("a,w4a8,32")
    rows[rows.index("b,w4a4,16")] = "b,w4a4,33"
    path.write_text("layer,widths,cost\n" + "\n".join(rows) + "\n")
    found = read_costs(path, network)
    assert found.costs["a"][8, 4, 3] == 32.0
    assert len(found.notes) == 2
    assert "layer 'a': 8 widths without a cost" in found.notes[0]
    assert "layer 'b': 16 costs rise" in found.notes[1]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,w4,1", "line 2: widths: found 'w4'"),
        ("a,w0a4,1", "line 2: widths: found 'w0a4'"),
        ("a,w4a4,-1", "line 2: cost: found -1"),
        ("a,w4a4,inf", "line 2: cost: found 'inf'"),
        ("c,w4a4,1", "line 2: "),
    ],
)
def test_wrong_costs_are_told_in_one_line(
    network: Network, tmp_path: Path, row: str, told: str
) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(f"layer,widths,cost\n{row}\n")
    with pytest.raises(DataError, match=told):
        read_costs(path, network)


@pytest.mark.parametrize(
    ("asked", "told"),
    [("kl", "needs images; give --calib"), ("loss", "give --eval"), ("hessian", "allowed: auto")],
)
def test_sensitivity_that_cannot_be_had_is_told(network: Network, asked: str, told: str) -> None:
    with pytest.raises(QmcError, match=told):
        find_sensitivities(asked, network, None, None, None)
