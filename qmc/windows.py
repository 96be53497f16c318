"""What lies under a sliding window, or in a slice: which elements a layer reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qmc.layer import Layer

Scalar = TypeVar("Scalar", bound=np.generic)


def windows(layer: Layer, values: NDArray[Scalar], padding: int) -> Iterator[NDArray[Scalar]]:
    """The input elements under each filter position (r, s), row by row.

    Args:
        layer: a convolution or pooling layer.
        values: (n, channels, height, width).
        padding: value of the elements outside.

    Yields:
        (n, channels, P, Q), one array per filter position.
    """
    top, left, bottom, right = layer.pads
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=padding)
    bounds = layer.bounds
    for r in range(bounds.R):
        rows = _positions(r * layer.dilations[0], bounds.P, layer.strides[0])
        for s in range(bounds.S):
            columns = _positions(s * layer.dilations[1], bounds.Q, layer.strides[1])
            yield padded[:, :, rows, columns]


def _positions(first: int, count: int, stride: int) -> slice:
    return slice(first, first + (count - 1) * stride + 1, stride)


def sliced(layer: Layer, shape: tuple[int, ...]) -> tuple[slice | NDArray[np.int64], ...]:
    """Index of what a SLICE layer keeps of its input, by axis.

    Args:
        layer: the layer.
        shape: of the input, (n, channels) or (n, channels, height, width).
    """
    bounds, (channel, row, column) = layer.bounds, layer.starts
    channels: slice | NDArray[np.int64] = _positions(channel, bounds.G, 1)
    if layer.interleave > 1:
        order = np.arange(shape[1]).reshape(layer.interleave, -1).T.reshape(-1)
        channels = order[channels]
    axes = (
        channels,
        _positions(row, bounds.P, layer.strides[0]),
        _positions(column, bounds.Q, layer.strides[1]),
    )
    return (slice(None), *axes)[: len(shape)]


def window_counts(layer: Layer, height: int, width: int) -> NDArray[np.int64]:
    """Number of elements each window counts, (P, Q): inside the input, or all of them.

    Args:
        layer: a pooling layer.
        height: rows of the input tensor.
        width: columns of the input tensor.
    """
    bounds = layer.bounds
    if layer.count_include_pad:
        return np.full((bounds.P, bounds.Q), bounds.R * bounds.S, dtype=np.int64)
    inside = np.ones((1, 1, height, width), dtype=np.int64)
    counts: NDArray[np.int64] = np.asarray(sum(windows(layer, inside, padding=0)), dtype=np.int64)[
        0, 0
    ]
    return counts
