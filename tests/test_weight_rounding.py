"""Integer weights with the least error of the output: brute force and properties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.rounding_kernel import descend
from qmc.weight_rounding import (
    best_scales,
    regressed_weights,
    ridged,
    round_rows,
    row_losses,
    successive_rounding,
)

seeds = st.integers(0, 2**32 - 1)


def problem(seed: int, rows: int, count: int, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Weights of every group and the covariance of its strongly correlated inputs."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(groups):
        inputs = rng.normal(size=(count, 3 * count)) + 2.0 * rng.normal(size=3 * count)
        found.append(np.atleast_2d(np.cov(inputs, bias=True)))
    return rng.normal(size=(groups, rows, count)), ridged(np.stack(found), 3 * count)


def brute_force(target: np.ndarray, scale: float, hessian: np.ndarray, bits: int) -> float:
    """Least objective over all integers."""
    allowed = range(-(1 << (bits - 1)), 1 << (bits - 1))
    codes = np.array(list(product(allowed, repeat=len(target))), dtype=np.float64)
    repeated = np.tile(target, (len(codes), 1))
    return float(row_losses(repeated, codes, np.full(len(codes), scale), hessian).min())


@pytest.mark.parametrize(("bits", "count"), [(2, 5), (3, 4)])
def test_rounding_is_near_the_best_of_all_integers(bits: int, count: int) -> None:
    found, nearest, least = [], [], []
    for seed in range(30):
        targets, hessian = problem(seed, 1, count)
        codes, scales = round_rows(targets, hessian, bits, np.zeros((1, 1)))
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        assert codes.min() >= low
        assert codes.max() <= high
        plain = np.clip(np.rint(targets / scales[..., None]), low, high)
        found.append(row_losses(targets, codes, scales, hessian)[0, 0])
        nearest.append(row_losses(targets, plain, scales, hessian)[0, 0])
        least.append(brute_force(targets[0, 0], scales[0, 0], hessian[0], bits))
    assert np.all(np.array(found) >= np.array(least) * (1 - 1e-9))
    assert np.sum(found) <= 1.1 * np.sum(least)
    assert np.sum(found) <= 0.8 * np.sum(nearest)


@given(seeds, st.integers(1, 4), st.integers(1, 150))
def test_successive_rounding_of_independent_columns_takes_the_nearest(
    seed: int, rows: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    targets, scales = rng.normal(size=(2, rows, count)), rng.uniform(0.1, 1.0, (2, rows))
    hessian = np.stack([np.diag(rng.uniform(0.5, 2.0, count)) for _ in range(2)])
    codes, losses = successive_rounding(targets, scales, hessian, -8, 7)
    np.testing.assert_array_equal(codes, np.clip(np.rint(targets / scales[..., None]), -8, 7))
    np.testing.assert_allclose(losses, row_losses(targets, codes, scales, hessian))


@given(seeds, st.integers(1, 4), st.integers(1, 90))
def test_successive_rounding_knows_its_objective(seed: int, rows: int, count: int) -> None:
    targets, hessian = problem(seed, rows, count, groups=2)
    scales = np.random.default_rng(seed).uniform(0.2, 0.6, (2, rows))
    codes, losses = successive_rounding(targets, scales, hessian, -4, 3)
    np.testing.assert_allclose(losses, row_losses(targets, codes, scales, hessian), rtol=1e-6)


@given(seeds, st.integers(1, 4), st.integers(1, 20), st.integers(2, 5))
def test_descent_never_raises_the_objective_and_ends_at_a_minimum(
    seed: int, rows: int, count: int, bits: int
) -> None:
    targets, hessian = problem(seed, rows, count, groups=3)
    rng = np.random.default_rng(seed)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    codes = rng.integers(low, high + 1, targets.shape).astype(np.float64)
    scales = rng.uniform(0.2, 0.6, (3, rows))
    before = row_losses(targets, codes, scales, hessian)
    descend(targets, codes, scales, hessian, low, high, 1)
    after = row_losses(targets, codes, scales, hessian)
    assert np.all(after <= before * (1 + 1e-9))
    descend(targets, codes, scales, hessian, low, high, 1000)
    least = row_losses(targets, codes, scales, hessian)
    for j in range(count):
        for change in (-1.0, 1.0):
            moved = codes.copy()
            moved[..., j] = np.clip(codes[..., j] + change, low, high)
            assert np.all(row_losses(targets, moved, scales, hessian) >= least * (1 - 1e-6))


@given(seeds, st.floats(0.5, 2.0))
def test_no_other_step_suits_the_integers_better(seed: int, factor: float) -> None:
    targets, hessian = problem(seed, 3, 7)
    codes = np.clip(np.rint(targets * 2), -4, 3)
    floors = np.array([0.0, 0.0, 0.7])
    scales = best_scales(targets, codes, np.full(3, 0.7), hessian, floors)
    assert np.all(scales >= floors)
    other = np.maximum(scales * factor, floors)
    least = row_losses(targets, codes, scales, hessian)
    assert np.all(least <= row_losses(targets, codes, other, hessian) * (1 + 1e-9))


def test_groups_are_rounded_as_if_each_were_alone() -> None:
    targets, hessian = problem(0, 5, 9, groups=4)
    floors = np.full((4, 5), 0.3)
    codes, scales = round_rows(targets, hessian, 3, floors)
    for group in range(4):
        own = slice(group, group + 1)
        alone = round_rows(targets[own], hessian[own], 3, floors[own])
        np.testing.assert_array_equal(codes[own], alone[0])
        np.testing.assert_allclose(scales[own], alone[1], rtol=1e-12)


def test_regressed_weights_are_the_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    inputs, wanted = rng.normal(size=(4, 50)), rng.normal(size=(2, 50))
    weights, ridge = rng.normal(size=(2, 4)), 0.3
    covariance, cross = inputs @ inputs.T / 50, wanted @ inputs.T / 50
    found = regressed_weights(weights, covariance, cross, covariance + ridge * np.eye(4))
    stacked = np.hstack([inputs / np.sqrt(50), np.sqrt(ridge) * np.eye(4)])
    targets = np.hstack([wanted / np.sqrt(50), np.sqrt(ridge) * weights])
    np.testing.assert_allclose(found.T, np.linalg.lstsq(stacked.T, targets.T)[0])


def test_weights_of_zero_stay_zero() -> None:
    targets, hessian = np.zeros((1, 2, 3)), ridged(np.zeros((1, 3, 3)), 10)
    codes, scales = round_rows(targets, hessian, 4, np.array([[0.0, 0.5]]))
    assert not codes.any()
    assert np.all(scales > 0.0)
