"""Calibration of small networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.arithmetic import QuantParams, Rounding
from qmc.bias_correction import mean_products
from qmc.calibrate import Calibration, calibrate
from qmc.errors import DataError
from qmc.float_model import FloatModel
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import GivenRange, GivenWeights, Network, Parameters, Tensor
from qmc.observe import observe
from qmc.quantize import quantize, weight_codes
from qmc.reference import run_network
from qmc.scheme import WeightRounding
from qmc.weight_scales import least_error_scales
from qmc.widths import LayerWidths, Widths


def parameters(seed: int, *shape: int) -> Parameters:
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=shape).astype(np.float32)
    return Parameters(weights, generator.normal(size=shape[0]).astype(np.float32))


def network() -> Network:
    """Two branches joined by a concatenation, a residual sum, pools, a gate, a classifier."""
    layers = (
        Layer(
            "stem",
            Op.CONV,
            ("x",),
            "a",
            LoopBounds(K=4, C=3, P=4, Q=5, R=3, S=3),
            strides=(2, 2),
            pads=(1, 0, 1, 1),
            clamp=(0.0, 6.0),
        ),
        Layer(
            "dw",
            Op.CONV,
            ("a",),
            "b",
            LoopBounds(G=4, P=4, Q=5, R=3, S=1),
            pads=(1, 0, 1, 0),
            clamp=(0.0, np.inf),
        ),
        Layer("left", Op.CONV, ("b",), "c", LoopBounds(K=2, C=4, P=4, Q=5)),
        Layer("cat", Op.CONCAT, ("a", "c"), "d", LoopBounds(G=6, P=4, Q=5)),
        Layer("point", Op.CONV, ("d",), "e", LoopBounds(G=2, K=3, C=3, P=4, Q=5)),
        Layer("sum", Op.ADD, ("d", "e"), "f", LoopBounds(G=6, P=4, Q=5), clamp=(0.0, np.inf)),
        Layer("squeeze", Op.AVERAGE_POOL, ("f",), "g", LoopBounds(G=6, R=4, S=5)),
        Layer("gate", Op.LOOKUP, ("g",), "h", LoopBounds(G=6), function="sigmoid"),
        Layer("scale", Op.MUL, ("f", "h"), "i", LoopBounds(G=6, P=4, Q=5)),
        Layer("max", Op.MAX_POOL, ("i",), "j", LoopBounds(G=6, P=3, Q=4, R=2, S=2)),
        Layer("flat", Op.RESHAPE, ("j",), "k", LoopBounds(G=72)),
        Layer("fc", Op.DENSE, ("k",), "y", LoopBounds(K=5, C=72)),
    )
    weights = {
        "stem": parameters(0, 4, 3, 3, 3),
        "dw": parameters(1, 4, 1, 3, 1),
        "left": parameters(2, 2, 4, 1, 1),
        "point": parameters(3, 6, 3, 1, 1),
        "fc": parameters(4, 5, 72, 1, 1),
    }
    shapes = {"x": (1, 3, 8, 10), "a": (1, 4, 4, 5), "b": (1, 4, 4, 5), "c": (1, 2, 4, 5)}
    shapes |= dict.fromkeys("defi", (1, 6, 4, 5)) | dict.fromkeys("gh", (1, 6, 1, 1))
    shapes |= {"j": (1, 6, 3, 4), "k": (1, 72), "y": (1, 5)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Network("net", tensors, layers, weights, "x", "y", {})


def inputs(seed: int = 0, count: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 10)).astype(np.float32)


@pytest.mark.parametrize("method", [None, *Calibration])
def test_eight_bit_network_follows_the_float_network(method: Calibration | None) -> None:
    net = network()
    integer = quantize(net, calibrate(net, [inputs()], Widths(), method=method))
    x = inputs(1, 64)
    expected = FloatModel(net).run(x)["y"]
    codes = run_network(integer, integer.quantization["x"].quantize(x))["y"]
    got = integer.quantization["y"].dequantize(codes)
    noise = np.square(got - expected).mean() / np.square(expected - expected.mean(0)).mean()
    assert noise < 0.01
    assert np.mean(got.argmax(1) == expected.argmax(1)) >= 0.9


def test_same_data_give_the_same_scheme_however_batched() -> None:
    net, x = network(), inputs()
    first = calibrate(net, [x], Widths(4, 8), method=Calibration.MIN_MAX)
    assert calibrate(net, [x], Widths(4, 8), method=Calibration.MIN_MAX) == first
    parts = calibrate(net, [x[:5], x[5:]], Widths(4, 8), method=Calibration.MIN_MAX)
    for name, params in first.tensors.items():
        assert parts.tensors[name].scale == pytest.approx(params.scale, rel=1e-6)


def test_fixed_shared_and_wide_tensors() -> None:
    tensors = calibrate(network(), [inputs()], Widths(8, 6)).tensors
    assert tensors["h"] == QuantParams(6, 1 / 63, 0)  # a sigmoid's range is known
    assert tensors["a"] == tensors["c"] == tensors["d"]  # a concatenation only moves codes
    assert tensors["i"] == tensors["j"] == tensors["k"]  # pools and reshapes keep codes
    assert [tensors[name].bits for name in "xey"] == [8, 6, 16]


def test_layer_widths_reach_the_scheme() -> None:
    widths = Widths(8, 8, {"left": LayerWidths(3, 4), "fc": LayerWidths(2, 8)})
    scheme = calibrate(network(), [inputs()], widths, rounding=Rounding.FLOOR)
    assert (scheme.weights["left"].bits, scheme.weights["fc"].bits) == (3, 2)
    assert (scheme.tensors["c"].bits, scheme.tensors["y"].bits) == (4, 8)
    assert scheme.rounding is Rounding.FLOOR


def test_no_data_raises_and_names_a_tensor() -> None:
    with pytest.raises(DataError, match="no calibration data: 10 tensors have no range, 'x' first"):
        calibrate(network(), None, Widths())


def test_empty_data_raises() -> None:
    with pytest.raises(DataError, match="no input"):
        calibrate(network(), [], Widths())


def test_input_that_is_not_finite_raises() -> None:
    with pytest.raises(DataError, match="tensor 'x' has values that are not finite"):
        calibrate(network(), [np.full_like(inputs(), np.nan)], Widths())


def test_given_ranges_and_weights_need_no_data_and_are_kept() -> None:
    net = network()
    ranges = {name: GivenRange(7, 0.25, 3) for name in net.tensors if name not in "jk"}
    ranges |= {"h": GivenRange(5, 0.125, 1), "b": GivenRange(4, 1.0, 0)}
    codes = np.full((5, 72, 1, 1), 3, np.int8)
    given = GivenWeights(codes, np.full(5, 0.5), 4)
    weights = {**net.parameters, "fc": replace(net.parameters["fc"], given=given)}
    net = replace(net, given_ranges=ranges, parameters=weights)
    scheme = calibrate(net, None, Widths(8, 8))
    assert scheme.tensors["h"] == QuantParams(5, 0.125, 1)
    assert scheme.tensors["b"] == QuantParams(4, 1.0, 0)
    assert scheme.tensors["k"] == scheme.tensors["i"] == QuantParams(7, 0.25, 3)
    assert (scheme.weights["fc"].bits, scheme.weights["fc"].scales) == (4, (0.5,) * 5)
    assert weight_codes(net.parameters["fc"], scheme.weights["fc"]) is codes


def test_given_weights_wider_than_asked_are_quantized_again() -> None:
    net = network()
    given = GivenWeights(np.zeros((5, 72, 1, 1), np.int8), np.full(5, 0.5), 8)
    weights = {**net.parameters, "fc": replace(net.parameters["fc"], given=given)}
    scheme = calibrate(replace(net, parameters=weights), [inputs()], Widths(4, 8))
    assert scheme.weights["fc"].bits == 4


def test_near_dead_channels_are_floored_and_reported() -> None:
    """Weights of 1e-12 beside a bias of 1: at scale s_x * s_w the bias would need 50 bits."""
    net = network()
    weights = net.parameters["stem"].weights.copy()
    weights[2] *= 1e-12
    bias = np.array([0.5, 0.5, 1.0, 0.5], np.float32)
    changed = {**net.parameters, "stem": Parameters(weights, bias)}
    net = replace(net, parameters=changed)
    scheme = calibrate(net, [inputs()], Widths())
    assert any("stem (1)" in note for note in scheme.notes)
    integer = quantize(net, scheme)
    layer = integer.layers[0]
    assert layer.weights is not None
    assert not layer.weights[2].any()
    codes = run_network(integer, integer.quantization["x"].quantize(inputs(3, 4)))["a"]
    real = integer.quantization["a"].dequantize(codes)[:, 2]
    np.testing.assert_allclose(real, 1.0, atol=integer.quantization["a"].scale)


@settings(max_examples=30)
@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_weight_scales_are_no_worse_than_min_max(bits: int, seed: int) -> None:
    weights = np.random.default_rng(seed).standard_t(3, size=(3, 2, 3, 5)).astype(np.float32)
    top = (1 << (bits - 1)) - 1

    def error(scales: np.ndarray) -> np.ndarray:
        steps = scales[:, None, None, None]
        codes = np.clip(np.rint(weights / steps), -top - 1, top)
        return np.square(codes * steps - weights).sum(axis=(1, 2, 3))

    plain = np.abs(weights).max(axis=(1, 2, 3)) / top
    assert np.all(error(least_error_scales(weights, bits)) <= error(plain) * (1 + 1e-5))


def test_channel_of_zeros_keeps_an_accurate_bias() -> None:
    net = network()
    weights = net.parameters["fc"].weights.copy()
    weights[1:3] = 0.0
    fc = Parameters(weights, np.array([0.1, 1.2345, 0.0, 0.1, 0.1], np.float32))
    net = replace(net, parameters={**net.parameters, "fc": fc})
    integer = quantize(net, calibrate(net, [inputs()], Widths(8, 8)))
    output = integer.quantization["y"]
    codes = run_network(integer, integer.quantization["x"].quantize(inputs(5, 3)))["y"]
    expected = np.array([[1.2345, 0.0]] * 3)
    np.testing.assert_allclose(output.dequantize(codes)[:, 1:3], expected, atol=0.51 * output.scale)


@pytest.mark.parametrize("name", ["stem", "dw", "point", "fc"])
def test_mean_products_are_the_means_of_the_float_layer(name: str) -> None:
    """By linearity: the mean output is the product with the mean input, padding included."""
    net, x = network(), inputs()
    values = FloatModel(net).run(x)
    layer, exact = replace(net.layer(name), clamp=None), net.parameters[name]
    source = values[layer.inputs[0]]
    ends = (layer.inputs[0], layer.output)
    tensors = {key: net.tensors[key] for key in ends}
    alone = Network("one", tensors, (layer,), {name: exact}, *ends, {})
    output = FloatModel(alone).run(source)[layer.output]
    expected = output.reshape(len(x), output.shape[1], -1).mean(axis=(0, 2)) - exact.bias
    means = mean_products(layer, exact.weights, source.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(means, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["stem", "dw", "point", "fc"])
def test_corrected_bias_keeps_the_mean_of_every_channel(name: str) -> None:
    """Three-bit weights move the means of a layer's sums; the corrected bias moves them back."""
    net, x = network(), inputs()
    scheme = calibrate(net, [x], Widths(3, 8), weight_rounding=WeightRounding.NEAREST)
    chosen = scheme.weights[name]
    layer, exact = replace(net.layer(name), clamp=None), net.parameters[name]
    rounded = weight_codes(exact, chosen) * np.array(chosen.scales)[:, None, None, None]
    source = FloatModel(net).run(x)[layer.inputs[0]]
    ends = (layer.inputs[0], layer.output)

    def means(parameters: Parameters) -> np.ndarray:
        tensors = {key: net.tensors[key] for key in ends}
        alone = Network("one", tensors, (layer,), {name: parameters}, *ends, {})
        output = FloatModel(alone).run(source)[layer.output]
        return output.reshape(len(x), output.shape[1], -1).mean(axis=(0, 2))

    weights = rounded.astype(np.float32)
    corrected = means(Parameters(weights, np.array(chosen.bias, np.float32)))
    np.testing.assert_allclose(corrected, means(exact), atol=1e-3)
    assert np.abs(means(Parameters(weights, exact.bias)) - means(exact)).max() > 1e-2


