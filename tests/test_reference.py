"""The NumPy reference against loops over plain Python integers, written from docs/arithmetic.md."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_layer import integer_layer, network_of, output_shape, quantizations, windowed

from qmc.arithmetic import QuantParams, Requant, Rounding
from qmc.float_model import FloatModel
from qmc.integer import IntegerLayer
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import Parameters
from qmc.reference import run_layer

seeds = st.integers(0, 2**32 - 1)


def naive_requantize(acc: int, requant: Requant, channel: int, low: int, high: int) -> int:
    m, s = int(requant.multiplier[channel]), int(requant.shift[channel])
    x = acc + int(requant.start[channel])
    y = (m * x + (1 << (s - 1))) // (1 << s) + int(requant.offset[channel])
    return max(low, min(high, y))


def taps(layer: Layer, p: int, q: int, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """(r, s, row, column) of each element under a window; row is -1 for padding."""
    found = []
    for r in range(layer.bounds.R):
        for s in range(layer.bounds.S):
            row = p * layer.strides[0] + r * layer.dilations[0] - layer.pads[0]
            column = q * layer.strides[1] + s * layer.dilations[1] - layer.pads[1]
            inside = 0 <= row < size[0] and 0 <= column < size[1]
            found.append((r, s, row if inside else -1, column))
    return found


def naive_conv(layer: IntegerLayer, x: Any) -> Any:
    spec, bounds = layer.layer, layer.layer.bounds
    assert layer.weights is not None
    assert layer.requant is not None
    y = np.zeros((1, bounds.G * bounds.K, bounds.P, bounds.Q), dtype=int)
    for n, k, p, q in np.ndindex(y.shape):
        acc = 0
        for r, s, row, column in taps(spec, p, q, x.shape[2:]):
            for c in range(bounds.C):
                channel = k // bounds.K * bounds.C + c
                code = layer.inputs[0].zero_point if row < 0 else int(x[n, channel, row, column])
                acc += int(layer.weights[k, c, r, s]) * code
        y[n, k, p, q] = naive_requantize(acc, layer.requant, k, layer.low, layer.high)
    return y


def random_codes(seed: int, shape: tuple[int, ...], params: QuantParams) -> Any:
    return np.random.default_rng(seed).integers(0, params.high + 1, shape).astype(np.int32)


def random_parameters(seed: int, layer: Layer) -> Parameters:
    generator, bounds = np.random.default_rng(seed), layer.bounds
    shape = (bounds.G * bounds.K, bounds.C, bounds.R, bounds.S)
    weights = generator.normal(size=shape).astype(np.float32)
    return Parameters(weights, generator.normal(size=shape[0]).astype(np.float32))


@settings(max_examples=150)
@given(windowed(Op.CONV), quantizations(), quantizations(), st.integers(2, 8), seeds)
def test_conv_equals_loops_over_integers(
    drawn: Any, source: QuantParams, output: QuantParams, weight_bits: int, seed: int
) -> None:
    spec, shape = drawn
    shapes = {"x": shape, "y": output_shape(spec)}
    parameters = random_parameters(seed, spec)
    layer = integer_layer(spec, shapes, {"x": source, "y": output}, parameters, weight_bits)
    x = random_codes(seed, shape, source)
    np.testing.assert_array_equal(run_layer(layer, [x]), naive_conv(layer, x))


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 40), quantizations(), quantizations(), seeds)
def test_dense_equals_loops_over_integers(
    outputs: int, inputs: int, source: QuantParams, output: QuantParams, seed: int
) -> None:
    spec = Layer("layer", Op.DENSE, ("x",), "y", LoopBounds(K=outputs, C=inputs))
    shapes = {"x": (1, inputs), "y": (1, outputs)}
    parameters = random_parameters(seed, spec)
    layer = integer_layer(spec, shapes, {"x": source, "y": output}, parameters)
    x = random_codes(seed, (1, inputs), source)
    expected = naive_conv(layer, x.reshape(1, inputs, 1, 1)).reshape(1, outputs)
    np.testing.assert_array_equal(run_layer(layer, [x]), expected)


@settings(max_examples=60)
@given(windowed(Op.MAX_POOL), quantizations(), seeds)
def test_max_pool_takes_the_largest_code_inside(drawn: Any, params: QuantParams, seed: int) -> None:
    spec, shape = drawn
    shapes = {"x": shape, "y": output_shape(spec)}
    layer = integer_layer(spec, shapes, {"x": params, "y": params})
    x = random_codes(seed, shape, params)
    result = run_layer(layer, [x])
    for n, c, p, q in np.ndindex(result.shape):
        window = [x[n, c, row, col] for _, _, row, col in taps(spec, p, q, shape[2:]) if row >= 0]
        assert result[n, c, p, q] == max(window, default=0)


@settings(max_examples=80)
@given(windowed(Op.AVERAGE_POOL), quantizations(), quantizations(), seeds)
def test_average_pool_is_the_rounded_mean_of_real_values(
    drawn: Any, source: QuantParams, output: QuantParams, seed: int
) -> None:
    spec, shape = drawn
    shapes = {"x": shape, "y": output_shape(spec)}
    layer = integer_layer(spec, shapes, {"x": source, "y": output})
    x = random_codes(seed, shape, source)
    result = run_layer(layer, [x])
    for n, c, p, q in np.ndindex(result.shape):
        window = [x[n, c, row, col] for _, _, row, col in taps(spec, p, q, shape[2:]) if row >= 0]
        count = spec.bounds.R * spec.bounds.S if spec.count_include_pad else len(window)
        total = sum(int(code) - source.zero_point for code in window)
        exact = Fraction(source.scale) * total / max(count, 1) / Fraction(output.scale)
        assert_nearest(int(result[n, c, p, q]), exact + output.zero_point, layer)


@settings(max_examples=60)
@given(quantizations(), quantizations(), quantizations(st.sampled_from([4, 8, 16])), seeds)
def test_add_is_the_rounded_sum_of_real_values(
    first: QuantParams, second: QuantParams, output: QuantParams, seed: int
) -> None:
    spec = Layer("layer", Op.ADD, ("a", "b"), "y", LoopBounds(G=3, P=5, Q=7))
    shape = (1, 3, 5, 7)
    layer = integer_layer(spec, dict.fromkeys("aby", shape), {"a": first, "b": second, "y": output})
    a, b = random_codes(seed, shape, first), random_codes(seed + 1, shape, second)
    result = run_layer(layer, [a, b])
    for i in np.ndindex(shape):
        real = Fraction(first.scale) * (int(a[i]) - first.zero_point)
        real += Fraction(second.scale) * (int(b[i]) - second.zero_point)
        assert_nearest(int(result[i]), real / Fraction(output.scale) + output.zero_point, layer)


@settings(max_examples=60)
@given(quantizations(), quantizations(), quantizations(), st.booleans(), seeds)
def test_mul_is_the_rounded_product_of_real_values(
    first: QuantParams, second: QuantParams, output: QuantParams, broadcast: bool, seed: int
) -> None:
    spec = Layer("layer", Op.MUL, ("a", "b"), "y", LoopBounds(G=3, P=5, Q=7))
    shapes = {"a": (1, 3, 5, 7), "b": (1, 3, 1, 1) if broadcast else (1, 3, 5, 7)}
    params = {"a": first, "b": second, "y": output}
    layer = integer_layer(spec, {**shapes, "y": (1, 3, 5, 7)}, params)
    a, b = random_codes(seed, shapes["a"], first), random_codes(seed + 1, shapes["b"], second)
    result = run_layer(layer, [a, b])
    for i in np.ndindex(1, 3, 5, 7):
        factor = int(b[(*i[:2], 0, 0) if broadcast else i]) - second.zero_point
        codes = (int(a[i]) - first.zero_point) * factor
        real = Fraction(first.scale) * Fraction(second.scale) * codes / Fraction(output.scale)
        assert_nearest(int(result[i]), real + output.zero_point, layer)


@settings(max_examples=40)
@given(st.lists(quantizations(), min_size=2, max_size=4), quantizations(), seeds)
def test_concat_rescales_each_input(
    sources: list[QuantParams], output: QuantParams, seed: int
) -> None:
    names = tuple(f"x{i}" for i in range(len(sources)))
    shapes = {name: (1, i + 1, 2, 3) for i, name in enumerate(names)}
    channels = sum(shape[1] for shape in shapes.values())
    spec = Layer("layer", Op.CONCAT, names, "y", LoopBounds(G=channels, P=2, Q=3))
    params = dict(zip(names, sources, strict=True)) | {"y": output}
    layer = integer_layer(spec, {**shapes, "y": (1, channels, 2, 3)}, params)
    inputs = [random_codes(seed, shapes[name], params[name]) for name in names]
    result = run_layer(layer, inputs)
    first = 0
    for x, source in zip(inputs, sources, strict=True):
        part = result[:, first : first + x.shape[1]]
        first += x.shape[1]
        for i in np.ndindex(x.shape):
            ratio = Fraction(source.scale) / Fraction(output.scale)
            exact = ratio * (int(x[i]) - source.zero_point) + output.zero_point
            assert_nearest(int(part[i]), exact, layer)


def test_concat_of_equal_quantization_copies_codes() -> None:
    params = QuantParams(7, 0.1, 30)
    spec = Layer("layer", Op.CONCAT, ("a", "b"), "y", LoopBounds(G=5, P=2, Q=3))
    shapes = {"a": (1, 2, 2, 3), "b": (1, 3, 2, 3), "y": (1, 5, 2, 3)}
    layer = integer_layer(spec, shapes, dict.fromkeys("aby", params))
    a, b = random_codes(1, shapes["a"], params), random_codes(2, shapes["b"], params)
    np.testing.assert_array_equal(run_layer(layer, [a, b]), np.concatenate([a, b], axis=1))


@settings(max_examples=40)
@given(quantizations(), st.sampled_from([4, 8, 16]), st.integers(2, 9), seeds)
def test_softmax_is_within_a_step_of_the_real_one(
    source: QuantParams, bits: int, channels: int, seed: int
) -> None:
    output = QuantParams(bits, 1.0 / ((1 << bits) - 1), 0)
    spec = Layer("layer", Op.SOFTMAX, ("x",), "y", LoopBounds(G=channels))
    shape = (1, channels)
    layer = integer_layer(spec, {"x": shape, "y": shape}, {"x": source, "y": output})
    x = random_codes(seed, shape, source)
    powers = np.exp((x - x.max()) * source.scale)
    expected = powers / powers.sum() / output.scale
    np.testing.assert_allclose(run_layer(layer, [x]), expected, rtol=0, atol=0.5 + 1e-3)


def test_lookup_maps_every_code() -> None:
    source, output = QuantParams(5, 0.5, 16), QuantParams(8, 1 / 255, 0)
    spec = Layer("layer", Op.LOOKUP, ("x",), "y", LoopBounds(G=32), function="sigmoid")
    layer = integer_layer(spec, {"x": (1, 32), "y": (1, 32)}, {"x": source, "y": output})
    x = np.arange(32, dtype=np.int32).reshape(1, 32)
    expected = np.floor(255 / (1 + np.exp(-(x - 16) * 0.5)) + 0.5)
    np.testing.assert_array_equal(run_layer(layer, [x]), expected)


def test_reshape_transposes_then_reshapes() -> None:
    params = QuantParams(8, 0.1, 0)
    spec = Layer("layer", Op.RESHAPE, ("x",), "y", LoopBounds(G=24), perm=(0, 2, 3, 1))
    layer = integer_layer(spec, {"x": (1, 2, 3, 4), "y": (1, 24)}, {"x": params, "y": params})
    x = random_codes(0, (1, 2, 3, 4), params)
    assert run_layer(layer, [x], (1, 24))[0, 1] == x[0, 1, 0, 0]


def test_batch_equals_single_inputs() -> None:
    source, output = QuantParams(8, 0.1, 100), QuantParams(6, 0.3, 20)
    spec = Layer("layer", Op.CONV, ("x",), "y", LoopBounds(G=2, K=3, C=2, P=4, Q=6, R=2, S=3))
    shapes = {"x": (1, 4, 5, 8), "y": (1, 6, 4, 6)}
    layer = integer_layer(spec, shapes, {"x": source, "y": output}, random_parameters(0, spec))
    x = random_codes(3, (3, 4, 5, 8), source)
    single = np.concatenate([run_layer(layer, [x[i : i + 1]]) for i in range(3)])
    np.testing.assert_array_equal(run_layer(layer, [x]), single)


@settings(max_examples=60)
@given(windowed(Op.CONV), st.integers(4, 8), seeds)
def test_conv_is_close_to_the_float_layer(drawn: Any, bits: int, seed: int) -> None:
    """Weights round by half a scale, outputs by half a step, the bias by half a sum's step."""
    spec, shape = drawn
    shapes = {"x": shape, "y": output_shape(spec)}
    parameters = random_parameters(seed, spec)
    source = QuantParams(8, 0.02, 128)
    x = random_codes(seed, shape, source)
    real = source.dequantize(x)
    expected = FloatModel(network_of(spec, shapes, parameters)).run(real)["y"]
    limits = np.append(expected.reshape(-1), 0.0)
    scale = max(float(np.ptp(limits)), 1e-3) / 255
    output = QuantParams(8, scale, round(-float(limits.min()) / scale))
    layer = integer_layer(spec, shapes, {"x": source, "y": output}, parameters, bits)
    fan_in = spec.bounds.C * spec.bounds.R * spec.bounds.S
    weight_error = np.abs(parameters.weights).max() / ((1 << (bits - 1)) - 1) / 2
    bound = 0.51 * output.scale + (fan_in * np.abs(real).max() + source.scale) * weight_error * 1.01
    got = output.dequantize(run_layer(layer, [x]))
    assert np.abs(got - expected).max() <= bound + output.scale


