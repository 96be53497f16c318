"""What calibration sees: the values of every tensor of the float network over a few images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.data import Dataset
from qmc.errors import DataError
from qmc.float_model import FloatModel
from qmc.layer import Op
from qmc.network import Network
from qmc.progress import Tick, no_tick
from qmc.ranges import Histogram

FloatArray = NDArray[np.float32]
Inputs = Dataset | Sequence[FloatArray]

#: Bound of the elements of all tensors of one batch.
_MAX_ELEMENTS = 1 << 25
_MAX_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What was seen, by tensor name.

    Attributes:
        histograms: values of every tensor; of those that a rectified sum reads, only as far as they
            make a difference to it.
        means: element by element over the inputs, of the tensors that layers with weights read.
    """

    histograms: Mapping[str, Histogram]
    means: Mapping[str, NDArray[np.float64]]


def observe(network: Network, inputs: Inputs, tick: Tick = no_tick) -> Observed:
    """Run the float network on ``inputs`` and count the values of every tensor.

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
    partners = _rectified_sums(network)
    gathered = {name: Histogram() for name in network.tensors}
    read = {layer.inputs[0] for layer in network.layers if layer.has_weights}
    means = {name: np.zeros(network.tensors[name].shape[1:]) for name in sorted(read)}
    done = 0
    for batch in _batches(network, inputs):
        tensors = model.run(batch)
        for name, values in tensors.items():
            if not np.isfinite(values).all():
                raise DataError(f"calibration: tensor '{name}' has values that are not finite")
            other = partners.get(name)
            gathered[name].add(values if other is None else _that_matter(values, tensors, *other))
            if name in means:
                means[name] += values.sum(axis=0, dtype=np.float64) / total
        done += len(batch)
        tick(done, total)
    return Observed(gathered, means)


def _rectified_sums(network: Network) -> dict[str, tuple[str, tuple[float, float]]]:
    """Tensors that a sum with a fused activation alone reads: its other operand and its limits."""
    reads = Counter(name for layer in network.layers for name in layer.inputs)
    found = {}
    for layer in network.layers:
        if layer.op is Op.ADD and layer.clamp is not None:
            shapes = {network.tensors[name].shape for name in layer.inputs}
            for name, other in zip(layer.inputs, reversed(layer.inputs), strict=True):
                if reads[name] == 1 and len(shapes) == 1 and name != network.output:
                    found[name] = (other, layer.clamp)
    return found


def _that_matter(
    values: FloatArray,
    tensors: Mapping[str, FloatArray],
    other: str,
    limits: tuple[float, float],
) -> FloatArray:
    """The values moved to where the sum leaves its activation's limits, if they are beyond."""
    low, high = (np.float32(limit) - tensors[other] for limit in limits)
    return np.clip(values, low, high)


def _batches(network: Network, inputs: Inputs) -> Iterable[FloatArray]:
    if not isinstance(inputs, Dataset):
        return inputs
    elements = sum(tensor.size for tensor in network.tensors.values())
    return inputs.batches(max(1, min(_MAX_BATCH, _MAX_ELEMENTS // elements)))
