"""From network and scheme to integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_layer import integer_layer, network_of

from qmc.arithmetic import QuantParams
from qmc.errors import QuantizationError, SchemeError
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import GivenWeights, Parameters
from qmc.quantize import clamp_codes, quantize, weight_codes
from qmc.reference import accumulate
from qmc.scheme import Scheme, WeightScheme

DENSE = Layer("fc", Op.DENSE, ("x",), "y", LoopBounds(K=2, C=3))
SHAPES = {"x": (1, 3), "y": (1, 2)}
PARAMS = {"x": QuantParams(8, 0.5, 10), "y": QuantParams(8, 1.0, 7)}
PARAMETERS = Parameters(
    np.array([[1.0, -2.0, 0.5], [0.0, 4.0, -4.0]], np.float32).reshape(2, 3, 1, 1),
    np.array([3.0, -1.0], np.float32),
)


def test_dense_integers_worked_by_hand() -> None:
    scheme = Scheme(PARAMS, {"fc": WeightScheme(4, (0.5, 1.0))})
    layer = quantize(network_of(DENSE, SHAPES, PARAMETERS), scheme).layers[0]
    assert layer.weights is not None
    assert layer.requant is not None
    assert layer.weights.reshape(2, 3).tolist() == [[2, -4, 1], [0, 4, -4]]
    # real 1.5, 0.5, -0.5: 3 + 1.5 - 1 - 0.25 = 3.25 and -1 + 2 + 2 = 3; zero point 7
    codes = np.array([[13, 11, 9]])
    acc = accumulate(layer, codes).reshape(-1)
    assert acc.tolist() == [26 - 44 + 9, 44 - 36]
    scale = np.array([0.25, 0.5])
    bias = [3 / 0.25 - 10 * (2 - 4 + 1), -1 / 0.5 - 10 * 0]
    np.testing.assert_allclose((acc + bias) * scale, [3.25, 3.0])


def test_corrected_bias_of_the_scheme_replaces_the_networks() -> None:
    network = network_of(DENSE, SHAPES, PARAMETERS)
    params = {"x": PARAMS["x"], "y": QuantParams(16, 0.001, 1000)}  # no affine start at 16 bits
    plain = quantize(network, Scheme(params, {"fc": WeightScheme(8, (0.1, 0.1))})).layers[0]
    scheme = WeightScheme(8, (0.1, 0.1), bias=(3.5, -1.0))
    changed = quantize(network, Scheme(params, {"fc": scheme})).layers[0]
    assert plain.requant is not None
    assert changed.requant is not None
    assert (changed.requant.start - plain.requant.start).tolist() == [10, 0]


@settings(max_examples=60)
@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_accumulator_bound_holds_and_is_reached(bits: int, seed: int, input_bits: int) -> None:
    """The worst inputs, in the worst order, reach the bound; nothing exceeds it."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(2, 3, 1, 1)).astype(np.float32)
    parameters = Parameters(weights, generator.normal(size=2).astype(np.float32))
    params = {
        "x": QuantParams(input_bits, 0.5, generator.integers(0, 1 << input_bits)),
        "y": QuantParams(16, 0.01, 300),
    }
    layer = integer_layer(DENSE, SHAPES, params, parameters, bits)
    assert layer.weights is not None
    assert layer.requant is not None
    worst = 0
    for channel in range(2):
        products = layer.weights[channel].reshape(-1).astype(int) * params["x"].high
        start = int(layer.requant.start[channel])
        for subset in range(8):
            part = sum(int(products[i]) for i in range(3) if subset >> i & 1)
            worst = max(worst, abs(part), abs(start + part))
    assert worst == layer.accumulator_bound


def test_given_integers_are_kept_exactly() -> None:
    codes = np.array([[1, -8, 3], [0, 7, -8]], np.int8).reshape(2, 3, 1, 1)
    scales = np.array([0.3, 0.7])
    weights = (codes * scales[:, None, None, None]).astype(np.float32) + np.float32(0.2)
    parameters = Parameters(weights, PARAMETERS.bias, GivenWeights(codes, scales, 4))
    kept = weight_codes(parameters, WeightScheme(4, (0.3, 0.7)))
    assert kept is codes
    rounded = weight_codes(parameters, WeightScheme(4, (0.3, 0.8)))
    assert not np.array_equal(rounded, codes)


@pytest.mark.parametrize(
    ("clamp", "expected"),
    [
        (None, (0, 15)),
        ((0.0, np.inf), (4, 15)),
        ((0.0, 6.0), (4, 10)),
        ((-1.0, 1.0), (3, 5)),
        ((-np.inf, 0.4), (0, 4)),
        ((-100.0, -50.0), (0, 0)),
        ((50.0, 100.0), (15, 15)),
    ],
)
def test_clamp_limits(clamp: tuple[float, float] | None, expected: tuple[int, int]) -> None:
    assert clamp_codes(clamp, QuantParams(4, 1.0, 4)) == expected


def test_incomplete_scheme_lists_what_is_missing() -> None:
    network = network_of(DENSE, SHAPES, PARAMETERS)
    with pytest.raises(SchemeError, match="tensor 'y', layer 'fc'"):
        quantize(network, Scheme({"x": PARAMS["x"]}, {}))


def test_scales_of_the_wrong_number_raise() -> None:
    network = network_of(DENSE, SHAPES, PARAMETERS)
    with pytest.raises(SchemeError, match="found 1 weight scales, the layer has 2"):
        quantize(network, Scheme(PARAMS, {"fc": WeightScheme(8, (0.1,))}))


def test_bias_beyond_int32_raises() -> None:
    network = network_of(DENSE, SHAPES, PARAMETERS)
    scheme = Scheme(PARAMS, {"fc": WeightScheme(8, (0.1, 1e-12))})
    with pytest.raises(QuantizationError, match="layer 'fc': channel 1: the bias"):
        quantize(network, scheme)


def test_scale_ratio_out_of_range_raises() -> None:
    shape = (1, 2, 3, 4)
    add = Layer("sum", Op.ADD, ("a", "b"), "y", LoopBounds(G=2, P=3, Q=4))
    params = {
        "a": QuantParams(8, 1e20, 0),
        "b": QuantParams(8, 1.0, 0),
        "y": QuantParams(8, 1.0, 0),
    }
    with pytest.raises(QuantizationError, match="layer 'sum': input scale"):
        integer_layer(add, dict.fromkeys("aby", shape), params)


def test_max_pool_that_changes_quantization_raises() -> None:
    pool = Layer("pool", Op.MAX_POOL, ("x",), "y", LoopBounds(G=2, P=3, Q=4))
    params = {"x": QuantParams(8, 1.0, 0), "y": QuantParams(8, 2.0, 0)}
    with pytest.raises(QuantizationError, match="layer 'pool': its output must have"):
        integer_layer(pool, dict.fromkeys("xy", (1, 2, 3, 4)), params)


def test_average_pool_of_padding_alone_gives_zero() -> None:
    pool = Layer("pool", Op.AVERAGE_POOL, ("x",), "y", LoopBounds(G=1, P=3, Q=1), pads=(1, 0, 1, 0))
    params = {"x": QuantParams(8, 1.0, 5), "y": QuantParams(8, 1.0, 9)}
    layer = integer_layer(pool, {"x": (1, 1, 1, 1), "y": (1, 1, 3, 1)}, params)
    assert layer.counts == (0, 1)
    assert replace(layer.rescales[0]).offset == 9
