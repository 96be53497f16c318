"""Searches over integers: codes of weights, ends of ranges. Compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled

Reals = NDArray[np.float64]
FloatArray = NDArray[np.float32]


@compiled
def _descend_row(
    targets: Reals,
    codes: Reals,
    step: float,
    hessian: Reals,
    low: int,
    high: int,
    sweeps: int,
    slopes: Reals,
) -> None:
    """:func:`descend` for one row; ``slopes``, (d,), is for its use."""
    slopes[:] = 0.0
    count = len(codes)
    for j in range(count):
        error = targets[j] - step * codes[j]
        if error != 0.0:
            for i in range(count):
                slopes[i] += error * hessian[j, i]
    for _ in range(sweeps):
        changed = False
        for j in range(count):
            best = np.rint(codes[j] + slopes[j] / (step * hessian[j, j]))
            best = min(max(best, low), high)
            if best != codes[j]:
                moved = step * (codes[j] - best)
                for i in range(count):
                    slopes[i] += moved * hessian[j, i]
                codes[j] = best
                changed = True
        if not changed:
            break


@compiled
def descend(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, low: int, high: int, sweeps: int
) -> None:
    """Give each integer in turn its best value while the others stay; in place.

    Row by row, the objective is ``(w - s q) H (w - s q)'`` over integers q in [low, high].

    A step never raises a row's objective. Changes are rare after a good start, so a step costs
    O(1) and a change O(d).

    Args:
        targets: (groups, rows, d) real weights w.
        codes: (groups, rows, d) integers q, changed.
        scales: (groups, rows) steps s.
        hessian: (groups, d, d) H, positive diagonal.
        low: least integer.
        high: largest integer.
        sweeps: most passes over all coordinates; a pass without a change is the last.
    """
    slopes = np.empty(targets.shape[2])
    for group in range(len(targets)):
        for row in range(targets.shape[1]):
            wanted, line, step = targets[group, row], codes[group, row], scales[group, row]
            _descend_row(wanted, line, step, hessian[group], low, high, sweeps, slopes)


@compiled
def least_error_clips(values: FloatArray, largest: Reals, shares: Reals, steps: int) -> Reals:
    """The end of each row's range [0, end] with the least squared error of quantization.

    Args:
        values: (rows, n), none negative.
        largest: (rows,) largest values.
        shares: of the largest value, tried as ends.
        steps: of the codes, 2^bits - 1.
    """
    ends = np.zeros(len(values))
    for row in range(len(values)):
        least = np.inf
        for share in shares:
            end = largest[row] * share
            if end <= 0.0:
                continue
            step = end / steps
            loss = 0.0
            for value in values[row]:
                error = min(np.floor(value / step + 0.5), steps) * step - value
                loss += error * error
            if loss < least:
                least, ends[row] = loss, end
    return ends
