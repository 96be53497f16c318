"""What calibration sees: statistics of every tensor of the float network over a few images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.data import Dataset
from qmc.errors import DataError
from qmc.float_model import FloatModel
from qmc.network import Network
from qmc.progress import Tick, no_tick
from qmc.ranges import Histogram

FloatArray = NDArray[np.float32]
Inputs = Dataset | Sequence[FloatArray]

#: Bound of the elements of all tensors of one batch.
_MAX_ELEMENTS = 1 << 25
_MAX_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Of one tensor.

    Attributes:
        histogram: of its values.
        mean: (C, H, W) or (C,) float64, the mean of every element over the images.
    """

    histogram: Histogram
    mean: NDArray[np.float64]


def observe(network: Network, inputs: Inputs, tick: Tick = no_tick) -> dict[str, Statistics]:
    """Run the float network on ``inputs`` and gather statistics of every tensor.

    Args:
        network: float layers and parameters.
        inputs: a data set, or batches (n, C, H, W).
        tick: called with inputs done and in all.

    Raises:
        DataError: there are no inputs, or values that are not finite.
    """
    total = len(inputs) if isinstance(inputs, Dataset) else sum(map(len, inputs))
    if not total:
        raise DataError("calibration: no input")
    model = FloatModel(network)
    gathered = {
        name: Statistics(Histogram(), np.zeros(tensor.shape[1:]))
        for name, tensor in network.tensors.items()
    }
    done = 0
    for batch in _batches(network, inputs):
        for name, values in model.run(batch).items():
            _add(name, gathered[name], values, total)
        done += len(batch)
        tick(done, total)
    return gathered


def _batches(network: Network, inputs: Inputs) -> Iterable[FloatArray]:
    if not isinstance(inputs, Dataset):
        return inputs
    elements = sum(tensor.size for tensor in network.tensors.values())
    return inputs.batches(max(1, min(_MAX_BATCH, _MAX_ELEMENTS // elements)))


def _add(name: str, statistics: Statistics, values: FloatArray, total: int) -> None:
    if not np.isfinite(values).all():
        raise DataError(f"calibration: tensor '{name}' has values that are not finite")
    statistics.histogram.add(values)
    statistics.mean[...] += values.sum(axis=0, dtype=np.float64) / total
