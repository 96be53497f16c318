"""The integer contract on sums held in floating point. Compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled

Reals = NDArray[np.float64]


@compiled
def requantize_sums(
    sums: NDArray[Any],
    start: Reals,
    multiplier: Reals,
    half: Reals,
    step: Reals,
    offset: Reals,
    low: int,
    high: int,
    codes: NDArray[Any],
) -> None:
    """Output codes of integer sums: exact as long as float64 holds every product.

    Args:
        sums: (n, channels, pixels) integers in float32 or float64.
        start: (channels,) added to a sum.
        multiplier: (channels,) times that.
        half: (channels,) added before the shift.
        step: (channels,) 2^-shift.
        offset: (channels,) added to the rounded number.
        low: least code.
        high: greatest code.
        codes: (n, channels, pixels) unsigned, written.
    """
    images, channels, pixels = sums.shape
    for n in range(images):
        for k in range(channels):
            for p in range(pixels):
                scaled = (np.float64(sums[n, k, p]) + start[k]) * multiplier[k] + half[k]
                code = np.floor(scaled * step[k]) + offset[k]
                codes[n, k, p] = np.int32(min(max(code, low), high))
