"""Searches over integers: codes of weights, ends of ranges. Compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled

Reals = NDArray[np.float64]
FloatArray = NDArray[np.float32]


@compiled
def descend(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, low: int, high: int, sweeps: int
) -> None:
    """Give each integer in turn its best value while the others stay; in place.

    Row by row, the objective is ``(w - s q) H (w - s q)'`` over integers q in [low, high].

    A step never raises a row's objective. Changes are rare after a good start, so a step costs
    O(1) and a change O(d).

    Args:
        targets: (rows, d) real weights w.
        codes: (rows, d) integers q, changed.
        scales: (rows,) steps s.
        hessian: (d, d) H, positive diagonal.
        low: least integer.
        high: largest integer.
        sweeps: most passes over all coordinates; a pass without a change is the last.
    """
    rows, count = targets.shape
    slopes = np.empty(count)
    for row in range(rows):
        step = scales[row]
        slopes[:] = 0.0
        for j in range(count):
            error = targets[row, j] - step * codes[row, j]
            if error != 0.0:
                for i in range(count):
                    slopes[i] += error * hessian[j, i]
        for _ in range(sweeps):
            changed = False
            for j in range(count):
                best = np.rint(codes[row, j] + slopes[j] / (step * hessian[j, j]))
                best = min(max(best, low), high)
                if best != codes[row, j]:
                    moved = step * (codes[row, j] - best)
                    for i in range(count):
                        slopes[i] += moved * hessian[j, i]
                    codes[row, j] = best
                    changed = True
            if not changed:
                break


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
