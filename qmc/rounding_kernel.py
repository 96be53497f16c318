"""Coordinate descent on integer weights. Compiled.

All functions minimize, row by row, ``(w - s q) H (w - s q)'`` over integers q in [low, high].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled

Reals = NDArray[np.float64]


@compiled
def descend(
    targets: Reals, codes: Reals, scales: Reals, hessian: Reals, low: int, high: int, sweeps: int
) -> None:
    """Give each integer in turn its best value while the others stay; in place.

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
def losses(targets: Reals, codes: Reals, scales: Reals, hessian: Reals) -> Reals:
    """The objective of every row, (rows,)."""
    rows, count = targets.shape
    found = np.zeros(rows)
    error = np.empty(count)
    for row in range(rows):
        for j in range(count):
            error[j] = targets[row, j] - scales[row] * codes[row, j]
        for j in range(count):
            partial = 0.0
            for i in range(count):
                partial += hessian[j, i] * error[i]
            found[row] += error[j] * partial
    return found
