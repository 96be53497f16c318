"""Learned search: a model ranks very many mappings, the truth prices only the most promising few.

Some 80,000 mappings of a layer are described and ranked by the learned cost model; 64 are priced.
Chains of random changes descend on the predicted objective (simulated annealing) and propose eight
mappings; their true costs correct the predictions around them (:mod:`qmc.residuals`), and shorter
chains go on from there. The truth is the analytical model, or one calibrated to measurements; the
point of so few evaluations is a truth that is slow. The result depends on the arguments alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from qmc.branch_and_bound import root_bound
from qmc.cost_models.analytical import check_widths
from qmc.cost_models.base import CostModel
from qmc.cost_models.calibrated_model import CalibratedModel
from qmc.cost_models.xgboost_model import Floats, LearnedModel, shipped_model
from qmc.errors import NoMappingError
from qmc.layer import Layer, Precision
from qmc.learned_candidates import Candidates, Indices, Ranker, build_ranker, joined
from qmc.mapping import Mapping
from qmc.mapspace import space_size
from qmc.nest_kernel import empty_nest
from qmc.residuals import Residuals, feature_scale, fit_residuals, no_residuals
from qmc.search import OBJECTIVE_KEYS, objective_value, searchable
from qmc.search_result import Certificate, Objective, SearchResult
from qmc.targets.target import Target

#: True costs asked for, and rounds that they are spread over.
EVALUATIONS, _ROUNDS = 64, 8
_RANDOM = 4096
#: Chains and changes of each, in the first round and in later ones.
_CHAINS, _STEPS = 512, 100
_LATER_CHAINS, _LATER_STEPS = 128, 25
#: Temperature, in e-foldings of the objective, at the beginning of a round and at its end.
_HOT, _WARM, _COLD = 0.3, 0.1, 0.01
#: Steps after which the worst chains continue from the best, and the share of them.
_REGROUP, _REPLACED = 20, 4
#: Candidates kept between rounds, the best.
_KEPT = 4000


@dataclass(slots=True)
class _Search:
    """The state of one search; the candidates are those that are worth a price."""

    ranker: Ranker
    rng: np.random.Generator
    pool: Candidates
    residuals: Residuals
    priced: list[Candidates] = field(default_factory=list)
    truths: list[Floats] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    ranked: int = 0
    warm: bool = False

    @property
    def evaluated(self) -> int:
        """True costs asked for."""
        return sum(map(len, self.truths))

    def scores(self, candidates: Candidates) -> Floats:
        """Predictions, corrected by what is priced."""
        scores = candidates.scores.copy()
        fits = np.isfinite(scores)
        scores[fits] += self.residuals.at(candidates.rows[fits])
        return scores


def learned_search(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    *,
    seed: int,
    max_cycles: int | None = None,
    evaluations: int = EVALUATIONS,
    start: Mapping | None = None,
    learned: LearnedModel | None = None,
) -> SearchResult:
    """Find a good mapping of ``layer`` on ``target`` with few true costs.

    Args:
        layer: a layer with weights.
        precision: widths of its operands.
        target: the machine.
        model: the truth: the analytical model, or a calibrated one.
        objective: what to minimize.
        seed: of everything random.
        max_cycles: only mappings of at most so many cycles count.
        evaluations: true costs to ask for.
        start: a mapping to begin with; the result is no worse.
        learned: what ranks; None is the model that ships with qmc.

    Raises:
        NoMappingError: no mapping was found that fits.
        CostModelError: the widths are outside what the MACs execute, or ``model`` is another.
    """
    started = time.monotonic()
    calibration = model if isinstance(model, CalibratedModel) else None
    rules, precision = searchable(calibration.base if calibration else model, precision)
    check_widths(layer, precision, target)
    learned = learned or shipped_model()
    problem = (layer, precision, target, rules, learned, objective, max_cycles, calibration)
    ranker = build_ranker(*problem)
    search = _begin(ranker, seed)
    if start is not None:
        _price(search, ranker.given(start))
    while (left := evaluations - search.evaluated) > 0:
        if not _round(search, min(left, max(1, evaluations // _ROUNDS))):
            break
    return _result(search, layer, precision, target, calibration or rules, started)


def _begin(ranker: Ranker, seed: int) -> _Search:
    rng = np.random.default_rng(seed)
    pool = ranker.random(_RANDOM, rng)
    fits = np.isfinite(pool.scores)
    if not fits.any():
        reason = "none of the random mappings fits; use the exact mapper"
        raise NoMappingError(ranker.space.layer.name, ranker.space.target.name, reason)
    scale = feature_scale(pool.rows[fits])
    return _Search(ranker, rng, pool, no_residuals(scale), ranked=len(pool))


def _round(search: _Search, count: int) -> bool:
    """Look for better mappings, price the ``count`` most promising; False when none is new."""
    if search.warm:
        _anneal(search, _LATER_CHAINS, _LATER_STEPS, _WARM)
    else:
        _anneal(search, _CHAINS, _STEPS, _HOT)
        search.warm = True
    chosen: list[int] = []
    for index in _best(search.scores(search.pool), _KEPT).tolist():
        key = search.pool.rows[index].tobytes()  # equal features: equal in the model's eyes
        if key not in search.seen:
            search.seen.add(key)
            chosen.append(index)
        if len(chosen) == count:
            break
    if not chosen:
        return False
    _price(search, search.pool.take(np.array(chosen)))
    return True


def _price(search: _Search, batch: Candidates) -> None:
    """Ask for true costs, and learn from them."""
    search.priced.append(batch)
    search.truths.append(search.ranker.prices(batch))
    priced, truths = joined(search.priced), np.concatenate(search.truths)
    valid = np.isfinite(truths)
    if valid.any():
        search.residuals = fit_residuals(
            priced.rows[valid], truths[valid] - priced.scores[valid], search.residuals.scale
        )
    search.pool = joined([search.pool, batch])


def _anneal(search: _Search, chains: int, steps: int, hot: float) -> None:
    """Let chains of changes descend from the best of the pool; what they visit joins it."""
    now = search.pool.take(_best(search.scores(search.pool), chains))
    scores = search.scores(now)
    visited = [search.pool]
    for step in range(steps):
        temperature = hot * (_COLD / hot) ** (step / max(1, steps - 1))
        new = search.ranker.changed(now, search.rng)
        search.ranked += len(new)
        found = search.scores(new)
        gain = np.where(np.isfinite(found), scores - found, -np.inf)
        taken = np.flatnonzero(temperature * np.log(search.rng.random(len(new))) < gain)
        now.overwrite(taken, new.take(taken))
        scores[taken] = found[taken]
        visited.append(new.take(taken))
        if (step + 1) % _REGROUP == 0:
            order = np.argsort(scores, kind="stable")
            count = len(order) // _REPLACED
            if count:
                now.overwrite(order[-count:], now.take(order[:count]))
                scores[order[-count:]] = scores[order[:count]]
    pool = joined(visited)
    search.pool = pool.take(_best(search.scores(pool), _KEPT))


def _best(scores: Floats, count: int) -> Indices:
    """Indices of the best finite scores, of equal ones one, best first."""
    order = np.argsort(scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    _, first = np.unique(np.round(scores[order], 9), return_index=True)
    return order[np.sort(first)[:count]]


def _result(
    search: _Search,
    layer: Layer,
    precision: Precision,
    target: Target,
    truth: CostModel,
    started: float,
) -> SearchResult:
    ranker = search.ranker
    priced, truths = joined(search.priced), np.concatenate(search.truths)
    winner = int(np.argmin(truths))
    if not np.isfinite(truths[winner]):
        raise NoMappingError(layer.name, target.name, "none of the mappings priced is in the limit")
    mapping = ranker.mapping(priced, winner)
    cost = truth.evaluate(layer, precision, target, mapping)
    value = objective_value(cost, ranker.objective)
    bounds = [
        root_bound(
            problem,
            ranker.choices,
            empty_nest(problem["bounds"]),
            OBJECTIVE_KEYS[ranker.objective],
        )
        for problem in ranker.problems
    ]
    certificate = Certificate(
        space=space_size(ranker.space),
        evaluated=len(truths),
        pruned={},
        lower_bound=min(*bounds, value) if ranker.calibration is None else 0.0,
        best=value,
        proved=False,
        seconds=time.monotonic() - started,
        visited=search.ranked,
        keep_choices=len(ranker.problems),
        max_cycles=None if np.isinf(ranker.max_cycles) else int(ranker.max_cycles),
        expected=_expected(ranker, precision, target),
    )
    return SearchResult(mapping, cost, certificate)


def _expected(ranker: Ranker, precision: Precision, target: Target) -> dict[str, object]:
    if ranker.calibration is not None:
        return ranker.calibration.expected_error()
    return ranker.model.expected_error(precision, target)
