"""From times of calls to one figure per kernel: outliers dropped, medians, the least turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A sample this many deviations above the median is no sample: something else ran.
_OUTLIER = 3.0
#: From the median absolute deviation to a standard deviation, if errors were normal.
_SCALE = 1.4826
#: Deviations are never taken for less than this share of the median.
_LEAST_SHARE = 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timing:
    """What was measured of one kernel.

    Attributes:
        ns: nanoseconds of a call.
        ratio: to the first kernel of the same program, turn by turn.
        checksum: of its output.
    """

    ns: float
    ratio: float
    checksum: str


def typical(samples: Floats) -> float:
    """Median of the samples that are no outliers upward."""
    middle = float(np.median(samples))
    spread = max(_SCALE * float(np.median(np.abs(samples - middle))), _LEAST_SHARE * middle)
    return float(np.median(samples[samples <= middle + _OUTLIER * spread]))


def read_timings(printed: str, sides: int) -> list[Timing]:
    """What a trial program printed, as figures.

    Args:
        printed: a checksum per kernel, then lines of samples: kernel by kernel, turn by turn.
        sides: kernels in the program.

    Raises:
        ValueError: it is cut short, or holds something else.
    """
    lines = printed.splitlines()
    checksums, rows = lines[:sides], lines[sides:]
    if len(checksums) < sides or not rows or len(rows) % sides:
        raise ValueError(f"found {len(rows)} lines of samples of {sides} kernels")
    turns = [typical(np.array([float(word) for word in row.split()])) for row in rows]
    table = np.array(turns).reshape(-1, sides)
    ratios = np.median(table / table[:, :1], axis=0)
    return [
        Timing(float(ns), float(ratio), checksum)
        for ns, ratio, checksum in zip(table.min(axis=0), ratios, checksums, strict=True)
    ]


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers."""
    return float(np.exp(np.mean(np.log(np.asarray(values)))))
