"""What each width of each tensor costs in accuracy, as one number per tensor and width.

The numbers of one table are additive: the sensitivity of an assignment of widths is the sum over
its tensors. Where they come from is told by :class:`Source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from qmc.bit_groups import Assignment


class Source(StrEnum):
    """Where sensitivities come from."""

    KL = "kl"  # divergence of the network's output when one tensor is quantized
    LOSS = "loss"  # rise of the cross entropy with the labels
    DROP = "drop"  # share of the images that are no longer classified as labelled
    SECOND_ORDER = "second-order"  # divergence at one width, scaled by the rounding errors' squares
    WEIGHTS = "weights"  # relative rounding error alone: no data
    FILE = "file"  # a CSV file of the user


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """Sensitivity by tensor and width.

    Attributes:
        source: where they come from.
        images: how many were used.
        weights: by layer name, then bits.
        activations: by the name of a free group of tensors, then bits.
    """

    source: Source
    images: int
    weights: Mapping[str, Mapping[int, float]]
    activations: Mapping[str, Mapping[int, float]]

    def total(self, assignment: Assignment) -> float:
        """Sum over the tensors of an assignment."""
        weights = (self.weights[name][bits] for name, bits in assignment.weights.items())
        others = (self.activations[name][bits] for name, bits in assignment.activations.items())
        return sum(weights) + sum(others)
