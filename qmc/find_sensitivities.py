"""The sensitivities that a user asked for, by name or as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qmc.bit_groups import SEARCH_WIDTHS
from qmc.cheap_sensitivity import second_order_sensitivities, weight_sensitivities
from qmc.data import Dataset
from qmc.errors import QmcError
from qmc.fitted_weights import NO_FITS, Fits, FitTask, fit_weights
from qmc.measure_sensitivity import content_digest, make_probe, measure_sensitivities
from qmc.network import Network
from qmc.observe import Observed
from qmc.options import SensitivityChoice
from qmc.progress import Tick, no_tick
from qmc.ranges import Calibration
from qmc.rounded_tensors import round_tensors
from qmc.sensitivity import Sensitivities
from qmc.sensitivity_csv import read_sensitivities
from qmc.tensor_ranges import tensor_params
from qmc.widths import Widths, activation_bits

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
    weights_only: bool = False,
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
        weights_only: leave out activations where they would be measured.
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
    if weights_only:
        rounded = replace(rounded, activations={})
    chosen = probe_images(len(images))
    labels = images.labels
    told = labels[chosen] if choice is SensitivityChoice.LOSS and labels is not None else None
    probe = make_probe(images.inputs(chosen), told, jobs)
    if choice is SensitivityChoice.SECOND_ORDER:
        return second_order_sensitivities(network, rounded, seen.histograms, probe, tick)
    return measure_sensitivities(network, rounded, probe, tick)


def fit_at_all_widths(
    network: Network,
    calib: Dataset,
    seen: Observed,
    method: Calibration | None,
    jobs: int,
    tick: Tick = no_tick,
) -> Fits:
    """Every layer's weights at every width, fitted on images that no sensitivity is measured on.

    Measured on the images that it was fitted to, a layer seems less sensitive than it is: the
    classifier of MobileNetV1, which sees one sample of an image, by a factor of 25.
    """
    images = calib.inputs(fit_images(len(calib)))
    bits = activation_bits(network, Widths())
    tensors = tensor_params(network, bits, seen.histograms, method)
    task = FitTask(tensors, images, content_digest(network, [images]), jobs)
    return fit_weights(network, task, tick)


def probe_images(size: int) -> list[int]:
    """Indices of at most :data:`PROBE_IMAGES` images: every second one, evenly over the set."""
    return _spread(range(0, size, 2))


def fit_images(size: int) -> list[int]:
    """As many of those between; the only one where there is one image."""
    return _spread(range(1, size, 2) or range(size))


def _spread(indices: range) -> list[int]:
    count = min(len(indices), PROBE_IMAGES)
    return [indices[index * len(indices) // count] for index in range(count)]
