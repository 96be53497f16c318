"""The images of a compilation or exploration, opened: how they are made, and both parts of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qmc.data import Dataset, Use, load_dataset, load_preprocess
from qmc.network import Network
from qmc.options import ExploreOptions, Options
from qmc.preprocess import Preprocess


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Images and how they are made."""

    preprocess: Preprocess | None
    calib: Dataset | None
    eval: Dataset | None

    @property
    def any_images(self) -> Dataset | None:
        """Images to try the network on: labelled ones first."""
        return self.eval or self.calib


def load_data(options: Options | ExploreOptions, network: Network) -> Data:
    """Open the images; pixels are read when needed.

    Raises:
        DataError: they cannot be used.
    """
    preprocess = load_preprocess(options.model, options.preprocess)
    shape = network.tensors[network.input].shape

    def load(path: Path | None, use: Use) -> Dataset | None:
        if path is None:
            return None
        return load_dataset(path, use, shape, preprocess, options.limit)

    return Data(preprocess, load(options.calib, Use.CALIB), load(options.eval, Use.EVAL))
