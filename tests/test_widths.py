"""What --scheme may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmc.errors import SchemeError
from qmc.formats import WEIGHT_FORMATS, number_format
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import GivenRange, Network, Parameters, Tensor
from qmc.scheme import Scheme
from qmc.widths import LayerWidths, Widths, activation_bits, parse_widths, shared_quantization


def network(given: dict[str, GivenRange] | None = None) -> Network:
    """Conv, max pool, conv, reshape; the reshape is the output."""
    one = LoopBounds(K=2, C=2, P=3, Q=4)
    layers = (
        Layer("conv1", Op.CONV, ("x",), "a", one),
        Layer("pool", Op.MAX_POOL, ("a",), "b", LoopBounds(G=2, P=3, Q=4)),
        Layer("conv2", Op.CONV, ("b",), "c", one),
        Layer("flat", Op.RESHAPE, ("c",), "y", LoopBounds(G=24)),
    )
    shapes = dict.fromkeys("xabc", (1, 2, 3, 4)) | {"y": (1, 24)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    weights = Parameters(np.ones((2, 2, 1, 1), np.float32), np.zeros(2, np.float32))
    parameters = {"conv1": weights, "conv2": weights}
    return Network("net", tensors, layers, parameters, "x", "y", given or {})


@pytest.mark.parametrize("weight", range(2, 9))
@pytest.mark.parametrize("activation", range(2, 9))
def test_every_pair_of_widths_is_read(weight: int, activation: int) -> None:
    assert parse_widths(f"w{weight}a{activation}", network()) == Widths(weight, activation)


@pytest.mark.parametrize("name", WEIGHT_FORMATS)
def test_number_formats_of_weights_are_read(name: str) -> None:
    widths = parse_widths(f"w{name}a6", network())
    assert isinstance(widths, Widths)
    assert (widths.weight, widths.activation) == (number_format(name).bits, 6)
    assert widths.weight_format("conv1") == name


def test_number_formats_stand_beside_integers_in_a_scheme_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("default: we2m1a8\nlayers:\n  conv1: w4a8\n  pool: {a: 2}\n")
    widths = parse_widths(str(path), network())
    assert isinstance(widths, Widths)
    assert widths.weight_format("conv1") is None
    assert widths.weight_format("conv2") == "e2m1"
    path.write_text("layers:\n  conv2: {w: ternary}\n")
    widths = parse_widths(str(path), network())
    assert isinstance(widths, Widths)
    assert widths.weight_format("conv1") is None
    assert (widths.weight_format("conv2"), widths.weight_bits("conv2")) == ("ternary", 2)


def test_pools_and_reshapes_pass_widths_on() -> None:
    bits = activation_bits(network(), Widths(4, 5))
    assert bits == {"x": 8, "a": 5, "b": 5, "c": 5, "y": 5}


def test_output_that_no_layer_reads_has_16_bits() -> None:
    whole = network()
    tensors = {name: tensor for name, tensor in whole.tensors.items() if name != "y"}
    logits = replace(whole, tensors=tensors, layers=whole.layers[:3], output="c")
    assert activation_bits(logits, Widths(4, 5))["c"] == 16
    side = Layer("side", Op.ADD, ("c", "c"), "y", LoopBounds(G=2, P=3, Q=4))
    read = replace(whole, layers=(*whole.layers[:3], side), output="c")
    assert activation_bits(read, Widths(4, 5))["c"] == 5


def test_layer_widths_override_the_default() -> None:
    widths = Widths(4, 5, {"conv1": LayerWidths(2), "conv2": LayerWidths(3, 7)})
    assert [widths.weight_bits(name) for name in ("conv1", "conv2", "other")] == [2, 3, 4]
    assert activation_bits(network(), widths) == {"x": 8, "a": 5, "b": 5, "c": 7, "y": 7}


def test_given_ranges_keep_their_width() -> None:
    given = {"x": GivenRange(4, 0.1, 3), "b": GivenRange(6, 0.1, 3)}
    bits = activation_bits(network(given), Widths())
    assert bits == {"x": 4, "a": 6, "b": 6, "c": 8, "y": 8}


def test_reshapes_share_the_quantization_of_their_input() -> None:
    assert shared_quantization(network()) == {"x": "x", "a": "a", "b": "a", "c": "c", "y": "c"}


def test_scheme_file_with_layers(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("default: w6a7\nlayers:\n  conv1: w4a8\n  conv2: {w: 3}\n  pool: {a: 2}\n")
    widths = parse_widths(str(path), network())
    layers = {"conv1": LayerWidths(4, 8), "conv2": LayerWidths(3), "pool": LayerWidths(None, 2)}
    assert widths == Widths(6, 7, layers)
    assert not isinstance(widths, Scheme)


@pytest.mark.parametrize("text", ["w9a8", "w8a1", "8", "", "W8A8", "w8a8 ", "none.yaml", "auto"])
def test_unknown_scheme_raises(text: str) -> None:
    with pytest.raises(SchemeError, match="allowed: w8a8"):
        parse_widths(text, network())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("layers: {conv9: w4a8}", "no layer is called 'conv9'; the nearest is 'conv"),
        ("layers: {conv1: w9a8}", "layers.conv1: found 'w9a8'"),
        ("layers: {conv1: {w: e5m2}}", "layers.conv1.w: found 'e5m2'"),
        ("layers: {conv1: {w: 1}}", "layers.conv1.w: found 1"),
        ("layers: {conv1: {w: true}}", "layers.conv1.w: found True"),
        ("layers: {conv1: {bits: 4}}", "layers.conv1.bits"),
        ("layers: [conv1]", "layers: found"),
        ("default: w4", "default: found 'w4'"),
        ("defaults: w4a4", "defaults"),
        ("", "document: found None"),
        ("{", "not valid YAML"),
    ],
)
def test_wrong_scheme_file_raises_one_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(SchemeError, match=match) as caught:
        parse_widths(str(path), network())
    assert "\n" not in str(caught.value)
