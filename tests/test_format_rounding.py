"""Rounding to uneven formats: against brute force, and never worse than without statistics."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.format_rounding import format_scales, round_to_format
from qmc.formats import WEIGHT_FORMATS, number_format
from qmc.weight_rounding import row_losses

_SEEDS = st.integers(0, 2**32 - 1)


def _problem(seed: int, rows: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Real weights, and the covariance of correlated inputs."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, 3 * count)) + rng.normal(size=(1, 3 * count))
    return rng.normal(size=(rows, count)), mixed @ mixed.T / (3 * count) + 0.01 * np.eye(count)


@pytest.mark.parametrize("name", WEIGHT_FORMATS)
@settings(max_examples=20)
@given(seed=_SEEDS, rows=st.integers(1, 4), count=st.integers(1, 20))
def test_rounding_gives_numbers_of_the_format_and_beats_the_nearest(
    name: str, seed: int, rows: int, count: int
) -> None:
    form = number_format(name)
    targets, hessian = _problem(seed, rows, count)
    codes, steps = round_to_format(targets, hessian, form, np.zeros(rows))
    assert set(np.unique(codes)) <= set(form.numerators)
    plain = format_scales(targets.astype(np.float32)[:, :, None, None], form)
    nearest = form.nearest(targets / plain[:, None]).astype(np.float64)
    ours, theirs = (
        row_losses(targets, q, s, hessian) for q, s in ((codes, steps), (nearest, plain))
    )
    assert np.all(ours <= theirs * 1.02)  # the steps tried are not the same


@pytest.mark.parametrize("name", ["binary", "ternary"])
@settings(max_examples=20)
@given(seed=_SEEDS)
def test_rounding_is_near_the_best_of_all_numbers(name: str, seed: int) -> None:
    form = number_format(name)
    targets, hessian = _problem(seed, 1, 6)
    best = np.inf
    for numbers in product(sorted(set(form.numerators)), repeat=6):
        q = np.array([numbers], dtype=np.float64)
        below = float((q @ hessian @ q.T)[0, 0])
        if below > 0.0:
            step = float((q @ hessian @ targets.T)[0, 0]) / below
            if step > 0.0:
                best = min(best, float(row_losses(targets, q, np.array([step]), hessian)[0]))
    codes, steps = round_to_format(targets, hessian, form, np.zeros(1))
    found = float(row_losses(targets, codes, steps, hessian)[0])
    assert best * (1 - 1e-9) <= found <= best * 2 + 0.02


def test_scale_of_signs_is_the_mean_magnitude() -> None:
    weights = np.random.default_rng(0).normal(size=(3, 50, 1, 1)).astype(np.float32)
    scales = format_scales(weights, number_format("binary"))
    np.testing.assert_allclose(scales, np.abs(weights).mean(axis=(1, 2, 3)), rtol=0.06)


def test_channel_of_zeros_has_no_scale_and_floors_hold() -> None:
    form = number_format("e2m1")
    assert format_scales(np.zeros((2, 3, 1, 1), np.float32), form).tolist() == [0.0, 0.0]
    targets, hessian = _problem(1, 3, 5)
    _, steps = round_to_format(targets, hessian, form, np.full(3, 9.0))
    assert steps.min() >= 9.0
