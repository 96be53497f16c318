"""How many images, and how many schemes at a time, calibration can hold in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.data import Dataset
from qmc.network import Network
from qmc.observe import Inputs

FloatArray = NDArray[np.float32]

#: Bound of the elements of all live tensors, over all images; 5 bytes each.
_MAX_LIVE = 280 << 20
#: Bound of the live codes of all schemes that are fitted together, in bytes.
_MAX_CODES = 1 << 30


def fitting_images(network: Network, inputs: Inputs) -> FloatArray:
    """As many evenly spread inputs as memory allows, (n, ...).

    Args:
        network: float layers.
        inputs: calibration data.
    """
    allowed = max(1, _MAX_LIVE // _live_elements(network))
    if isinstance(inputs, Dataset):
        return inputs.inputs(_spread(len(inputs), allowed)).astype(np.float32, copy=False)
    images = np.concatenate(list(inputs))
    return images[_spread(len(images), allowed)].astype(np.float32, copy=False)


def schemes_at_a_time(network: Network, images: FloatArray) -> int:
    """How many schemes may be fitted together."""
    return max(1, _MAX_CODES // (_live_elements(network) * len(images)))


def _spread(count: int, allowed: int) -> list[int]:
    kept = min(count, allowed)
    return [i * count // kept for i in range(kept)]


def _live_elements(network: Network) -> int:
    """The most elements of tensors that are live at once, for one image."""
    last_use = {name: i for i, layer in enumerate(network.layers) for name in layer.inputs}
    live, most = {network.input}, 0
    for number, layer in enumerate(network.layers):
        live.add(layer.output)
        most = max(most, sum(network.tensors[name].size for name in live))
        live -= {name for name in live if last_use.get(name, -1) <= number}
    return most
