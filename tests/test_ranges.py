"""Histograms and the ranges chosen from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.ranges import Calibration, Histogram, choose_range, quant_params


def histogram_of(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch.astype(np.float32))
    return histogram


def gaussian(seed: int = 0, count: int = 20000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


def test_histogram_grows_without_losing_counts() -> None:
    values = gaussian()
    centres, counts = histogram_of(values[:10] * 0.01, values[10:100], 50 * values[100:]).filled()
    assert counts.sum() == 20000
    everything = np.concatenate([values[:10] * 0.01, values[10:100], 50 * values[100:]])
    assert abs(np.dot(centres, counts) / 20000 - everything.mean()) < 50 * 8 / 2**13
    assert centres.min() >= everything.min()
    assert centres.max() <= everything.max()


def test_min_max_is_exact_and_contains_zero() -> None:
    values = gaussian() ** 2 + 1
    low, high = choose_range(histogram_of(values[:50], values[50:]), 8, Calibration.MIN_MAX)
    assert (low, high) == (0.0, float(values.max()))


def test_percentile_leaves_out_the_tails() -> None:
    values = gaussian(count=200000)
    low, high = choose_range(histogram_of(values), 8, Calibration.PERCENTILE)
    expected = np.quantile(values, [1e-4, 1 - 1e-4])
    np.testing.assert_allclose([low, high], expected, atol=0.02)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_mse_range_of_a_gaussian_is_near_the_best_uniform_quantizer(bits: int) -> None:
    """Source: Max 1960, table II: steps 0.9957, 0.5860, 0.3352 for 4, 8, 16 levels."""
    limits = choose_range(histogram_of(gaussian(count=400000)), bits, Calibration.MSE)
    step = quant_params(bits, limits).scale
    assert step == pytest.approx({2: 0.9957, 3: 0.5860, 4: 0.3352}[bits], rel=0.2)


@pytest.mark.parametrize("method", [Calibration.MSE, Calibration.KL])
def test_searches_clip_an_outlier_at_four_bits(method: Calibration) -> None:
    values = np.append(np.abs(gaussian()), np.float32(40.0))
    low, high = choose_range(histogram_of(values), 4, method)
    assert low == 0.0
    assert 1.5 < high < 12.0


@pytest.mark.parametrize("method", list(Calibration))
def test_tensor_of_zeros_has_a_range(method: Calibration) -> None:
    params = quant_params(8, choose_range(histogram_of(np.zeros(9)), 8, method))
    assert params.zero_point == 0
    assert params.scale > 0


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3), st.integers(2, 16))
def test_quant_params_represent_zero_and_cover_the_range(
    low: float, width: float, bits: int
) -> None:
    params = quant_params(bits, (low, low + width))
    assert params.dequantize(np.array([params.zero_point]))[0] == 0.0
    edges = np.array([low, low + width])
    error = np.abs(params.dequantize(params.quantize(edges)) - edges)
    assert error.max() <= params.scale * 1.001 + 1e-9 * abs(edges).max()


def test_kl_keeps_most_of_a_relu6_range() -> None:
    """Half zeros, a bulk, a spike at 6: the zeros must not pull the range down."""
    values = np.clip(np.append(gaussian(count=100000) * 3, np.zeros(100000)), 0.0, 6.0)
    low, high = choose_range(histogram_of(values), 8, Calibration.KL)
    assert low == 0.0
    assert high > 5.0
