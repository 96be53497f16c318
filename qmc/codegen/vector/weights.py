"""Weights in the order in which vector kernels read them, at their true width.

A *panel* is what one block of output channels needs. Below 8 bits a panel's codes lie in planes of
4, 2 and 1 bits (``qmc_unpack_planes`` in vector.h): any width is unpacked by shifts of whole
vectors, and no bit is wasted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.vector.order import Channels, depthwise_order

_QUAD = 4


def matrix_panel(
    weights: NDArray[np.int8], order: Channels, lanes: int, quads: int, panels: str
) -> NDArray[np.int8]:
    """Weights of one block of a matrix product.

    Args:
        weights: (channels, runs, length) codes of at most ``len(order)`` output channels.
        order: channel of every place.
        lanes: sums in a vector.
        quads: of inputs that are read of a run.
        panels: how they lie.

    Returns:
        Flat codes: run, quad of inputs, vector, lane, input of the quad; of ``rows``: place, run,
        input; of ``columns``: run, input, place.
    """
    channels, runs, length = weights.shape
    padded = np.zeros((len(order), runs, quads * _QUAD), np.int8)
    padded[:channels, :, :length] = weights
    if panels == "rows":
        return padded[order].reshape(-1)
    if panels == "columns":
        return np.ascontiguousarray(padded[order].transpose(1, 2, 0)).reshape(-1)
    placed = padded[order].reshape(-1, lanes, runs, quads, _QUAD)
    return np.ascontiguousarray(placed.transpose(2, 3, 0, 1, 4)).reshape(-1)


def depthwise_panel(weights: NDArray[np.int8], lanes: int) -> NDArray[np.int8]:
    """Weights of one depthwise block.

    Args:
        weights: (channels, height, width) codes of at most 4 * lanes channels.
        lanes: sums in a vector.

    Returns:
        Flat codes: group of four rows, column, vector, lane, row of the group.
    """
    channels, height, width = weights.shape
    order = depthwise_order(lanes)
    groups = -(-height // _QUAD)
    padded = np.zeros((len(order), groups * _QUAD, width), np.int8)
    padded[:channels, :height] = weights
    placed = padded[order].reshape(-1, lanes, groups, _QUAD, width)
    return np.ascontiguousarray(placed.transpose(2, 4, 0, 1, 3)).reshape(-1)


def depthwise_rows(weights: NDArray[np.int8], width: int) -> NDArray[np.int8]:
    """The same for ``rows``: tap by tap, ``width`` channels each."""
    channels = len(weights)
    padded = np.zeros((width, *weights.shape[1:]), np.int8)
    padded[:channels] = weights
    return np.ascontiguousarray(padded.transpose(1, 2, 0)).reshape(-1)


def pack_planes(codes: NDArray[np.int8], bits: int) -> NDArray[np.integer]:
    """A panel as it lies in memory: int8 at 8 bits, else planes of its codes' bits.

    Args:
        codes: (n,) with n a multiple of 8.
        bits: width of a code.
    """
    if bits == 8:
        return codes
    unsigned = codes.astype(np.int64) & ((1 << bits) - 1)
    planes, done = [], 0
    for plane in (4, 2, 1):
        if bits & plane:
            part = (unsigned >> done) & ((1 << plane) - 1)
            parts = part.reshape(8 // plane, -1)
            shifts = plane * np.arange(8 // plane)
            planes.append((parts << shifts[:, None]).sum(axis=0).astype(np.uint8))
            done += plane
    return np.concatenate(planes)
