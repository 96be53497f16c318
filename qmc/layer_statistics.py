"""Second-order statistics of what a layer reads and what it should give, at sampled positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams
from qmc.layer import Layer
from qmc.network import Parameters

Scalar = TypeVar("Scalar", bound=np.generic)
Reals = NDArray[np.float64]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

#: Output positions sampled, over all images.
_POSITIONS = 40_000
#: Fewer where every channel has its own small problem.
_POSITIONS_DEPTHWISE = 20_000
#: Bound of the numbers gathered at a time.
_MAX_ELEMENTS = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """The value of a tensor over all calibration images, twice.

    Attributes:
        real: (n, ...) float32, of the float network.
        codes: (n, ...) uint8, of the quantized network so far.
        params: quantization of ``codes``.
        factors: (channels,) by which the quantized network has every channel larger.
    """

    real: FloatArray
    codes: NDArray[np.uint8]
    params: QuantParams
    factors: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What one group of a layer reads and should give at the sampled positions.

    Attributes:
        inputs: (d, n) quantized inputs less their means, d = C * R * S.
        means: (d,) these means.
        wanted: (K, n) outputs before the activation, bias included.
    """

    inputs: FloatArray
    means: Reals
    wanted: FloatArray

    def covariance(self) -> Reals:
        """Of the inputs, (d, d)."""
        products = self.inputs @ self.inputs.T
        return np.asarray(products / self.inputs.shape[1], dtype=np.float64)

    def cross(self, wanted: FloatArray) -> Reals:
        """Covariance of outputs (K, n) with the inputs, (K, d)."""
        products = centred(wanted)[0] @ self.inputs.T
        return np.asarray(products / self.inputs.shape[1], dtype=np.float64)


def sample_positions(layer: Layer, images: int, rng: np.random.Generator) -> IntArray:
    """Output positions p * Q + q of every image, (images, m), none twice."""
    bounds = layer.bounds
    pixels = bounds.P * bounds.Q
    wanted = _POSITIONS_DEPTHWISE if layer.is_depthwise else _POSITIONS
    depth = bounds.C * bounds.R * bounds.S
    wanted = min(wanted, max(2 * depth, _MAX_ELEMENTS // depth))
    each = min(pixels, -(-wanted // images))
    if each == pixels:
        return np.tile(np.arange(pixels), (images, 1))
    return np.stack([rng.permutation(pixels)[:each] for _ in range(images)])


def group_samples(
    layer: Layer,
    parameters: Parameters,
    source: Live,
    missing: FloatArray | None,
    positions: IntArray,
) -> Iterator[Samples]:
    """Samples of each group, in order.

    The wanted output is what the float layer makes of its float input.

    Args:
        layer: CONV or DENSE.
        parameters: float weights.
        source: what it reads.
        missing: (n, G * K, m) added to the wanted output at the positions; or None.
        positions: (n, m) of :func:`sample_positions`.
    """
    bounds = layer.bounds
    weights = parameters.weights.reshape(bounds.G, bounds.K, -1)
    biases = parameters.bias.reshape(bounds.G, bounds.K, 1)
    step = max(1, _MAX_ELEMENTS // (2 * weights.shape[2] * positions.size))
    for first in range(0, bounds.G, step):
        groups = slice(first, min(first + step, bounds.G))
        real, quantized = _gather(layer, source, groups, positions)
        for number, group in enumerate(range(groups.start, groups.stop)):
            wanted = weights[group] @ real[number] + biases[group]
            if missing is not None:
                wanted += own_channels(layer, missing, group)
            yield Samples(*centred(quantized[number]), wanted)


def own_channels(layer: Layer, values: FloatArray, group: int) -> FloatArray:
    """Those of (n, G * K, m) values that belong to a group's outputs: (K, n * m)."""
    own = values[:, group * layer.bounds.K : (group + 1) * layer.bounds.K]
    return own.transpose(1, 0, 2).reshape(layer.bounds.K, -1)


def at_positions(values: NDArray[Scalar], positions: IntArray) -> NDArray[Scalar]:
    """(n, channels, ...) values at (n, m) positions: (n, channels, m)."""
    flat = values.reshape(*values.shape[:2], -1)
    return np.take_along_axis(flat, positions[:, None, :], axis=2)


def centred(values: FloatArray) -> tuple[FloatArray, Reals]:
    """Rows less their means, and the means."""
    means = values.mean(axis=-1, dtype=np.float64)
    return values - means.astype(np.float32)[:, None], means


def _gather(
    layer: Layer, source: Live, groups: slice, positions: IntArray
) -> tuple[FloatArray, FloatArray]:
    """What the groups read at the positions, twice: (groups, d, samples)."""
    real = _patches(layer, source.real, groups, positions, 0)
    codes = _patches(layer, source.codes, groups, positions, source.params.zero_point)
    quantized = codes.astype(np.float32)
    quantized -= np.float32(source.params.zero_point)
    quantized *= np.float32(source.params.scale)
    return real.astype(np.float32, copy=False), quantized


def _patches(
    layer: Layer,
    values: NDArray[np.generic],
    groups: slice,
    positions: IntArray,
    padding: int,
) -> NDArray[np.generic]:
    """The elements under the filter at the positions: (groups, C * R * S, samples)."""
    bounds = layer.bounds
    top, left, bottom, right = layer.pads
    channels = slice(groups.start * bounds.C, groups.stop * bounds.C)
    count, each = positions.shape
    image = values.reshape(count, bounds.G * bounds.C, *(values.shape[2:] or (1, 1)))
    width = image.shape[3] + left + right
    rows, columns = positions // bounds.Q, positions % bounds.Q
    corners = rows * layer.strides[0] * width + columns * layer.strides[1]
    taps = [
        r * layer.dilations[0] * width + s * layer.dilations[1]
        for r in range(bounds.R)
        for s in range(bounds.S)
    ]
    found = np.empty((channels.stop - channels.start, len(taps), count * each), values.dtype)
    margins = ((0, 0), (top, bottom), (left, right))
    for n in range(count):
        padded = np.pad(image[n, channels], margins, constant_values=padding)
        flat = padded.reshape(len(padded), -1)
        for tap, offset in enumerate(taps):
            found[:, tap, n * each : (n + 1) * each] = flat[:, corners[n] + offset]
    return found.reshape(groups.stop - groups.start, -1, count * each)
