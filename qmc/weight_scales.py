"""Scales of symmetric per-channel weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams

Reals = NDArray[np.float64]

#: A channel whose scale would be below this counts as zeros; float32 is subnormal soon after.
_LEAST_SCALE = 1e-36
#: Scales tried, as fractions of the one that clips nothing.
_RATIOS = np.linspace(0.25, 1.0, 61)
#: Least ratio input scale * weight scale / output scale, so that the requantization's affine form
#: stays exact (docs/arithmetic.md). Rounding weights to it errs by less than a tenth of a code.
_LEAST_MULTIPLIER = 2.0**-13 * (1 + 2.0**-6)
#: Largest bias in steps of the accumulator; leaves half of int32 to the products.
_LARGEST_BIAS = 2.0**30


def least_error_scales(weights: NDArray[np.float32], bits: int) -> Reals:
    """The scale of each output channel with the least squared rounding error.

    Args:
        weights: (G*K, C, R, S).
        bits: 2 to 8.

    Returns:
        (G*K,) float64; 0 for a channel of zeros, which any scale represents.
    """
    rows = weights.reshape(len(weights), -1)
    top = 1 << (bits - 1)
    widest = np.abs(rows).max(axis=1).astype(np.float64) / (top - 1)
    dead = widest < _LEAST_SCALE
    usable = np.where(dead, 1.0, widest)
    best, least = usable, np.full(len(rows), np.inf)
    for ratio in _RATIOS[::-1]:
        scales = usable * ratio
        steps = scales.astype(np.float32)[:, None]
        error = np.clip(np.rint(rows / steps), -top, top - 1) * steps - rows
        loss = np.einsum("ij,ij->i", error, error, dtype=np.float64)
        best, least = np.where(loss < least, scales, best), np.minimum(loss, least)
    return np.where(dead, 0.0, best)


def least_legal_scales(
    bias: NDArray[np.float32], source: QuantParams, output: QuantParams
) -> Reals:
    """The smallest weight scales that keep a layer's integers in range.

    Channels whose weights nearly vanish beside their bias (folded batch norms make such) would
    otherwise have a bias beyond int32 and a multiplier too small for the fast form.
    """
    floors = np.abs(bias.astype(np.float64)) / (source.scale * _LARGEST_BIAS)
    if output.bits <= 8:
        floors = np.maximum(floors, _LEAST_MULTIPLIER * output.scale / source.scale)
    return np.asarray(floors)
