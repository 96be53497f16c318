"""Statistics at sampled positions against sums over windows."""

from __future__ import annotations

import numpy as np
import pytest

import qmc.layer_statistics
from qmc.arithmetic import QuantParams
from qmc.layer import Layer, LoopBounds, Op
from qmc.layer_statistics import Live, independent_samples, layer_statistics, sample_positions
from qmc.network import Parameters
from qmc.windows import windows

LAYERS = [
    Layer(
        "plain",
        Op.CONV,
        ("x",),
        "y",
        LoopBounds(K=3, C=2, P=4, Q=3, R=3, S=2),
        strides=(2, 1),
        dilations=(1, 2),
        pads=(1, 0, 1, 2),
    ),
    Layer("depthwise", Op.CONV, ("x",), "y", LoopBounds(G=4, K=2, P=3, Q=5, R=1, S=3)),
    Layer("grouped", Op.CONV, ("x",), "y", LoopBounds(G=2, K=3, C=2, P=4, Q=2)),
    Layer("dense", Op.DENSE, ("x",), "y", LoopBounds(K=4, C=6)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("has_missing", [False, True])
def test_statistics_equal_sums_over_all_windows(layer: Layer, has_missing: bool) -> None:
    rng = np.random.default_rng(0)
    b, images = layer.bounds, 3
    rows = layer.input_height - layer.pads[0] - layer.pads[2]
    columns = layer.input_width - layer.pads[1] - layer.pads[3]
    shape = (images, b.G * b.C, rows, columns)
    real = rng.normal(size=shape).astype(np.float32)
    ones = np.ones(b.G * b.C)
    source = Live(real, rng.integers(0, 16, shape, dtype=np.uint8), QuantParams(4, 0.2, 5), ones)
    weights = rng.normal(size=(b.G * b.K, b.C, b.R, b.S)).astype(np.float32)
    positions = sample_positions(layer, images, rng)
    assert positions.shape == (images, b.P * b.Q)  # few: all are taken
    missing = rng.normal(size=(images, b.G * b.K, b.P * b.Q)).astype(np.float32)
    extra = missing if has_missing else None
    parameters = Parameters(weights, rng.normal(size=b.G * b.K).astype(np.float32))
    dense = layer.op is Op.DENSE
    flat = Live(real.reshape(images, -1), source.codes.reshape(images, -1), source.params, ones)
    found = layer_statistics(layer, parameters, flat if dense else source, extra, positions)
    taps = columns_of(layer, source.params.dequantize(source.codes))
    float_taps = columns_of(layer, real)
    for group in range(b.G):
        own = slice(group * b.K, (group + 1) * b.K)
        wanted = weights[own].reshape(b.K, -1) @ float_taps[group]
        if has_missing:
            wanted += missing[:, own].transpose(1, 0, 2).reshape(b.K, -1)
        both = np.cov(np.vstack([wanted, taps[group]]), bias=True).reshape(
            b.K + len(taps[group]), -1
        )
        np.testing.assert_allclose(found.cross[group], both[: b.K, b.K :], atol=1e-5)
        np.testing.assert_allclose(found.covariance[group], both[b.K :, b.K :], atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 100])
def test_statistics_do_not_depend_on_how_many_groups_are_gathered_at_a_time(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LAYERS[1]
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (3, 4, 3, 7), dtype=np.uint8)
    real = rng.normal(size=codes.shape).astype(np.float32)
    source = Live(real, codes, QuantParams(4, 0.2, 5), np.ones(4))
    weights = rng.normal(size=(8, 1, 1, 3)).astype(np.float32)
    parameters = Parameters(weights, np.zeros(8, np.float32))
    positions = sample_positions(layer, 3, rng)
    whole = layer_statistics(layer, parameters, source, None, positions)
    monkeypatch.setattr(qmc.layer_statistics, "_CHUNK", chunk)
    parts = layer_statistics(layer, parameters, source, None, positions)
    np.testing.assert_array_equal(whole.covariance, parts.covariance)
    np.testing.assert_array_equal(whole.cross, parts.cross)


def columns_of(layer: Layer, values: np.ndarray) -> np.ndarray:
    """Inputs of every output: (G, C * R * S, images * P * Q)."""
    b = layer.bounds
    taps = np.stack(list(windows(layer, values.astype(np.float64), 0)), axis=2)
    grouped = taps.reshape(len(values), b.G, b.C * b.R * b.S, -1)
    return grouped.transpose(1, 2, 0, 3).reshape(b.G, b.C * b.R * b.S, -1)


def test_positions_are_drawn_without_repetition() -> None:
    layer = Layer("big", Op.CONV, ("x",), "y", LoopBounds(K=1, C=1, P=300, Q=200))
    positions = sample_positions(layer, 2, np.random.default_rng(0))
    assert positions.shape == (2, 20_000)
    assert positions.max() < 300 * 200
    assert all(len(set(row.tolist())) == 20_000 for row in positions)


def test_positions_of_one_image_are_not_independent() -> None:
    def worth(images: int, each: int) -> int:
        return independent_samples(np.zeros((images, each), np.int64))

    assert worth(100, 1) == 100  # a classifier sees every image once
    assert worth(100, 400) == worth(100, 40) < 100 * 40
    assert worth(200, 40) == 2 * worth(100, 40)
