"""Exact search where loops need not divide their dims.

The best perfect mapping comes first (:func:`qmc.search.search`); it is the mapping to beat. Then
the space of imperfect loops in space is walked, and then, if asked for, that of all imperfect loops
(:mod:`qmc.cut_space`, :mod:`qmc.cut_walk`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from qmc.branch_and_bound import PRICED, VISITED, keys
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost, CostModel
from qmc.cut_records import MAX_TILES, CutNest, CutState, new_cut_nest, new_cut_state
from qmc.cut_space import CutSpace, count_cut_mappings, cut_space, with_room
from qmc.cut_walk import Steps, least_cut_cycles, least_cut_energy, run_cut
from qmc.errors import CostModelError, LatencyLimitError
from qmc.layer import Layer, Precision
from qmc.mapping import Mapping
from qmc.mapspace import DIMS, map_space
from qmc.nest_arrays import build_choices, build_problem
from qmc.nest_bounds import TIE, Choices
from qmc.nest_kernel import Problem
from qmc.search import (
    MAX_STEPS,
    OBJECTIVE_KEYS,
    check_agreement,
    mapping_of,
    objective_value,
    search,
    searchable,
)
from qmc.search_result import Certificate, Factors, Objective, SearchResult
from qmc.targets.target import Target
from qmc.walk_search import REASONS

#: Steps of the perfect search that take as long as one of a walk here.
_STEP_COST = 16
#: Steps between two looks at the clock.
_SLICE = 1 << 14
_SPACES = {
    Factors.PERFECT: (),
    Factors.SPATIAL_IMPERFECT: (Factors.SPATIAL_IMPERFECT,),
    Factors.IMPERFECT: (Factors.SPATIAL_IMPERFECT, Factors.IMPERFECT),
}


@dataclass(frozen=True, slots=True)
class _Task:
    """What every walk is asked for; ``max_steps`` and ``deadline`` (None is none) end it."""

    layer: Layer
    precision: Precision
    target: Target
    rules: AnalyticalModel
    objective: Objective
    max_cycles: int | None
    max_steps: int
    deadline: float | None

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def value(self, cost: Cost) -> tuple[float, float]:
        """What the search minimizes, and what decides among equals."""
        return keys(cost.energy_pj, float(cost.cycles), OBJECTIVE_KEYS[self.objective])


def imperfect_search(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    *,
    factors: Factors = Factors.IMPERFECT,
    max_cycles: int | None = None,
    budget_seconds: float | None = None,
    max_steps: int = MAX_STEPS,
) -> SearchResult:
    """Find the best mapping of ``layer`` on ``target`` whose loops need not divide their dims.

    Args:
        layer: a layer with weights.
        precision: widths of its operands.
        target: the machine.
        model: the analytical model.
        objective: what to minimize.
        factors: the space.
        max_cycles: only mappings of at most so many cycles count.
        budget_seconds: stop after this time with the best found and an honest lower bound.
        max_steps: stop every walk after so many steps likewise.

    Raises:
        LatencyLimitError: no mapping found takes at most ``max_cycles``.
        NoMappingError: no mapping of perfect factors fits the machine.
        CostModelError: as in :func:`qmc.search.search`, or the machine has a network.
    """
    started = time.monotonic()
    if factors is not Factors.PERFECT and any(m.network for m in target.memories):
        raise CostModelError(
            f"target '{target.name}': wires are priced for perfect factors alone; "
            f"found --factors {factors}; allowed: perfect"
        )
    late: LatencyLimitError | None = None
    best: SearchResult | None = None
    try:
        best = search(
            *(layer, precision, target, model, objective),
            max_cycles=max_cycles,
            budget_seconds=budget_seconds,
            max_steps=max_steps,
        )
    except LatencyLimitError as error:
        late = error
    rules, precision = searchable(model, precision)
    deadline = None if budget_seconds is None else started + budget_seconds
    task = _Task(layer, precision, target, rules, objective, max_cycles, max_steps, deadline)
    for space in _SPACES[factors]:
        best = _walk_space(task, space, best, started)
    if best is None:
        assert late is not None
        raise late
    return best


@dataclass(frozen=True, slots=True)
class _Walk:
    """The search under one choice of what the memories keep."""

    state: CutState
    bound: float
    exhausted: bool
    cut: bool


def _walk_space(
    task: _Task, factors: Factors, best: SearchResult | None, started: float
) -> SearchResult | None:
    """The best of a space; ``best`` is the best of a space within it, if there is one."""
    perfect = map_space(task.layer, task.target)
    space = cut_space(perfect, factors)
    choices = build_choices(with_room(space))
    walks: list[_Walk] = []
    for keep in perfect.keeps:
        problem = build_problem(task.layer, task.precision, task.target, keep, task.rules)
        first = (np.inf, np.inf) if best is None else task.value(best.cost)
        walk = _walk(task, space, choices, problem, first)
        walks.append(walk)
        if walk.state["found"]:
            mapping = mapping_of(
                perfect, walk.state["best_factors"], walk.state["best_orders"], keep
            )
            best = _priced(task, mapping, walk, best)
    if best is None:
        return None
    return replace(best, certificate=_certificate(task, factors, space, best, walks, started))


def _walk(
    task: _Task, space: CutSpace, choices: Choices, problem: Problem, first: tuple[float, float]
) -> _Walk:
    """Walk the space under one choice of what the memories keep, to beat ``first``."""
    nest = new_cut_nest(problem["bounds"])
    most = np.inf if task.max_cycles is None else float(task.max_cycles)
    state = new_cut_state([len(sizes) - 1 for sizes in space.sizes], most)
    state["best"] = first
    key = OBJECTIVE_KEYS[task.objective]
    bound = _root_bound(problem, choices, nest, key)
    if bound > first[0] * (1 + TIE):
        return _Walk(state, bound, exhausted=True, cut=True)
    table, exhausted, done = _table(space), False, 0
    while not exhausted and done < task.max_steps // _STEP_COST and not task.is_late():
        exhausted = run_cut(problem, choices, table, nest, state, key, _SLICE)
        done += _SLICE
    return _Walk(state, bound, exhausted, cut=False)


def _root_bound(problem: Problem, choices: Choices, nest: CutNest, key: int) -> float:
    """Lower bound of the objective over the whole space."""
    energy = least_cut_energy(problem, choices, nest, 0)
    return keys(energy, least_cut_cycles(problem, choices, nest, 0), key)[0]


def _table(space: CutSpace) -> Steps:
    sizes = np.ones(space.tiles.shape, np.int64)
    for dim, own in enumerate(space.sizes):
        sizes[dim, : len(own)] = own
    return Steps(
        sizes,
        *(space.extents, space.tiles, space.free, space.bound, space.fixed, space.possible),
    )


def _priced(task: _Task, mapping: Mapping, walk: _Walk, best: SearchResult | None) -> SearchResult:
    """A mapping found, priced by the model; the certificate of ``best`` stays for now."""
    cost = task.rules.evaluate(task.layer, task.precision, task.target, mapping)
    value = objective_value(cost, task.objective)
    check_agreement(task.layer, float(walk.state["best"][0]), value)
    nothing = Certificate(0, 0, {}, walk.bound, value, False, 0.0)
    return SearchResult(mapping, cost, nothing if best is None else best.certificate)


def _certificate(
    task: _Task,
    factors: Factors,
    space: CutSpace,
    best: SearchResult,
    walks: list[_Walk],
    started: float,
) -> Certificate:
    """What was searched, the search of the perfect space included."""
    value = objective_value(best.cost, task.objective)
    counts = sum(walk.state["counts"] for walk in walks)
    left = [walk.bound for walk in walks if not walk.exhausted]
    before = best.certificate
    pruned = {
        name: before.pruned.get(name, 0) + int(counts[index]) for name, index in REASONS.items()
    }
    return Certificate(
        space=count_cut_mappings(space),
        evaluated=before.evaluated + int(counts[PRICED]),
        pruned={**before.pruned, **pruned},
        lower_bound=min([value, *left]),
        best=value,
        proved=not left,
        seconds=time.monotonic() - started,
        visited=before.visited + int(counts[VISITED]),
        keep_choices=len(walks),
        keep_choices_cut=sum(walk.cut for walk in walks),
        factors=factors.value,
        max_cycles=task.max_cycles,
        note=_note(space),
    )


def _note(space: CutSpace) -> str:
    """Which dims have fewer factors than asked for."""
    told = []
    for dims, kept in (
        (space.even_dims, "are imperfect in space only"),
        (space.perfect_dims, "are perfect"),
    ):
        if dims:
            names = ", ".join(DIMS[dim].value for dim in dims)
            told.append(f"factors of {names} {kept}: more than {MAX_TILES} tile sizes otherwise")
    return "; ".join(told)
