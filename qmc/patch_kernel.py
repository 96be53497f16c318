"""What a layer reads under its filter at chosen positions. Compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@compiled
def gather_patches(
    values: NDArray[Any],
    first: int,
    rows: IntArray,
    columns: IntArray,
    taps: IntArray,
    zero: float,
    scale: float,
    found: FloatArray,
) -> None:
    """Fill ``found`` with (value - zero) * scale under the filter; 0 in the padding.

    Args:
        values: (n, channels, height, width).
        first: channel that ``found`` begins with.
        rows: (n, m) of the filter's corner at each position, negative in the padding.
        columns: (n, m), as ``rows``.
        taps: (t, 2) rows and columns from the corner.
        zero: subtracted from every value.
        scale: multiplied by every difference.
        found: (channels, t, n * m).
    """
    height, width = values.shape[2], values.shape[3]
    least, factor = np.float32(zero), np.float32(scale)
    images, each = rows.shape
    for channel in range(len(found)):
        for image in range(images):
            plane = values[image, first + channel]
            for tap in range(len(taps)):
                line = found[channel, tap]
                down, right = taps[tap, 0], taps[tap, 1]
                start = image * each
                for i in range(each):
                    row, column = rows[image, i] + down, columns[image, i] + right
                    if 0 <= row < height and 0 <= column < width:
                        value = np.float32(plane[row, column])
                        line[start + i] = (value - least) * factor
                    else:
                        line[start + i] = np.float32(0.0)
