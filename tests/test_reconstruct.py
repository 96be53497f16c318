"""Weights fitted layer by layer: better outputs, the same bytes again, and exact integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_calibrate import inputs, network

import qmc.fitting_memory
from qmc.arithmetic import Rounding
from qmc.calibrate import Manner, calibrate, calibrate_all
from qmc.errors import SchemeError
from qmc.float_model import FloatModel
from qmc.layer_model import LayerModel
from qmc.network import GivenWeights, Network
from qmc.quantize import quantize, weight_codes
from qmc.reference import run_network
from qmc.scheme import Scheme, WeightRounding
from qmc.scheme_io import load_scheme, scheme_to_text
from qmc.simulate import dequantized, nearest_codes, rounded_parameters
from qmc.widths import LayerWidths, Widths

NEAREST, OPTIMIZED = WeightRounding.NEAREST, WeightRounding.OPTIMIZED


def images(seed: int, count: int = 32) -> np.ndarray:
    """Smooth images, whose neighbouring values are alike."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=(count, 3, 8, 10)).cumsum(axis=2).cumsum(axis=3) / 9
    return (smooth + rng.normal(size=(count, 1, 1, 1))).astype(np.float32)


def noise(net: Network, scheme: Scheme) -> float:
    """Noise of the integer network's output beside the float one's variance."""
    integer, x = quantize(net, scheme), images(7, 100)
    expected = FloatModel(net).run(x)["y"]
    codes = run_network(integer, integer.quantization["x"].quantize(x))["y"]
    error = integer.quantization["y"].dequantize(codes) - expected
    return float(np.square(error).mean() / np.square(expected - expected.mean(0)).mean())


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_fitted_weights_give_better_outputs_than_the_nearest(bits: int) -> None:
    net, widths = network(), Widths(bits, 8)
    nearest = calibrate(net, [images(0, 128)], widths, weight_rounding=NEAREST)
    fitted = calibrate(net, [images(0, 128)], widths)
    assert noise(net, fitted) < 0.3 * noise(net, nearest)


def test_weights_are_fitted_unless_the_nearest_are_asked_for() -> None:
    net = network()
    for widths in (Widths(8, 8), Widths(8, 5), Widths(8, 8, {"left": LayerWidths(6)})):
        assert calibrate(net, [inputs()], widths).weights["fc"].codes is not None
    nearest = calibrate(net, [inputs()], Widths(4, 8), weight_rounding=NEAREST)
    assert nearest.weights["fc"].codes is None


def test_same_inputs_give_the_same_integers_however_batched() -> None:
    net, x = network(), inputs()
    first = calibrate(net, [x], Widths(4, 8), weight_rounding=OPTIMIZED)
    assert calibrate(net, [x], Widths(4, 8), weight_rounding=OPTIMIZED) == first


def test_saved_scheme_gives_the_same_integer_network(tmp_path: Path) -> None:
    net = network()
    scheme = calibrate(net, [inputs()], Widths(3, 5))
    path = tmp_path / "scheme.yaml"
    path.write_text(scheme_to_text(scheme), encoding="utf-8")
    again = load_scheme(path, net)
    assert again == scheme
    for one, other in zip(quantize(net, scheme).layers, quantize(net, again).layers, strict=True):
        assert (one.weights is None) == (other.weights is None)
        if one.weights is not None and other.weights is not None:
            np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace('- "', '- "!', 1), "not base64"),
        (lambda text: text.replace('- "', '- "AAAA', 1), "weights of 3 bits take"),
    ],
)
def test_damaged_codes_are_refused(tmp_path: Path, change: object, match: str) -> None:
    net = network()
    text = scheme_to_text(calibrate(net, [inputs()], Widths(3, 8)))
    path = tmp_path / "scheme.yaml"
    assert callable(change)
    path.write_text(change(text), encoding="utf-8")
    with pytest.raises(SchemeError, match=match):
        load_scheme(path, net)


def test_integers_that_came_with_the_model_are_kept() -> None:
    net = network()
    own = net.parameters["left"]
    codes = np.random.default_rng(0).integers(-8, 8, own.weights.shape).astype(np.int8)
    scales = np.full(len(codes), 0.25)
    given = replace(
        own,
        weights=(codes * scales[:, None, None, None]).astype(np.float32),
        given=GivenWeights(codes, scales, 4),
    )
    net = replace(net, parameters={**net.parameters, "left": given})
    scheme = calibrate(net, [inputs()], Widths(4, 8))
    assert scheme.weights["left"].codes is None
    assert weight_codes(given, scheme.weights["left"]) is codes
    assert scheme.weights["point"].codes is not None


def test_seed_changes_nothing_where_all_positions_are_used() -> None:
    net = network()
    first = calibrate(net, [inputs()], Widths(4, 8), seed=1)
    assert calibrate(net, [inputs()], Widths(4, 8), seed=2) == first


@pytest.mark.parametrize("rounding", [Rounding.HALF_UP, Rounding.FLOOR])
def test_simulation_of_one_rounding_gives_the_reference_codes(rounding: Rounding) -> None:
    net = network()
    scheme = calibrate(net, [inputs()], Widths(4, 4), rounding=rounding)
    integer = quantize(net, scheme)
    values = run_network(integer, integer.quantization["x"].quantize(inputs(3, 64)))
    for name in ("a", "b", "c"):  # what convolutions give for the same codes
        layer = next(one for one in net.layers if one.output == name)
        source, output = scheme.tensors[layer.inputs[0]], scheme.tensors[name]
        model = LayerModel(net, layer, rounded_parameters(net, scheme, layer))
        codes = nearest_codes(model.run(dequantized(values[layer.inputs[0]], source)), output)
        assert np.mean(codes == values[name]) > 0.999


@pytest.mark.parametrize("together", [1 << 30, 1])
def test_schemes_fitted_together_are_what_each_is_alone(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmc.fitting_memory, "_MAX_CODES", together)
    net, x = network(), inputs()
    some = LayerWidths(weight=3, activation=4)
    asked = [Widths(4, 8), Widths(8, 8), Widths(3, 5), Widths(4, 8, {"left": some})]
    found = list(calibrate_all(net, [x], asked, Manner(seed=3), jobs=2))
    assert found == [calibrate(net, [x], widths, seed=3) for widths in asked]
