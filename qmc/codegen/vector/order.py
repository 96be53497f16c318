"""In which order the channels of a block lie in its vectors of sums.

Narrowing four vectors of 32-bit sums to one of bytes is cheapest when the instructions may
interleave them; the weights are packed so that the bytes come out in their natural order. Lane
``4*l + e`` of vector ``q`` is element e of 128-bit lane l.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Channels = NDArray[np.int64]


def block_order(vectors: int, lanes: int, panels: str, is_raw: bool) -> Channels:
    """Channel of every place of a block: natural for ``rows`` and where sums are stored as such."""
    if panels == "rows" or is_raw:
        return np.arange(vectors * lanes)
    return matrix_order(vectors, lanes)


def matrix_order(vectors: int, lanes: int) -> Channels:
    """Channel of every place of a block of a matrix product.

    Four vectors: their low words are joined two by two, then narrowed lane by lane. Two: the same,
    halves brought to the front. A single one, and the third of three: as they are.

    Args:
        vectors: of the block, 1 to 4.
        lanes: sums in a vector.

    Returns:
        (vectors * lanes,) channels within the block, vector by vector.
    """
    q, lane = np.divmod(np.arange(vectors * lanes), lanes)
    wide, element = np.divmod(lane, 4)
    if vectors == 4:
        return np.asarray(16 * wide + 8 * (q // 2) + 2 * element + q % 2)
    pair = 8 * wide + 2 * element + q % 2
    if vectors == 1:
        return np.arange(lanes)
    return np.where(q < 2, pair, 2 * lanes + lane)


def depthwise_order(lanes: int) -> Channels:
    """Channel of every place of a depthwise block: four vectors as interleaving rows makes them."""
    q, lane = np.divmod(np.arange(4 * lanes), lanes)
    wide, element = np.divmod(lane, 4)
    return np.asarray(16 * wide + 4 * q + element)