@pytest.mark.parametrize("rounding", list(Rounding))
def test_rounding_switch_reaches_the_layer(rounding: Rounding) -> None:
    requant = Requant(
        np.array([1 << 30 if rounding is Rounding.TFLITE_DOUBLE else (1 << 23) + 1], np.int32),
        np.array([1 if rounding is Rounding.TFLITE_DOUBLE else 25], np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.int32),
        rounding,
    )
    spec = Layer("layer", Op.DENSE, ("x",), "y", LoopBounds(C=1))
    params = QuantParams(8, 1.0, 0)
    weights = np.ones((1, 1, 1, 1), np.int8)
    layer = IntegerLayer(spec, (params,), params, 0, 255, weights, 8, requant)
    codes = [int(run_layer(layer, [np.array([[x]], np.int32)])[0, 0]) for x in (0, 1, 2, 3)]
    expected = {
        Rounding.HALF_UP: [0, 0, 1, 1],
        Rounding.FLOOR: [0, 0, 0, 0],
        Rounding.TFLITE_DOUBLE: [0, 1, 1, 1],
    }
    assert codes == expected[rounding]


def assert_nearest(code: int, exact: Fraction, layer: IntegerLayer) -> None:
    """``code`` is ``exact`` rounded and clamped; multipliers of finite width may tip a near tie."""
    clamped = min(max(exact, Fraction(layer.low)), Fraction(layer.high))
    slack = abs(exact) / 2**22 + Fraction(1, 2**12)
    if (
        layer.layer.op is Op.ADD
    ):  # the smaller scale's multiplier is an integer at the larger's shift
        slack += Fraction(255, 1 << (layer.rescales[0].shift + 1))
    assert abs(code - clamped) <= Fraction(1, 2) + slack
