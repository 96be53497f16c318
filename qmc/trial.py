"""An assignment of widths tried out: its scheme, its integers, and what these get right.

Trials use weights that were fitted layer by layer at every width beforehand, and ranges of channels
that full calibration would give, so that hundreds can be made; whatever is kept in the end is
calibrated in full and measured again (:mod:`qmc.finals`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qmc import cache
from qmc.bit_groups import Assignment, to_widths
from qmc.data import Dataset
from qmc.errors import DataError
from qmc.evaluation_store import EvaluationStore
from qmc.fitted_weights import Fits
from qmc.float_model import FloatArray, float_top1
from qmc.integer import IntegerNetwork
from qmc.integer_runner import IntegerRunner
from qmc.network import Network
from qmc.observe import Observed
from qmc.quantize import quantize
from qmc.ranges import Calibration
from qmc.rounded_tensors import plain_scheme
from qmc.scheme import Scheme
from qmc.tensor_ranges import tensor_params
from qmc.widths import activation_bits

_VERSION = 4


@dataclass(frozen=True, slots=True)
class Score:
    """What an integer network got right.

    Attributes:
        images: how many it saw.
        hits: classified as labelled.
        float_hits: those of the float network.
        agreed: the same class as the float network's.
    """

    images: int
    hits: int
    float_hits: int
    agreed: int

    @property
    def top1(self) -> float:
        """Percent."""
        return 100.0 * self.hits / self.images

    @property
    def drop(self) -> float:
        """Points of top-1 lost against float; negative where some were won."""
        return 100.0 * (self.float_hits - self.hits) / self.images

    @property
    def agreement(self) -> float:
        """Percent."""
        return 100.0 * self.agreed / self.images

    def __add__(self, other: Score) -> Score:
        return Score(
            self.images + other.images,
            self.hits + other.hits,
            self.float_hits + other.float_hits,
            self.agreed + other.agreed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images that integer networks are judged by.

    Attributes:
        inputs: (n, ...) real inputs of the network.
        labels: of the images; where there are none, the float network's classes.
        float_classes: those that the float network chooses.
        digest: hash of everything.
    """

    inputs: FloatArray
    labels: NDArray[np.int64]
    float_classes: NDArray[np.int64]
    digest: str

    def score(self, chosen: NDArray[np.int64]) -> Score:
        """What a network that chose these classes got right."""
        hits, float_hits = (
            int((classes == self.labels).sum()) for classes in (chosen, self.float_classes)
        )
        return Score(len(chosen), hits, float_hits, int((chosen == self.float_classes).sum()))


def load_images(model: Path, data: Dataset, indices: Sequence[int], jobs: int) -> Images:
    """Read the images of ``indices`` and run the float network on them.

    Raises:
        DataError: an image cannot be read.
    """
    inputs = data.inputs(indices)
    labels = None if data.labels is None else data.labels[list(indices)]
    held = Dataset(data.path, data.shape, len(inputs), labels, lambda index: inputs[index])
    classes = float_top1(model, held, jobs)
    known = classes if labels is None else labels
    state = hashlib.sha256(inputs.tobytes() + known.tobytes() + classes.tobytes())
    return Images(inputs, known, classes, state.hexdigest())


def halves(size: int) -> tuple[list[int], list[int]]:
    """Every other image, from the first and from the second: to choose by, and to check with.

    Raises:
        DataError: there are fewer than two.
    """
    if size < 2:
        raise DataError(f"--eval: found {size} image; allowed: at least 2, half to check with")
    return list(range(0, size, 2)), list(range(1, size, 2))


@dataclass(frozen=True, slots=True, eq=False)
class Laboratory:
    """What every trial of a network needs.

    Attributes:
        network: float layers.
        seen: what calibration observed.
        method: of activation ranges.
        fits: weights fitted at every width.
        store: finished trials.
        jobs: trials to run side by side; results do not depend on it.
        digest: hash of what decides a trial besides its widths and images.
    """

    network: Network
    seen: Observed
    method: Calibration | None
    fits: Fits
    store: EvaluationStore
    jobs: int
    digest: str

    def try_all(
        self, assignments: Sequence[Assignment], *parts: Images
    ) -> Iterator[tuple[Score, ...]]:
        """A score on each part, when it is finished and stored, in the order of ``assignments``."""
        with ThreadPoolExecutor(self.jobs) as pool:
            tasks = [pool.submit(self._try, one, parts) for one in assignments]
            try:
                for task in tasks:
                    yield task.result()
            finally:
                for task in tasks:
                    task.cancel()

    def _try(self, assignment: Assignment, parts: Sequence[Images]) -> tuple[Score, ...]:
        widths = dict(assignment.weights), dict(assignment.activations)
        key = cache.cache_key("trial", _VERSION, self.digest, *widths)
        return self.scores(key, lambda: self.scheme(assignment), parts)

    def scores(
        self, key: str, scheme: Callable[[], Scheme], parts: Sequence[Images]
    ) -> tuple[Score, ...]:
        """A score on each part, kept; the scheme is asked for where one is missing.

        Args:
            key: hash of what decides the scheme.
            scheme: in full.
            parts: images.
        """
        keys = [cache.cache_key("score", _VERSION, key, part.digest) for part in parts]
        known = [self.store.get(key) for key in keys]
        missing = [i for i, score in enumerate(known) if score is None]
        if missing:
            integer = quantize(self.network, scheme())
            found = score_program(integer, [parts[i] for i in missing])
            for i, score in zip(missing, found, strict=True):
                known[i] = [score.images, score.hits, score.float_hits, score.agreed]
                self.store.put(keys[i], known[i])
        return tuple(Score(*score) for score in known)

    def scheme(self, assignment: Assignment) -> Scheme:
        """Calibration at these widths from what is known already."""
        widths = to_widths(self.network, assignment)
        bits = activation_bits(self.network, widths)
        tensors = tensor_params(self.network, bits, self.seen.histograms, self.method)
        return plain_scheme(self.network, self.seen, widths, tensors, self.fits)


def score_program(
    integer: IntegerNetwork, parts: Sequence[Images], jobs: int = 1
) -> tuple[Score, ...]:
    """Run an integer network on all images of every part."""
    runner = IntegerRunner(integer)
    return tuple(part.score(runner.classify(part.inputs, jobs)) for part in parts)
