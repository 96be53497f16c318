"""Integer weights that keep a layer's output, not its weights.

For rows w of a layer's weights and the covariance H of its inputs, integers q and a step s are
sought with the least ``(w - s q) H (w - s q)'``: the mean squared change of the layer's output.
Groups of a layer, each with an H of its own, are worked on at once.

Sources: GPTQ, Frantar et al., arXiv 2210.17323 (:func:`successive_rounding`); asymmetric
calibration, GPTAQ, arXiv 2504.02692 (:func:`regressed_weights`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.rounding_kernel import descend
from qmc.weight_scales import least_error_scales

Reals = NDArray[np.float64]

#: Ridge beside the covariance, as a share of its mean diagonal.
_RIDGE = 0.02
#: Samples per weight below which the ridge grows in proportion.
_SAMPLES_PER_WEIGHT = 5.0
#: Steps tried, as multiples of the one with the least error of the weights.
_FACTORS = np.linspace(0.7, 1.3, 8)
_MORE_FACTORS = np.linspace(0.5, 1.4, 24)
#: Layers of at most this many weights in a row are so cheap that more steps are tried.
_FEW_WEIGHTS = 32
_ROUNDS = 3
_SWEEPS = 2
#: Columns that are rounded before the rest is updated by one product.
_BLOCK = 64


def ridged(covariance: Reals, samples: int) -> Reals:
    """The covariances with a ridge that keeps them well conditioned.

    Args:
        covariance: (..., d, d).
        samples: independent ones, from which it was estimated.
    """
    count = covariance.shape[-1]
    share = _RIDGE * max(1.0, _SAMPLES_PER_WEIGHT * count / samples)
    mean = np.trace(covariance, axis1=-2, axis2=-1) / count
    ridge = np.where(mean > 0.0, share * mean, 1.0)
    return np.asarray(covariance + np.eye(count) * ridge[..., None, None])


def regressed_weights(weights: Reals, covariance: Reals, cross: Reals, hessian: Reals) -> Reals:
    """Real weights that make the best of inputs which are not what they should be.

    W* = W + (C - W S) H^-1 minimizes E |T - W* x|^2 + ridge |W* - W|^2.

    Args:
        weights: (..., rows, d) float weights W.
        covariance: (..., d, d) S of the inputs x that the layer will see.
        cross: (..., rows, d) C, covariance of the wanted outputs T with x.
        hessian: (..., d, d) H = S + ridge.
    """
    missing = cross - weights @ covariance
    return np.asarray(weights + np.linalg.solve(hessian, missing.mT).mT, dtype=np.float64)


def round_rows(targets: Reals, hessian: Reals, bits: int, floors: Reals) -> tuple[Reals, Reals]:
    """Integers and steps of every row of every group.

    Args:
        targets: (groups, rows, d) real weights.
        hessian: (groups, d, d), positive definite.
        bits: of the integers, signed.
        floors: (groups, rows) least steps.

    Returns:
        Integers (groups, rows, d) as float64, and steps (groups, rows).
    """
    groups, rows, count = targets.shape
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    flat = targets.reshape(-1, count).astype(np.float32)
    start = least_error_scales(flat[:, :, None, None], bits).reshape(groups, rows)
    start = np.where(start > 0.0, start, np.where(floors > 0.0, floors, 1.0))  # a fine bias
    few = count <= _FEW_WEIGHTS
    factors = _MORE_FACTORS if few else _FACTORS
    tried = np.maximum(factors[:, None] * start[:, None], floors[:, None]).reshape(groups, -1)
    repeated = np.tile(targets, (1, len(factors), 1))
    codes, losses = successive_rounding(repeated, tried, hessian, low, high)
    if few:
        descend(repeated, codes, tried, hessian, low, high, 4 * _SWEEPS)
        losses = row_losses(repeated, codes, tried, hessian)
    best = losses.reshape(groups, len(factors), rows).argmin(axis=1)
    chosen = best * rows + np.arange(rows)
    codes = np.take_along_axis(codes, chosen[:, :, None], axis=1)
    return refine(targets, codes, np.take_along_axis(tried, chosen, axis=1), hessian, bits, floors)


def refine(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, bits: int, floors: Reals
) -> tuple[Reals, Reals]:
    """Integers and steps improved in turn; neither ever raises the objective.

    Args:
        targets: (groups, rows, d) real weights.
        codes: (groups, rows, d) integers to begin with.
        scales: (groups, rows) steps to begin with.
        hessian: (groups, d, d), positive definite.
        bits: of the integers, signed.
        floors: (groups, rows) least steps.

    Returns:
        As :func:`round_rows`.
    """
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    codes = codes.copy()
    for _ in range(_ROUNDS):
        descend(targets, codes, scales, hessian, low, high, _SWEEPS)
        scales = best_scales(targets, codes, scales, hessian, floors)
    return codes, scales


def successive_rounding(
    targets: Reals, scales: Reals, hessian: Reals, low: int, high: int
) -> tuple[Reals, Reals]:
    """Round column by column; the columns left make up for the errors made (GPTQ).

    Args:
        targets: (groups, rows, d) real weights.
        scales: (groups, rows).
        hessian: (groups, d, d), positive definite.
        low: least integer.
        high: largest integer.

    Returns:
        Integers (groups, rows, d) as float64, and the objective of every row.
    """
    order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1, kind="stable")
    permuted = np.take_along_axis(hessian, order[:, :, None], axis=1)
    factor = _inverse_factor(np.take_along_axis(permuted, order[:, None, :], axis=2))
    sorted_targets = np.take_along_axis(targets, order[:, None, :], axis=2)
    left = np.ascontiguousarray(sorted_targets.mT)  # columns are contiguous
    codes = np.empty_like(left)
    losses = np.zeros(scales.shape)
    count = left.shape[1]
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        errors = np.empty((len(left), last - first, left.shape[2]))
        for i in range(first, last):
            codes[:, i] = np.clip(np.rint(left[:, i] / scales), low, high)
            error = (left[:, i] - scales * codes[:, i]) / factor[:, i, i, None]
            left[:, i + 1 : last] -= factor[:, i, i + 1 : last, None] * error[:, None]
            errors[:, i - first] = error
        left[:, last:] -= factor[:, first:last, last:].mT @ errors
        losses += np.square(errors).sum(axis=1)
    result = np.empty_like(targets)
    np.put_along_axis(result, order[:, None, :], codes.mT, axis=2)
    return result, losses


def best_scales(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, floors: Reals
) -> Reals:
    """The steps with the least objective for given integers; the old one where none is better.

    s = (q H w') / (q H q') is the minimum of a parabola, so a floor above it is the best too.
    """
    products = codes @ hessian
    above = np.einsum("...ij,...ij->...i", products, targets)
    below = np.einsum("...ij,...ij->...i", products, codes)
    usable = (above > 0.0) & (below > 0.0)
    fitted = above / np.where(usable, below, 1.0)
    return np.where(usable, np.maximum(fitted, floors), scales)


def row_losses(targets: Reals, codes: Reals, scales: Reals, hessian: Reals) -> Reals:
    """The objective of every row, (..., rows)."""
    errors = targets - scales[..., None] * codes
    return np.asarray(np.einsum("...ij,...ij->...i", errors @ hessian, errors))


def _inverse_factor(hessian: Reals) -> Reals:
    """Upper triangular U with U' U = H^-1, of every group."""
    # With J the reversal: H = J L L' J, so H^-1 = (J L^-T J)(J L^-1 J), and J L^-1 J is upper.
    lower = np.linalg.cholesky(hessian[:, ::-1, ::-1])
    inverse = np.linalg.solve(lower, np.eye(lower.shape[-1]))
    return np.ascontiguousarray(inverse[:, ::-1, ::-1])
