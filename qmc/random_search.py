"""The honest baseline: the best of a number of random mappings."""

from __future__ import annotations

import time

import numpy as np

from qmc.branch_and_bound import root_bound
from qmc.cost_models.analytical import check_widths
from qmc.cost_models.base import CostModel
from qmc.errors import NoMappingError
from qmc.layer import Layer, Precision
from qmc.mapspace import map_space, space_size
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_kernel import empty_nest
from qmc.random_walk import sample
from qmc.search import OBJECTIVE_KEYS, best_mapping, check_agreement, objective_value, searchable
from qmc.search_result import Certificate, Objective, SearchResult
from qmc.targets.target import Target


def random_search(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    *,
    samples: int,
    seed: int,
    max_cycles: int | None = None,
) -> SearchResult:
    """Draw ``samples`` mappings of the map space and keep the best that fits.

    Factors and orders are drawn evenly from those that the choices so far allow, what the memories
    keep evenly from all choices.

    Raises:
        NoMappingError: none of the samples fits the machine.
        CostModelError: the widths are outside what the MACs execute, or ``model`` is another one.
    """
    rules, precision = searchable(model, precision)
    started = time.monotonic()
    check_widths(layer, precision, target)
    space = map_space(layer, target)
    choices = build_choices(space)
    key = OBJECTIVE_KEYS[objective]
    draws = np.random.default_rng(seed).integers(len(space.keeps), size=samples)
    best, bounds, fitting = None, [], 0
    for index, keep in enumerate(space.keeps):
        problem = build_problem(layer, precision, target, keep, rules)
        nest, state = empty_nest(problem["bounds"]), new_state(space)
        state["most_cycles"] = np.inf if max_cycles is None else max_cycles
        bounds.append(root_bound(problem, choices, nest, key))
        count = int(np.count_nonzero(draws == index))
        fitting += sample(problem, choices, nest, state, key, (seed + index) % (1 << 32), count)
        if np.isfinite(state["best"][0]) and (
            best is None or tuple(state["best"]) < tuple(best[0]["best"])
        ):
            best = (state, keep)
    if best is None:
        fits = "its memories" if max_cycles is None else "its memories and the limit on cycles"
        reason = f"none of {samples} random mappings fits {fits}; use the exact mapper"
        raise NoMappingError(layer.name, target.name, reason)
    mapping = best_mapping(space, *best)
    cost = rules.evaluate(layer, precision, target, mapping)
    value = objective_value(cost, objective)
    check_agreement(layer, float(best[0]["best"][0]), value)
    certificate = Certificate(
        space=space_size(space),
        evaluated=fitting,
        pruned={"capacity": samples - fitting},
        lower_bound=min(*bounds, value),
        best=value,
        proved=False,
        seconds=time.monotonic() - started,
        keep_choices=len(space.keeps),
        max_cycles=max_cycles,
    )
    return SearchResult(mapping, cost, certificate)
