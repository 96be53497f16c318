"""The training loop: labels, and what the float network answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from qmc.data import Dataset
from qmc.float_model import FloatModel
from qmc.network import Network
from qmc.progress import Tick
from qmc.train.fake_quantized import FakeQuantized

Value = Any  # torch.Tensor
#: Of a weight, in steps of its scale, and of the logarithm of a scale, per step of Adam.
WEIGHT_RATE, SCALE_RATE = 0.003, 0.0003
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how fast is trained.

    Attributes:
        steps: of the optimizer, on at most 32 images each.
        rate: factor of both learning rates; they fall to 0 along a cosine.
        seed: of the order of the images.
    """

    steps: int = 400
    rate: float = 1.0
    seed: int = 0


def train(
    model: FakeQuantized, network: Network, images: Dataset, course: Course, tick: Tick
) -> None:
    """Change ``model`` so that it answers as the float network does, and as the labels say.

    The loss is the divergence of its classes from the float network's, and where there are labels
    the cross entropy as well. One thread: the same seed gives the same bytes.

    Args:
        model: trained in place.
        network: the float network.
        images: with or without labels.
        course: how.
        tick: told the progress.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train(model, network, images, course, tick)
    finally:
        torch.set_num_threads(threads)


def _train(
    model: FakeQuantized, network: Network, images: Dataset, course: Course, tick: Tick
) -> None:
    inputs = images.inputs(range(len(images)))
    answers = _answers(network, inputs, model.logits)
    groups = [
        {"params": model.weights, "lr": WEIGHT_RATE * course.rate},
        {"params": model.scales, "lr": SCALE_RATE * course.rate},
    ]
    optimizer = torch.optim.Adam(groups)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, course.steps)
    for step, chosen in enumerate(_batches(len(images), course)):
        optimizer.zero_grad()
        found = model.forward(torch.from_numpy(inputs[chosen]))
        loss = _loss(found, torch.from_numpy(answers[chosen]), images.labels, chosen)
        loss.backward()
        optimizer.step()
        falling.step()
        tick(step + 1, course.steps)


def _batches(count: int, course: Course) -> Iterator[NDArray[np.int64]]:
    """Indices for every step: all images in a new order, again and again."""
    dice = np.random.default_rng(course.seed)
    parts = -(-count // _BATCH)
    passes = (np.array_split(dice.permutation(count), parts) for _ in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(passes), course.steps)


def _answers(network: Network, inputs: NDArray[np.float32], tensor: str) -> NDArray[np.float32]:
    model = FloatModel(network)
    parts = [
        model.run(inputs[first : first + _BATCH])[tensor] for first in range(0, len(inputs), _BATCH)
    ]
    return np.concatenate(parts)


def _loss(
    found: Value, answers: Value, labels: NDArray[np.int64] | None, chosen: NDArray[np.int64]
) -> Value:
    if found.shape[1] == 1:  # no classes: the values themselves, by their spread
        return functional.mse_loss(found, answers) / answers.var().clamp(min=1e-12)
    mine, theirs = torch.log_softmax(found, 1), torch.log_softmax(answers, 1)
    loss = functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)
    if labels is not None:
        loss = loss + functional.cross_entropy(found.flatten(1), torch.from_numpy(labels[chosen]))
    return loss
