"""Accuracy, measured: the emitted program runs labelled images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Counts over ``images`` labelled images.

    Attributes:
        images: how many were run.
        top1: percent classified right by the emitted integer network.
        top1_float: percent classified right by the float model in ONNX Runtime.
        agreement: percent for which both give the same class.
    """

    images: int
    top1: float
    top1_float: float
    agreement: float
