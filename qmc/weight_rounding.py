"""Integer weights that keep a layer's output, not its weights.

For rows w of a layer's weights and the covariance H of its inputs, integers q and a step s are
sought with the least ``(w - s q) H (w - s q)'``: the mean squared change of the layer's output.

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
    """The covariance with a ridge that keeps it well conditioned.

    Args:
        covariance: (d, d).
        samples: from which it was estimated.
    """
    count = len(covariance)
    share = _RIDGE * max(1.0, _SAMPLES_PER_WEIGHT * count / samples)
    mean = float(np.trace(covariance)) / count
    return covariance + np.eye(count) * (share * mean if mean > 0.0 else 1.0)


def regressed_weights(weights: Reals, covariance: Reals, cross: Reals, hessian: Reals) -> Reals:
    """Real weights that make the best of inputs which are not what they should be.

    W* = W + (C - W S) H^-1 minimizes E |T - W* x|^2 + ridge |W* - W|^2.

    Args:
        weights: (rows, d) float weights W.
        covariance: (d, d) S of the inputs x that the layer will see.
        cross: (rows, d) C, covariance of the wanted outputs T with x.
        hessian: (d, d) H = S + ridge.
    """
    missing = cross - weights @ covariance
    return np.asarray(weights + np.linalg.solve(hessian, missing.T).T, dtype=np.float64)


def round_rows(targets: Reals, hessian: Reals, bits: int, floors: Reals) -> tuple[Reals, Reals]:
    """Integers and steps of every row.

    Args:
        targets: (rows, d) real weights.
        hessian: (d, d), positive definite.
        bits: of the integers, signed.
        floors: (rows,) least steps.

    Returns:
        Integers (rows, d) as float64, and steps (rows,).
    """
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    start = least_error_scales(targets.astype(np.float32)[:, :, None, None], bits)
    start = np.where(start > 0.0, start, np.where(floors > 0.0, floors, 1.0))  # a fine bias
    few = targets.shape[1] <= _FEW_WEIGHTS
    factors = _MORE_FACTORS if few else _FACTORS
    tried = np.maximum(np.outer(factors, start), floors).reshape(-1)
    repeated = np.tile(targets, (len(factors), 1))
    codes, losses = successive_rounding(repeated, tried, hessian, low, high)
    if few:
        descend(repeated, codes, tried, hessian, low, high, 4 * _SWEEPS)
        losses = row_losses(repeated, codes, tried, hessian)
    best = losses.reshape(len(factors), -1).argmin(axis=0)
    rows = np.arange(len(targets))
    codes = np.ascontiguousarray(codes.reshape(len(factors), *targets.shape)[best, rows])
    scales = tried.reshape(len(factors), -1)[best, rows]
    return refine(targets, codes, scales, hessian, bits, floors)


def refine(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, bits: int, floors: Reals
) -> tuple[Reals, Reals]:
    """Integers and steps improved in turn; neither ever raises the objective.

    Args:
        targets: (rows, d) real weights.
        codes: (rows, d) integers to begin with.
        scales: (rows,) steps to begin with.
        hessian: (d, d), positive definite.
        bits: of the integers, signed.
        floors: (rows,) least steps.

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
        targets: (rows, d) real weights.
        scales: (rows,).
        hessian: (d, d), positive definite.
        low: least integer.
        high: largest integer.

    Returns:
        Integers (rows, d) as float64, and the objective of every row.
    """
    order = np.argsort(-np.diag(hessian), kind="stable")
    factor = _inverse_factor(hessian[np.ix_(order, order)])
    left = np.ascontiguousarray(targets[:, order].T)  # columns are contiguous
    codes = np.empty_like(left)
    losses = np.zeros(len(targets))
    for first in range(0, len(left), _BLOCK):
        last = min(first + _BLOCK, len(left))
        errors = np.empty((last - first, len(targets)))
        for i in range(first, last):
            codes[i] = np.clip(np.rint(left[i] / scales), low, high)
            error = (left[i] - scales * codes[i]) / factor[i, i]
            left[i + 1 : last] -= factor[i, i + 1 : last, None] * error
            errors[i - first] = error
        left[last:] -= factor[first:last, last:].T @ errors
        losses += np.square(errors).sum(axis=0)
    result = np.empty_like(targets)
    result[:, order] = codes.T
    return result, losses


def best_scales(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, floors: Reals
) -> Reals:
    """The steps with the least objective for given integers; the old one where none is better.

    s = (q H w') / (q H q') is the minimum of a parabola, so a floor above it is the best too.
    """
    products = codes @ hessian
    above = np.einsum("ij,ij->i", products, targets)
    below = np.einsum("ij,ij->i", products, codes)
    usable = (above > 0.0) & (below > 0.0)
    fitted = above / np.where(usable, below, 1.0)
    return np.where(usable, np.maximum(fitted, floors), scales)


def row_losses(targets: Reals, codes: Reals, scales: Reals, hessian: Reals) -> Reals:
    """The objective of every row, (rows,)."""
    errors = targets - scales[:, None] * codes
    return np.asarray(np.einsum("ij,ij->i", errors @ hessian, errors))


def _inverse_factor(hessian: Reals) -> Reals:
    """Upper triangular U with U' U = H^-1."""
    count = len(hessian)
    # With J the reversal: H = J L L' J, so H^-1 = (J L^-T J)(J L^-1 J), and J L^-1 J is upper.
    lower = np.linalg.cholesky(hessian[::-1, ::-1])
    inverse = np.linalg.solve(lower, np.eye(count))
    return np.ascontiguousarray(inverse[::-1, ::-1])
