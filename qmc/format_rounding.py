"""Weights rounded to number formats that are not evenly spaced.

The sums sought are those of :mod:`qmc.weight_rounding`: numbers q of the format and a step s with
the least ``(w - s q) H (w - s q)'``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qmc.formats import NumberFormat
from qmc.weight_rounding import best_scales, row_losses

Reals = NDArray[np.float64]

#: Steps tried, as multiples of the one that clips nothing. Signs fit best at the mean magnitude,
#: far below the largest.
_FACTORS = np.geomspace(0.05, 1.25, 40)
_ROUNDS = 2


def format_scales(weights: NDArray[np.float32], form: NumberFormat) -> Reals:
    """The step of each output channel with the least squared rounding error.

    Args:
        weights: (G*K, C, R, S).
        form: of the weights.

    Returns:
        (G*K,) float64; 0 for a channel of zeros, which any step represents.
    """
    rows = weights.reshape(len(weights), -1).astype(np.float64)

    def losses(codes: Reals, steps: Reals) -> Reals:
        return np.asarray(np.square(rows - steps[:, None] * codes).sum(axis=1))

    _, steps = _best_step(rows, form, np.zeros(len(rows)), losses)
    return np.where(np.abs(rows).max(axis=1) > 0.0, steps, 0.0)


def round_groups_to_format(
    targets: Reals, hessian: Reals, form: NumberFormat, floors: Reals
) -> tuple[Reals, Reals]:
    """:func:`round_to_format` of every group: (groups, rows, d), (groups, d, d), (groups, rows)."""
    groups = zip(targets, hessian, floors, strict=True)
    found = [round_to_format(wanted, own, form, least) for wanted, own, least in groups]
    codes, steps = zip(*found, strict=True)
    return np.stack(codes), np.stack(steps)


def round_to_format(
    targets: Reals, hessian: Reals, form: NumberFormat, floors: Reals
) -> tuple[Reals, Reals]:
    """Numerators and steps of every row.

    Args:
        targets: (rows, d) real weights.
        hessian: (d, d), positive definite.
        form: of the weights.
        floors: (rows,) least steps.

    Returns:
        Numerators (rows, d) as float64, and steps (rows,).
    """

    def losses(codes: Reals, steps: Reals) -> Reals:
        return row_losses(targets, codes, steps, hessian)

    codes, steps = _best_step(targets, form, floors, losses)
    for _ in range(_ROUNDS):
        codes = _descend(targets, hessian, form, codes, steps)
        steps = best_scales(targets, codes, steps, hessian, floors)
    return codes, steps


def _best_step(
    targets: Reals, form: NumberFormat, floors: Reals, losses: Callable[[Reals, Reals], Reals]
) -> tuple[Reals, Reals]:
    """Nearest numerators at the step, of all tried, with the least loss of each row."""
    widest = np.abs(targets).max(axis=1) / max(abs(value) for value in form.numerators)
    widest = np.where(widest > 0.0, widest, 1.0)
    best, steps, codes = np.full(len(targets), np.inf), widest, np.zeros_like(targets)
    for factor in _FACTORS:
        tried = np.maximum(widest * factor, floors)
        nearest = form.nearest(targets / tried[:, None]).astype(np.float64)
        loss = losses(nearest, tried)
        better = loss < best
        best, steps = np.where(better, loss, best), np.where(better, tried, steps)
        codes = np.where(better[:, None], nearest, codes)
    return codes, steps


def _descend(
    targets: Reals, hessian: Reals, form: NumberFormat, codes: Reals, steps: Reals
) -> Reals:
    """One sweep of coordinate descent: each number becomes the best given all others of its row."""
    codes = codes.copy()
    pull = (targets - codes * steps[:, None]) @ hessian
    for i, own in enumerate(np.diag(hessian)):
        wanted = codes[:, i] + pull[:, i] / (own * steps)
        chosen = form.nearest(wanted).astype(np.float64)
        pull -= np.outer((chosen - codes[:, i]) * steps, hessian[i])
        codes[:, i] = chosen
    return codes
