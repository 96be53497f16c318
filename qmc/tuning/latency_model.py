"""Times of layers at widths that were not measured: trees over a count of the work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qmc.layer import Layer
from qmc.tuning.timing import Floats
from qmc.width_classes import Triple

#: A guess to start from: multiply-accumulates and bytes in a nanosecond, and nanoseconds of a call.
_MACS, _BYTES, _CALL = 200.0, 20.0, 50.0
_FOLDS = 5
_TREES = 200
_PARAMETERS: dict[str, Any] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_depth": 5,
    "learning_rate": 0.1,
    "min_child_weight": 1,
    "subsample": 0.8,
    "nthread": 1,
    "base_score": 0.0,
}
#: Fewer measured triples than this are no folds: the guess, scaled, stands for the rest.
_FEW = 10

#: A layer, its possible triples, and nanoseconds of those measured.
Known = tuple[Layer, Sequence[Triple], Mapping[Triple, float]]


@dataclass(frozen=True, slots=True)
class LatencyErrors:
    """Relative errors of predictions on triples that the model has not seen.

    Attributes:
        median, p95: of them; not a number where too little was measured to tell.
    """

    median: float
    p95: float


def fill_gaps(
    rows: Sequence[Known], seed: int = 0
) -> tuple[list[dict[Triple, float]], LatencyErrors]:
    """Nanoseconds of all triples of all layers: measured where they were, else predicted.

    Args:
        rows: layers.
        seed: of the trees and folds.

    Returns:
        A table for each layer, and how far predictions are off.
    """
    seen = [(layer, triple, ns, found) for layer, _, found in rows for triple, ns in found.items()]
    features = np.array([_features(layer, t, found) for layer, t, _, found in seen], np.float32)
    logs = np.array([math.log(ns / _guess(layer, t, found)) for layer, t, ns, found in seen])
    predict = _fit(features, logs, seed)
    tables = []
    for layer, triples, found in rows:
        table = dict(found)
        open_ones = [triple for triple in triples if triple not in found]
        if open_ones:
            asked = np.array([_features(layer, t, found) for t in open_ones], np.float32)
            guesses = [_guess(layer, t, found) for t in open_ones]
            values = np.exp(predict(asked)) * np.array(guesses)
            table |= dict(zip(open_ones, values.tolist(), strict=True))
        tables.append(table)
    return tables, _held_out(features, logs, [found for *_, found in seen], seen, seed)


def _guess(layer: Layer, triple: Triple, found: Mapping[Triple, float]) -> float:
    """Sum of what each width alone costs more than the widest, as far as that is measured."""
    widest = max(found, default=None)
    if widest is None:
        return _work(layer, triple)
    base, total = found[widest], found[widest]
    for part in range(3):
        alone = tuple(triple[at] if at == part else widest[at] for at in range(3))
        known = found.get((alone[0], alone[1], alone[2]))
        total += (known if known is not None else base) - base
    return max(total, 0.3 * base)


def _work(layer: Layer, triple: Triple) -> float:
    outputs, inputs = _sizes(layer)
    return _CALL + layer.macs / _MACS + (inputs + outputs) / _BYTES


def _sizes(layer: Layer) -> tuple[int, int]:
    """Elements written and read."""
    b, (down, right) = layer.bounds, layer.strides
    return b.G * b.K * b.P * b.Q, b.G * b.C * b.P * b.Q * down * right * len(layer.inputs)


def _features(layer: Layer, triple: Triple, found: Mapping[Triple, float]) -> list[float]:
    """Shape, widths, planes of the weights, bytes; whether each slice is measured."""
    b = layer.bounds
    weights, inputs, outputs = triple
    written, read = _sizes(layer)
    widest = max(found, default=triple)
    base = found.get(widest, math.nan)
    count = b.G * b.K * b.C * b.R * b.S
    return [
        *(math.log2(x) for x in (b.G, b.K, b.C, b.R * b.S, b.P * b.Q)),
        *(float(bits) for bits in triple),
        float(weights.bit_count() if weights < 8 else 0),
        *(float(bits < 8) for bits in triple),
        math.log2(1 + count),
        math.log2(1 + written),
        math.log2(1 + read),
        float(len(layer.inputs)),
        base / _work(layer, triple),
        float(sum(t != w for t, w in zip(triple, widest, strict=True))),
        (count * (weights < 8) + read * (inputs < 8) + written * (outputs < 8)) / max(base, 1.0),
    ]


def _fit(features: Any, logs: Floats, seed: int) -> Any:
    """A function from features to logarithms."""
    if len(logs) < _FEW:
        middle = float(np.median(logs)) if len(logs) else 0.0
        return lambda asked: np.full(len(asked), middle)
    import xgboost

    data = xgboost.DMatrix(features, logs, nthread=1)
    booster = xgboost.train(_PARAMETERS | {"seed": seed}, data, _TREES)
    return lambda asked: np.asarray(booster.inplace_predict(asked), np.float64)


def _held_out(
    features: Any, logs: Floats, tables: Sequence[Any], seen: Sequence[Any], seed: int
) -> LatencyErrors:
    """Triples that differ from the widest in two operands or more, predicted without themselves.

    The others are measured for every layer that has its slices, and are no gaps.
    """
    crosses = np.array(
        [
            sum(a != b for a, b in zip(triple, max(found), strict=True)) > 1
            for (_, triple, _, _), found in zip(seen, tables, strict=True)
        ]
    )
    if crosses.sum() < _FEW:
        return LatencyErrors(math.nan, math.nan)
    fold = np.random.default_rng(seed).permutation(len(logs)) % _FOLDS
    errors: list[float] = []
    for number in range(_FOLDS):
        asked = crosses & (fold == number)
        if asked.any():
            predict = _fit(features[~asked], logs[~asked], seed)
            errors += np.abs(np.expm1(predict(features[asked]) - logs[asked])).tolist()
    return LatencyErrors(float(np.median(errors)), float(np.quantile(errors, 0.95)))
