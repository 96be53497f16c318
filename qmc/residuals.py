"""What the truth says of a prediction nearby: a Gaussian process over the few mappings priced."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

#: Distance, in the scale of :func:`feature_scale`, over which residuals are alike.
_LENGTH = 0.5
#: Variance of the noise over that of the residuals.
_NOISE = 1e-4


@dataclass(frozen=True, slots=True)
class Residuals:
    """Mean of a Gaussian process with an exponential kernel, fitted to residuals.

    Attributes:
        rows: (count, features) where the truth is known, scaled.
        weights: (count,) of their kernels.
        mean: of the residuals.
        scale: (features,) see :func:`feature_scale`.
    """

    rows: Floats
    weights: Floats
    mean: float
    scale: Floats

    def at(self, rows: Rows) -> Floats:
        """(count,) residuals to expect of mappings with these features."""
        found: Floats = self.mean + _kernel(rows / self.scale, self.rows) @ self.weights
        return found


def no_residuals(scale: Floats) -> Residuals:
    """Nothing is known yet."""
    return Residuals(np.zeros((0, len(scale))), np.zeros(0), 0.0, scale)


def fit_residuals(rows: Rows, values: Floats, scale: Floats) -> Residuals:
    """Fit to ``values`` (count,), truth minus prediction, at mappings with these features."""
    scaled: Floats = rows / scale
    mean = float(values.mean())
    matrix = _kernel(scaled, scaled) + _NOISE * np.eye(len(scaled))
    weights: Floats = np.linalg.solve(matrix, values - mean).astype(np.float64)
    return Residuals(scaled, weights, mean, scale)


def feature_scale(rows: Rows) -> Floats:
    """(features,) divisors that make random mappings of a layer lie about 1 apart."""
    spread = rows.astype(np.float64).std(axis=0)
    live = spread > 1e-6
    scale: Floats = np.where(live, spread * math.sqrt(max(1, int(live.sum()))), np.inf)
    return scale


def _kernel(left: Floats, right: Floats) -> Floats:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * left @ right.T
    kernel: Floats = np.exp(-np.sqrt(np.maximum(squares, 0.0)) / _LENGTH)
    return kernel
