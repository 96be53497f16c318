"""Channels brought to one range before a depthwise layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_reconstruct import images

from qmc.arithmetic import QuantParams
from qmc.calibrate import calibrate
from qmc.channel_factors import channel_limits, factors_of, feeds_depthwise
from qmc.fitted_weights import FitTask, fit_weights
from qmc.float_model import FloatModel
from qmc.layer import Layer, LoopBounds, Op
from qmc.measure_sensitivity import make_probe, measure_sensitivities
from qmc.network import Network, Parameters, Tensor
from qmc.observe import observe
from qmc.quantize import quantize
from qmc.reference import run_network
from qmc.rounded_tensors import plain_scheme, round_tensors
from qmc.scheme import Scheme
from qmc.tensor_ranges import tensor_params
from qmc.widths import Widths, activation_bits

#: Ranges of the stem's channels in the uneven network.
UNEVEN = np.array([1.0, 0.3, 0.1, 0.04], np.float32)


def network(ranges: np.ndarray, clamp: tuple[float, float] = (0.0, np.inf)) -> Network:
    """Stem, depthwise layer and a last one; the same function of the input for all ``ranges``."""
    rng = np.random.default_rng(0)
    layers = (
        Layer("stem", Op.CONV, ("x",), "a", LoopBounds(K=4, C=3, P=8, Q=10), clamp=clamp),
        Layer("dw", Op.CONV, ("a",), "b", LoopBounds(G=4, P=6, Q=8, R=3, S=3), clamp=clamp),
        Layer("last", Op.CONV, ("b",), "y", LoopBounds(K=5, C=4, P=6, Q=8)),
    )
    stem, dw, last = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((4, 3, 1, 1), (4, 1, 3, 3), (5, 4, 1, 1))
    )
    weights = {
        "stem": Parameters(stem * ranges[:, None, None, None], 0.5 * ranges),
        "dw": Parameters(dw / ranges[:, None, None, None], np.zeros(4, np.float32)),
        "last": Parameters(last, np.zeros(5, np.float32)),
    }
    shapes = {"x": (1, 3, 8, 10), "a": (1, 4, 8, 10), "b": (1, 4, 6, 8), "y": (1, 5, 6, 8)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Network("net", tensors, layers, weights, "x", "y", {})


def noise(net: Network) -> float:
    return output_noise(net, calibrate(net, [images(0, 64)], Widths(5, 4)))


def output_noise(net: Network, scheme: Scheme) -> float:
    integer, x = quantize(net, scheme), images(1, 64)
    expected = FloatModel(net).run(x)["y"]
    codes = run_network(integer, integer.quantization["x"].quantize(x))["y"]
    error = integer.quantization["y"].dequantize(codes) - expected
    return float(np.square(error).mean() / np.var(expected))


def test_uneven_channels_cost_nothing_before_a_depthwise_layer() -> None:
    assert noise(network(UNEVEN)) < 1.2 * noise(network(np.ones(4, np.float32)))


def trial_noise(net: Network) -> float:
    """Of a scheme put together from fits, at 4-bit activations."""
    x, bits = images(0, 64), activation_bits(net, Widths(5, 4))
    seen = observe(net, [x])
    wide = tensor_params(net, activation_bits(net, Widths()), seen.histograms, None)
    fits = fit_weights(net, FitTask(wide, x, "digest"))
    tensors = tensor_params(net, bits, seen.histograms, None)
    return output_noise(net, plain_scheme(net, seen, Widths(5, 4), tensors, fits))


def test_uneven_channels_cost_nothing_in_trials() -> None:
    assert trial_noise(network(UNEVEN)) < 1.2 * trial_noise(network(np.ones(4, np.float32)))
    assert trial_noise(network(UNEVEN)) < 1.5 * noise(network(UNEVEN))


def test_uneven_channels_cost_nothing_in_sensitivities() -> None:
    found = []
    for ranges in (UNEVEN, np.ones(4, np.float32)):
        net, x = network(ranges), images(0, 64)
        seen = observe(net, [x])
        wide = tensor_params(net, activation_bits(net, Widths()), seen.histograms, None)
        fits = fit_weights(net, FitTask(wide, x, "digest"))
        rounded = round_tensors(net, seen, (4, 8), fits=fits)
        probe = make_probe(x, None, 1)
        found.append(measure_sensitivities(net, rounded, probe).activations["a"][4])
    assert found[0] < 1.2 * found[1]


def test_relu6_is_kept_where_a_channel_reaches_it() -> None:
    net = network(np.array([20.0, 1.0, 0.2, 0.05], np.float32), (0.0, 6.0))
    scheme = calibrate(net, [images(0, 64)], Widths(5, 4))
    assert scheme.tensors["a"].scale * 15 == pytest.approx(6.0, rel=0.2)
    assert noise(net) < 0.1


@pytest.mark.parametrize("bits", [2, 4])
def test_limits_have_the_least_error_of_those_tried(bits: int) -> None:
    values = np.random.default_rng(0).exponential(size=(7, 3, 5, 4)).astype(np.float32)
    values[:, 1] = 0.0
    limits = channel_limits(values, bits)
    assert limits[1] == 0.0
    for channel in (0, 2):
        own = values[:, channel]
        losses = {}
        for share in np.linspace(1.0, 0.2, 17):
            params = QuantParams(bits, own.max() * share / ((1 << bits) - 1), 0)
            error = params.dequantize(params.quantize(own)) - own
            losses[share] = np.square(error.astype(np.float64)).sum()
        share = min(losses, key=lambda key: losses[key])
        assert limits[channel] == pytest.approx(own.max() * share, rel=1e-6)


def test_factors_bring_limits_to_the_largest() -> None:
    factors = factors_of(np.array([4.0, 2.0, 1.0, 0.0]))
    np.testing.assert_allclose(factors, [1.0, 2.0, 4.0, 32.0])
    np.testing.assert_array_equal(factors_of(np.zeros(3)), np.ones(3))


def test_only_outputs_that_one_depthwise_layer_reads_are_changed() -> None:
    net = network(UNEVEN)
    stem, dw, last = net.layers
    assert feeds_depthwise(net, stem)
    assert not feeds_depthwise(net, dw)
    assert not feeds_depthwise(net, last)
    assert not feeds_depthwise(net, replace(stem, clamp=None))
