"""Accuracy, measured: the emitted program runs labelled images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.build import run_codes
from qmc.data import Dataset
from qmc.errors import DataError
from qmc.float_model import float_top1
from qmc.integer import IntegerNetwork
from qmc.progress import Tick, no_tick

#: Images handed to the program at a time.
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Percentages over ``images`` labelled images.

    Attributes:
        images: how many were run.
        top1: classified right by the emitted integer network.
        top1_float: classified right by the float model in ONNX Runtime.
        agreement: both give the same class.
    """

    images: int
    top1: float
    top1_float: float
    agreement: float

    @property
    def drop(self) -> float:
        """Points of top-1 lost against float."""
        return self.top1_float - self.top1


def measure(
    program: Path,
    network: IntegerNetwork,
    model: Path,
    dataset: Dataset,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> Accuracy:
    """Run the emitted program and the float model on labelled images.

    Args:
        program: the compiled program of ``network``.
        network: for the layout of input and output.
        model: the original ONNX file.
        dataset: labelled images.
        jobs: programs to run side by side; the result does not depend on it.
        tick: told the progress.

    Raises:
        DataError: there are no labels, or a label is no class of the network.
        BuildError: the program failed.
    """
    labels = dataset.labels
    if labels is None:
        raise DataError(f"{dataset.path}: no labels; evaluation needs them")
    classes = network.tensors[network.output].size
    if labels.max() >= classes:
        raise DataError(
            f"{dataset.path}: label {labels.max()} found; the network has classes 0..{classes - 1}"
        )
    chosen = classify(program, network, dataset, jobs, tick)
    expected = float_top1(model, dataset, jobs)
    return Accuracy(
        images=len(dataset),
        top1=_percent(chosen == labels),
        top1_float=_percent(expected == labels),
        agreement=_percent(chosen == expected),
    )


def classify(
    program: Path, network: IntegerNetwork, dataset: Dataset, jobs: int = 1, tick: Tick = no_tick
) -> NDArray[np.int64]:
    """The class the emitted program chooses for each input, (size,)."""
    batches = [
        range(first, min(first + _BATCH, len(dataset))) for first in range(0, len(dataset), _BATCH)
    ]

    def run(indices: range) -> NDArray[np.int64]:
        codes = run_batch(program, network, dataset.inputs(indices))
        found: NDArray[np.int64] = codes.reshape(len(indices), -1).argmax(axis=1)
        return found

    chosen: list[NDArray[np.int64]] = []
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(run, batches):
            chosen.append(found)
            tick(len(chosen), len(batches))
    return np.concatenate(chosen)


def run_batch(
    program: Path, network: IntegerNetwork, inputs: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Output codes, (n, ...), of float inputs (n, ...) through the emitted program."""
    source, target = (network.quantization[name] for name in (network.input, network.output))
    shape = network.tensors[network.output].shape
    return run_codes(program, source.quantize(inputs), source.bits, target.bits, shape)


def _percent(hits: NDArray[np.bool_]) -> float:
    return 100.0 * float(hits.mean())
