"""A SLICE layer as ONNX operators, for calibration and for exported files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.layer import Layer


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a chain.

    Attributes:
        operator: of ONNX.
        operands: int64 inputs after the data, by a name for each.
        attributes: of the node.
    """

    operator: str
    operands: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


def slice_steps(layer: Layer, shape: tuple[int, ...]) -> list[Step]:
    """The chain that computes ``layer``: a channel shuffle, a Slice, or both.

    Args:
        layer: the SLICE layer.
        shape: of its input.
    """
    steps = []
    if layer.interleave > 1:
        groups, pixels = layer.interleave, shape[2:]
        view = [-1, groups, shape[1] // groups, *pixels]
        axes = [0, 2, 1, *range(3, len(view))]
        steps = [
            Step("Reshape", {"view": np.array(view, np.int64)}),
            Step("Transpose", attributes={"perm": axes}),
            Step("Reshape", {"shape": np.array([-1, *shape[1:]], np.int64)}),
        ]
    bounds = layer.bounds
    axes = list(range(1, len(shape)))
    kept = list(zip(layer.starts, (1, *layer.strides), (bounds.G, bounds.P, bounds.Q), strict=True))
    kept = kept[: len(axes)]
    if steps and all(count == shape[axis] for (_, _, count), axis in zip(kept, axes, strict=True)):
        return steps
    limits = {
        "starts": [start for start, _, _ in kept],
        "ends": [start + (count - 1) * step + 1 for start, step, count in kept],
        "axes": axes,
        "steps": [step for _, step, _ in kept],
    }
    operands = {name: np.array(values, np.int64) for name, values in limits.items()}
    return [*steps, Step("Slice", operands)]