def test_given_layers_keep_their_bias() -> None:
    net = network()
    given = GivenWeights(np.ones((5, 72, 1, 1), np.int8), np.full(5, 0.5), 4)
    weights = {**net.parameters, "fc": replace(net.parameters["fc"], given=given)}
    scheme = calibrate(replace(net, parameters=weights), [inputs()], Widths())
    assert scheme.weights["fc"].bias is None
    assert scheme.weights["stem"].bias is not None


def test_range_of_an_operand_ends_where_a_rectified_sum_is_zero_anyhow() -> None:
    layers = (
        Layer("left", Op.CONV, ("x",), "a", LoopBounds(K=2, C=1, P=3, Q=4)),
        Layer("right", Op.CONV, ("x",), "b", LoopBounds(K=2, C=1, P=3, Q=4)),
        Layer("sum", Op.ADD, ("a", "b"), "y", LoopBounds(G=2, P=3, Q=4), clamp=(0.0, np.inf)),
    )
    gains = {"left": [[1.0], [3.0]], "right": [[2.0], [-1.0]]}
    weights = {
        name: Parameters(
            np.array(gain, np.float32).reshape(2, 1, 1, 1), np.zeros(2, dtype=np.float32)
        )
        for name, gain in gains.items()
    }
    shapes = {"x": (1, 1, 3, 4)} | dict.fromkeys("aby", (1, 2, 3, 4))
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    net = Network("sum", tensors, layers, weights, "x", "y", {})
    x = np.linspace(-8.0, 8.0, 24, dtype=np.float32).reshape(2, 1, 3, 4)
    seen = observe(net, [x]).histograms
    # Channels of (a, b) are (x, 2x) and (3x, -x); below x = 0 both sums are negative, and a
    # makes no difference below -b: -2x >= 0 in the first, x in the second.
    assert (seen["a"].low, seen["a"].high) == (-8.0, 24.0)
    assert (seen["b"].low, seen["b"].high) == (-8.0, 24.0)
    plain = replace(net, layers=(*layers[:2], replace(layers[2], clamp=None)))
    assert observe(plain, [x]).histograms["a"].low == -24.0
