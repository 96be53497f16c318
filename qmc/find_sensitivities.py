"""The sensitivities that a user asked for, by name or as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qmc.bit_groups import SEARCH_WIDTHS
from qmc.cheap_sensitivity import second_order_sensitivities, weight_sensitivities
from qmc.data import Dataset
from qmc.errors import QmcError
from qmc.fitted_weights import NO_FITS, Fits
from qmc.measure_sensitivity import make_probe, measure_sensitivities
from qmc.network import Network
from qmc.observe import Observed
from qmc.options import SensitivityChoice
from qmc.progress import Tick, no_tick
from qmc.ranges import Calibration
from qmc.rounded_tensors import round_tensors
from qmc.sensitivity import Sensitivities
from qmc.sensitivity_csv import read_sensitivities

#: Images that sensitivities are measured on.
PROBE_IMAGES = 64


def find_sensitivities(
    asked: str,
    network: Network,
    calib: Dataset | None,
    labelled: Dataset | None,
    seen: Observed | None,
    fits: Fits = NO_FITS,
    *,
    method: Calibration | None = None,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> Sensitivities:
    """Sensitivities of every tensor.

    Args:
        asked: one of :class:`SensitivityChoice`, or a CSV file.
        network: float layers.
        calib: calibration images.
        labelled: images with labels, for ``loss``.
        seen: what calibration observed of the images.
        fits: weights fitted at every width.
        method: of activation ranges.
        jobs: threads.
        tick: called with tensors done and in all.

    Raises:
        QmcError: what was asked for needs images that are not there, or is no choice and no file.
    """
    if asked not in list(SensitivityChoice):
        if not Path(asked).is_file():
            choices = ", ".join(SensitivityChoice)
            raise QmcError(f"--sensitivity: found '{asked}'; allowed: {choices}, or a CSV file")
        return read_sensitivities(Path(asked), network)
    choice = SensitivityChoice(asked)
    if choice is SensitivityChoice.AUTO:
        choice = SensitivityChoice.WEIGHTS if calib is None else SensitivityChoice.KL
    if choice is SensitivityChoice.WEIGHTS:
        return weight_sensitivities(network)
    images = labelled if choice is SensitivityChoice.LOSS else calib
    if images is None or seen is None:
        flag = "--eval" if choice is SensitivityChoice.LOSS else "--calib"
        raise QmcError(f"--sensitivity: '{choice}' needs images; give {flag} PATH")
    if choice is SensitivityChoice.SECOND_ORDER:
        fits = replace(fits, limits={})  # its rounding errors are those of whole tensors
    rounded = round_tensors(network, seen, SEARCH_WIDTHS, method, fits)
    chosen = probe_images(len(images))
    labels = images.labels
    told = labels[chosen] if choice is SensitivityChoice.LOSS and labels is not None else None
    probe = make_probe(images.inputs(chosen), told, jobs)
    if choice is SensitivityChoice.SECOND_ORDER:
        return second_order_sensitivities(network, rounded, seen.histograms, probe, tick)
    return measure_sensitivities(network, rounded, probe, tick)


def probe_images(size: int) -> list[int]:
    """Indices of at most :data:`PROBE_IMAGES` images, evenly over the set."""
    count = min(size, PROBE_IMAGES)
    return [int(index) for index in np.arange(count) * size // count]
