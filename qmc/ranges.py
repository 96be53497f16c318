"""Observed activations and the ranges chosen from them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams

Reals = NDArray[np.float64]
Range = tuple[float, float]

#: Bins on each side of zero; a power of two, so that bins merge in pairs.
_SIDE = 1 << 13
#: Lower and upper tail that the percentile method gives up.
_TAIL = 1e-4
#: Fractions of the full range that the MSE and KL searches try.
_SHRINKS = np.linspace(1.0, 0.1, 91)
#: Bins of the histogram whose shape the KL search keeps, and the values a bin should have.
_KL_BINS = 2048
_KL_SAMPLES_PER_BIN = 16


class Calibration(StrEnum):
    """How a range is chosen from observed values."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"  # 0.01 % and 99.99 %
    MSE = "mse"  # least mean squared error of quantized values
    KL = "kl"  # least Kullback-Leibler divergence of their histogram


class Histogram:
    """Counts of the values of one tensor, gathered batch by batch in bounded memory.

    Bins are uniform on [-reach, reach]; when a value lies outside, the reach doubles and bins merge
    in pairs. The result depends on the values only through the batch in which they first appear.
    """

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self._reach = 0.0
        self._counts: NDArray[np.int64] = np.zeros(2 * _SIDE, dtype=np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count ``values``, of any shape."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(abs(low), abs(high)))
        scaled = values.reshape(-1) * np.float32(_SIDE / self._reach) + np.float32(_SIDE)
        bins = np.clip(scaled.astype(np.int32), 0, 2 * _SIDE - 1)
        self._counts += np.bincount(bins, minlength=2 * _SIDE)

    def filled(self) -> tuple[Reals, Reals]:
        """Centres and counts of the bins that hold anything."""
        used = np.flatnonzero(self._counts)
        centres = (used + 0.5 - _SIDE) * (self._reach / _SIDE)
        return np.clip(centres, self.low, self.high), self._counts[used].astype(np.float64)

    def _grow(self, magnitude: float) -> None:
        if self._reach == 0.0:
            self._reach = max(magnitude, 1e-30)
        while self._reach < magnitude:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)  # bins 2k, 2k+1 share a wider bin
            self._counts = np.zeros(2 * _SIDE, dtype=np.int64)
            self._counts[_SIDE // 2 : _SIDE // 2 + _SIDE] = pairs
            self._reach *= 2.0


def quant_params(bits: int, limits: Range) -> QuantParams:
    """Asymmetric parameters of a range; zero is always in it and has a code of its own."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if high - low < 1e-30:
        high = low + 1.0  # a tensor that is always zero
    scale = (high - low) / ((1 << bits) - 1)
    return QuantParams(bits, scale, int(np.floor(-low / scale + 0.5)))


def choose_range(histogram: Histogram, bits: int, method: Calibration) -> Range:
    """The range of a tensor of ``bits`` bits by ``method``; contains zero."""
    full = (min(histogram.low, 0.0), max(histogram.high, 0.0))
    if method is Calibration.MIN_MAX or full[0] == full[1]:
        return full
    centres, counts = histogram.filled()
    if method is Calibration.PERCENTILE:
        return _percentile(full, centres, counts)
    if method is Calibration.MSE:
        return _search(full, lambda limits: _squared_error(centres, counts, bits, limits))
    bins = int(min(_KL_BINS, counts.sum() / _KL_SAMPLES_PER_BIN))
    if bins < 2 << bits:
        return full  # too few values to tell a shape from noise
    # Zero always has a code of its own; its many counts (ReLU) would only drown the shape.
    filled = np.abs(centres) > np.diff(centres, append=np.inf).min()
    coarse, edges = np.histogram(centres[filled], bins, full, weights=counts[filled])
    middles = 0.5 * (edges[1:] + edges[:-1])
    return _search(full, lambda limits: _divergence(middles, coarse, bits, limits))


def _percentile(full: Range, centres: Reals, counts: Reals) -> Range:
    share = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
    low, high = np.interp([_TAIL, 1.0 - _TAIL], share, centres)
    return max(full[0], min(float(low), 0.0)), min(full[1], max(float(high), 0.0))


def _search(full: Range, loss: Callable[[Range], float]) -> Range:
    """Shrink the upper end, then the lower, to the least loss; the first of equals wins."""
    uppers = [(full[0], full[1] * float(shrink)) for shrink in _SHRINKS]
    best = min(uppers, key=loss)
    lowers = [(full[0] * float(shrink), best[1]) for shrink in _SHRINKS]
    return min(lowers, key=loss) if full[0] < 0.0 else best


def _squared_error(centres: Reals, counts: Reals, bits: int, limits: Range) -> float:
    params = quant_params(bits, limits)
    codes = np.clip(np.rint(centres / params.scale) + params.zero_point, 0, params.high)
    error = (codes - params.zero_point) * params.scale - centres
    return float(np.dot(counts, error * error))


def _divergence(centres: Reals, counts: Reals, bits: int, limits: Range) -> float:
    """KL(P || Q): P the histogram, clipped; Q spreads each code's count over its filled bins."""
    params = quant_params(bits, limits)
    inside = (centres >= limits[0]) & (centres <= limits[1]) & (counts > 0)
    if not inside.any():
        return np.inf
    codes = np.rint(centres / params.scale) + params.zero_point
    codes = np.clip(codes, 0, params.high).astype(np.int64)
    kept = np.where(inside, counts, 0.0)
    mass = np.bincount(codes, kept, params.high + 1)
    bins = np.bincount(codes, inside.astype(np.float64), params.high + 1)
    q = np.where(inside, (mass / np.maximum(bins, 1.0))[codes], 0.0)
    p, (first, last) = kept.copy(), np.flatnonzero(inside)[[0, -1]]
    p[first] += counts[:first].sum()  # what is clipped lands at the ends
    p[last] += counts[last + 1 :].sum()
    p, q = p[inside] / p.sum(), q[inside] / q.sum()
    return float(np.sum(p * np.log(p / q)))
