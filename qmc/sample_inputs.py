"""Inputs to try an integer network on: the first images, or seeded random ones without any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qmc.data import Dataset
from qmc.integer import IntegerNetwork


def sample_codes(
    network: IntegerNetwork, images: Dataset | None, count: int, seed: int
) -> NDArray[np.int32]:
    """Input codes, (n, ...); n is smaller where there are fewer images."""
    source = network.quantization[network.input]
    if images is not None:
        return source.quantize(images.inputs(range(min(count, len(images)))))
    shape = (count, *network.tensors[network.input].shape[1:])
    return np.random.default_rng(seed).integers(0, source.high + 1, shape, dtype=np.int32)


def sample_inputs(
    network: IntegerNetwork, images: Dataset | None, count: int, seed: int
) -> Sequence[NDArray[np.float32]]:
    """The same inputs as real values, each (1, ...)."""
    if images is not None:
        return [images.inputs([i]) for i in range(min(count, len(images)))]
    source = network.quantization[network.input]
    return [source.dequantize(one[None]) for one in sample_codes(network, None, count, seed)]
