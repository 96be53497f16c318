"""Second-order statistics of what a layer reads and what it should give, at sampled positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams
from qmc.layer import Layer
from qmc.network import Parameters
from qmc.patch_kernel import gather_patches

Scalar = TypeVar("Scalar", bound=np.generic)
Reals = NDArray[np.float64]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

#: Output positions sampled, over all images.
_POSITIONS = 40_000
#: Fewer where every channel has its own small problem.
_POSITIONS_DEPTHWISE = 20_000
#: Positions of one image are much alike: all of them tell as much as so many independent ones.
_INDEPENDENT = 4
#: Bound of the numbers that are gathered for one group.
_MAX_ELEMENTS = 1 << 26
#: Numbers gathered at a time where there are many small groups.
_CHUNK = 1 << 22


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
class Statistics:
    """Second moments of what each group of a layer reads and should give, d = C * R * S.

    Attributes:
        covariance: (G, d, d) of the quantized inputs.
        cross: (G, K, d) of the wanted outputs, before the activation, with them.
    """

    covariance: Reals
    cross: Reals


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


def independent_samples(positions: IntArray) -> int:
    """How many independent samples the (images, m) positions are worth."""
    images, each = positions.shape
    return int(images * min(each, _INDEPENDENT))


def layer_statistics(
    layer: Layer,
    parameters: Parameters,
    source: Live,
    missing: FloatArray | None,
    positions: IntArray,
) -> Statistics:
    """Statistics of all groups.

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
    count, depth = positions.size, weights.shape[2]
    found = Statistics(np.empty((bounds.G, depth, depth)), np.empty(weights.shape))
    step = max(1, _CHUNK // (depth * count))
    for first in range(0, bounds.G, step):
        groups = slice(first, min(first + step, bounds.G))
        real, read = _gather(layer, source, groups, positions)
        _centre(read)
        wanted = weights[groups] @ real
        if missing is not None:
            wanted += _own_channels(layer, missing, groups)
        _centre(wanted)
        across = read.swapaxes(1, 2)
        found.covariance[groups] = (read @ across) / np.float32(count)
        found.cross[groups] = (wanted @ across) / np.float32(count)
    return found


def _own_channels(layer: Layer, values: FloatArray, groups: slice) -> FloatArray:
    """Those of (n, G * K, m) values that belong to the groups' outputs: (groups, K, n * m)."""
    width = layer.bounds.K
    own = values[:, groups.start * width : groups.stop * width].transpose(1, 0, 2)
    return own.reshape(groups.stop - groups.start, width, -1)


def at_positions(values: NDArray[Scalar], positions: IntArray) -> NDArray[Scalar]:
    """(n, channels, ...) values at (n, m) positions: (n, channels, m)."""
    flat = values.reshape(*values.shape[:2], -1)
    return np.take_along_axis(flat, positions[:, None, :], axis=2)


def _centre(values: FloatArray) -> None:
    """Subtract its mean from every row."""
    values -= values.mean(axis=-1, dtype=np.float64).astype(np.float32)[..., None]


def _gather(
    layer: Layer, source: Live, groups: slice, positions: IntArray
) -> tuple[FloatArray, FloatArray]:
    """What the groups read at the positions, as float and as quantized: (groups, d, samples)."""
    params = source.params
    real = _patches(layer, source.real, groups, positions, 0.0, 1.0)
    zero, scale = float(params.zero_point), params.scale
    return real, _patches(layer, source.codes, groups, positions, zero, scale)


def _patches(
    layer: Layer,
    values: NDArray[np.generic],
    groups: slice,
    positions: IntArray,
    zero: float,
    scale: float,
) -> FloatArray:
    """(value - zero) * scale under the filter at the positions: (groups, C * R * S, samples)."""
    bounds = layer.bounds
    image = values.reshape(len(positions), bounds.G * bounds.C, *(values.shape[2:] or (1, 1)))
    rows = positions // bounds.Q * layer.strides[0] - layer.pads[0]
    columns = positions % bounds.Q * layer.strides[1] - layer.pads[1]
    taps = np.array(list(np.ndindex(bounds.R, bounds.S)), dtype=np.int64)
    taps *= np.array(layer.dilations, dtype=np.int64)
    count = groups.stop - groups.start
    found = np.empty((count * bounds.C, len(taps), positions.size), np.float32)
    first = groups.start * bounds.C
    gather_patches(image, first, rows, columns, taps, zero, scale, found)
    return found.reshape(count, -1, positions.size)
