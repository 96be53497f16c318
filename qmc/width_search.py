"""Exact search of one layer at many triples of widths: one walk finds and proves all optima.

The results are those of :func:`qmc.search.search`, triple by triple. A space that is too large to
be exhausted is searched triple by triple.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.errors import NoMappingError
from qmc.layer import Layer, Precision
from qmc.mapping import Keep, Mapping
from qmc.mapspace import MapSpace, count_tilings, map_space
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_bounds import Choices
from qmc.nest_kernel import Problem, empty_nest
from qmc.pixels import in_a_row, in_rows
from qmc.search import (
    MAX_STEPS,
    OBJECTIVE_KEYS,
    check_agreement,
    mapping_of,
    objective_value,
    search,
)
from qmc.search_result import Objective
from qmc.targets.target import Target
from qmc.width_arrays import build_widths, known_memories, new_prices, new_triples
from qmc.width_classes import WidthClasses
from qmc.width_walk import Triples, climb_widths, price_root, run_widths, sample_widths

#: Random mappings that give every triple a first best, and random changes to the best of each.
_SAMPLES = 2048
_CHANGES = 64
#: Tilings up to which a space is exhausted in one walk.
_LARGE_SPACE = 1 << 24


@dataclass(frozen=True, slots=True)
class WidthResult:
    """The best mapping at some widths, its cost, and how far it may be above the optimum.

    ``gap`` is relative; 0 when the mapping is proved to be the best.
    """

    mapping: Mapping
    cost: Cost
    gap: float


def search_widths(
    layer: Layer,
    classes: WidthClasses,
    target: Target,
    model: AnalyticalModel,
    objective: Objective = Objective.EDP,
    *,
    max_steps: int = MAX_STEPS,
) -> tuple[WidthResult | None, ...]:
    """Find the best mapping of ``layer`` for every problem of ``classes``; None where none fits.

    Raises:
        NoMappingError: the machine's constraints leave part of a loop no place.
    """
    space = map_space(in_a_row(layer, target), target)
    if count_tilings(space) * len(space.keeps) <= _LARGE_SPACE:
        found = _walk_all(space, layer, classes, model, objective, max_steps)
        if found is not None:
            return found
    return tuple(
        _search_one(layer, precision, target, model, objective, max_steps)
        for precision in classes.precisions
    )


def _search_one(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: AnalyticalModel,
    objective: Objective,
    max_steps: int,
) -> WidthResult | None:
    try:
        result = search(layer, precision, target, model, objective, max_steps=max_steps)
    except NoMappingError:
        return None
    return WidthResult(result.mapping, result.cost, result.certificate.gap)


def _walk_all(
    space: MapSpace,
    layer: Layer,
    classes: WidthClasses,
    model: AnalyticalModel,
    objective: Objective,
    max_steps: int,
) -> tuple[WidthResult | None, ...] | None:
    """All problems in one walk for each choice of what is kept; None if ``max_steps`` is met.

    ``space`` is that of ``layer``, or of one that costs the same.
    """
    choices = build_choices(space)
    precision = classes.precisions[0]
    triples: Triples | None = None
    kept: list[tuple[Keep, ...]] = [space.keeps[0]] * len(classes.problems)
    for keep in space.keeps:
        problem = build_problem(space.layer, precision, space.target, keep, model)
        if triples is None:
            triples = new_triples(problem, classes, space.layer.macs)
        triples = triples._replace(known=known_memories(problem))
        before = triples.best.copy()
        if not _walk(space, choices, problem, classes, triples, objective, max_steps):
            return None
        for t in np.flatnonzero((triples.best != before).any(axis=1)):
            kept[t] = keep
    assert triples is not None, "a machine keeps something"
    mappings = [_mapping(space, layer, triples, t, keep) for t, keep in enumerate(kept)]
    results = price_mappings(layer, space.target, model, classes, mappings)
    for best, result in zip(triples.best[:, 0], results, strict=True):
        if result is not None:
            check_agreement(layer, float(best), objective_value(result.cost, objective))
    return results


def _walk(
    space: MapSpace,
    choices: Choices,
    problem: Problem,
    classes: WidthClasses,
    triples: Triples,
    objective: Objective,
    max_steps: int,
) -> bool:
    """Search under one choice of what the memories keep; whether the space is exhausted."""
    widths = build_widths(problem, space.target, classes)
    prices, state, key = new_prices(), new_state(space), OBJECTIVE_KEYS[objective]
    nest = empty_nest(problem["bounds"])
    price_root(problem, widths, nest, prices, triples)
    common = (problem, choices, widths, nest, prices, state, triples, key)
    sample_widths(*common, 0, _SAMPLES)
    climb_widths(*common, 0, _CHANGES)
    nest = empty_nest(problem["bounds"])
    common = (problem, choices, widths, nest, prices, state, triples, key)
    return bool(run_widths(*common, max_steps))


def _mapping(
    space: MapSpace, layer: Layer, triples: Triples, t: int, keep: tuple[Keep, ...]
) -> Mapping | None:
    """The best mapping found for one problem."""
    if not np.isfinite(triples.best[t, 0]):
        return None
    mapping = mapping_of(space, triples.best_factors[t], triples.best_orders[t], keep)
    return mapping if space.layer is layer else in_rows(mapping, layer, space.target)


def price_mappings(
    layer: Layer,
    target: Target,
    model: AnalyticalModel,
    classes: WidthClasses,
    mappings: Sequence[Mapping | None],
) -> tuple[WidthResult | None, ...]:
    """Proved results from a best mapping for every problem; equal mappings are counted once."""
    users: dict[Mapping, list[int]] = {}
    for t, mapping in enumerate(mappings):
        if mapping is not None:
            users.setdefault(mapping, []).append(t)
    results: list[WidthResult | None] = [None] * len(mappings)
    for mapping, problems in users.items():
        precisions = [classes.precisions[t] for t in problems]
        costs = model.evaluate_widths(layer, precisions, target, mapping)
        for t, cost in zip(problems, costs, strict=True):
            results[t] = WidthResult(mapping, cost, 0.0)
    return tuple(results)
