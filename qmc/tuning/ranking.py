"""Which kernels to measure next: gradient-boosted trees learn from every record of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qmc.tuning.records import Record
from qmc.tuning.timing import Floats

#: Fewer records than this teach nothing: the order is random then.
FEW = 12
#: Of a batch, what the model thinks best; the rest is drawn at random, so that it can be surprised.
_EXPLOITED = 0.75
_TREES = 150
_PARAMETERS: dict[str, Any] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_depth": 6,
    "learning_rate": 0.1,
    "min_child_weight": 2,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "nthread": 1,
    "base_score": 0.0,
}


class Ranking:
    """Predicts the logarithm of a kernel's time over that of the defaults."""

    def __init__(self, records: Sequence[Record], seed: int = 0) -> None:
        """Learn from the records that have features."""
        known = [record for record in records if record.features]
        self._booster = None
        if len(known) >= FEW:
            import xgboost

            rows = np.array([record.features for record in known], np.float32)
            logs = np.log([record.timing.ratio for record in known])
            data = xgboost.DMatrix(rows, logs, nthread=1)
            self._booster = xgboost.train(_PARAMETERS | {"seed": seed}, data, _TREES)

    @property
    def is_learned(self) -> bool:
        """Whether there was enough to learn from."""
        return self._booster is not None

    def predict(self, rows: Sequence[Sequence[float]]) -> Floats:
        """Logarithms of time over the defaults' time; zeros where nothing was learned."""
        if self._booster is None:
            return np.zeros(len(rows))
        values = self._booster.inplace_predict(np.array(rows, np.float32))
        return np.asarray(values, np.float64)


def next_batch(
    ranking: Ranking, rows: Sequence[Sequence[float]], count: int, random: np.random.Generator
) -> list[int]:
    """Which of the kernels with these features to measure: the best predicted, and a few others.

    Args:
        ranking: the model.
        rows: features of everything not measured yet.
        count: of kernels wanted.
        random: of the rest, and of all where nothing was learned.

    Returns:
        Distinct positions in ``rows``, at most ``count``.
    """
    order = random.permutation(len(rows))
    if not ranking.is_learned:
        return [int(at) for at in order[:count]]
    logs = ranking.predict(rows)
    best = [int(at) for at in np.argsort(logs, kind="stable")]
    taken = best[: max(1, round(_EXPLOITED * count))]
    others = [int(at) for at in order if int(at) not in taken]
    return [*taken, *others][:count]
