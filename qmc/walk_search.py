"""Exact search by walks: depth first with admissible bounds, one walk per choice of what is kept.

The engine of spaces too wide for the lattice of tiles (:mod:`qmc.lattice_search`): a first best
from climbs, then :mod:`qmc.branch_and_bound`. Also what both engines are asked for and end with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qmc.branch_and_bound import (
    BY_BANDWIDTH,
    BY_COMPUTE,
    BY_ENERGY,
    OVER_CAPACITY,
    OVER_LIMIT,
    PRICED,
    VISITED,
    State,
    root_bound,
    run,
)
from qmc.cost_models.analytical import AnalyticalModel
from qmc.layer import Precision
from qmc.mapping import Keep
from qmc.mapspace import MapSpace
from qmc.nest_arrays import build_problem, new_state
from qmc.nest_bounds import TIE, Choices, least_cycles
from qmc.nest_kernel import Nest, Problem, empty_nest
from qmc.random_walk import climb, sample

#: A first best comes from climbs: random mappings, and random changes to the best of them. Many
#: short climbs from different mappings end far lower than a long one.
_CLIMBS = 4
_SAMPLES = 128
_CHANGES = 1 << 12
#: Tilings below which that is not worth its time, and above which it is worth sixteen times more.
_SMALL_SPACE, _LARGE_SPACE = 1 << 12, 1 << 24
#: Steps between two looks at the clock.
_SLICE = 1 << 18
#: Reasons to cut a branch, as the certificate names them.
REASONS = {
    "capacity": OVER_CAPACITY,
    "energy": BY_ENERGY,
    "compute": BY_COMPUTE,
    "bandwidth": BY_BANDWIDTH,
    "latency limit": OVER_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the engines of one search are asked for.

    Attributes:
        objective: its number in the compiled code.
        max_cycles: limit on cycles; inf is none.
        max_steps: of one walk.
        deadline: on the monotonic clock; None is none.
        tilings: size of the space, orders and keep choices aside.
    """

    objective: int
    max_cycles: float
    max_steps: int
    deadline: float | None
    tilings: int

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


@dataclass(frozen=True, slots=True)
class _Walk:
    """The search under one choice of what the memories keep.

    ``exhausted`` says that nothing better is left; ``cut`` that its first bound said so.
    """

    keep: tuple[Keep, ...]
    problem: Problem
    nest: Nest
    state: State
    bound: float
    exhausted: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a search of the space ends with.

    Attributes:
        state: holds the best mapping. keep: what its memories keep; None without any mapping.
        exhausted: whether nothing better is left; if not, ``lower_bound`` holds for the rest.
        evaluated, visited, pruned, keep_choices_cut: as in the certificate.
    """

    state: State
    keep: tuple[Keep, ...] | None
    exhausted: bool
    lower_bound: float
    evaluated: int
    visited: int
    pruned: dict[str, int]
    keep_choices_cut: int


def by_walks(
    space: MapSpace,
    precision: Precision,
    rules: AnalyticalModel,
    choices: Choices,
    request: Request,
    lower_bound: float,
) -> Found:
    """Search by one walk for each keep choice; ``lower_bound`` is known to hold already."""
    walks: list[_Walk] = []
    for keep in space.keeps:
        problem = build_problem(space.layer, precision, space.target, keep, rules)
        best = walks[-1].state["best"] if walks else None
        walks.append(_walk(space, choices, keep, problem, request, best))
    winner = _winner(walks)
    counts = sum(walk.state["counts"] for walk in walks)
    left = [walk.bound for walk in walks if not walk.exhausted]
    return Found(
        state=walks[0].state if winner is None else winner.state,
        keep=None if winner is None else winner.keep,
        exhausted=not left,
        lower_bound=max(lower_bound, min(left, default=np.inf)),
        evaluated=int(counts[PRICED]),
        visited=int(counts[VISITED]),
        pruned={name: int(counts[index]) for name, index in REASONS.items()},
        keep_choices_cut=sum(walk.cut for walk in walks),
    )


def _walk(
    space: MapSpace,
    choices: Choices,
    keep: tuple[Keep, ...],
    problem: Problem,
    request: Request,
    best: np.ndarray | None,
) -> _Walk:
    nest = empty_nest(problem["bounds"])
    state = new_state(space)
    state["most_cycles"] = request.max_cycles
    if best is not None:
        state["best"] = best
    key, size = request.objective, request.tilings
    bound = root_bound(problem, choices, nest, key)
    state["bound"][0] = bound
    fastest = least_cycles(problem, choices, nest, 0)
    if bound > state["best"][0] * (1 + TIE) or fastest > request.max_cycles:
        return _Walk(keep, problem, nest, state, bound, exhausted=True, cut=True)
    if np.isfinite(state["best"][0]) and request.is_late():
        return _Walk(keep, problem, nest, state, bound, exhausted=False, cut=False)
    if size > _SMALL_SPACE:
        _climb_often(space, choices, problem, request, state)
    exhausted = _run_for(
        lambda steps: run(problem, choices, nest, state, key, steps),
        request.max_steps,
        request.deadline,
    )
    return _Walk(keep, problem, nest, state, bound, exhausted, cut=False)


def _climb_often(
    space: MapSpace, choices: Choices, problem: Problem, request: Request, state: State
) -> None:
    """Keep the best mapping of several climbs in ``state`` if it beats the best there."""
    climbs = _CLIMBS if request.tilings < _LARGE_SPACE else 16 * _CLIMBS
    for seed in range(max(1, min(climbs, request.max_steps // _CHANGES))):
        trial, nest = new_state(space), empty_nest(problem["bounds"])
        trial["most_cycles"] = request.max_cycles
        sample(problem, choices, nest, trial, request.objective, seed, _SAMPLES)
        if np.isfinite(trial["best"][0]):
            climb(problem, choices, nest, trial, request.objective, seed, _CHANGES)
        state["counts"] += trial["counts"]
        if tuple(trial["best"]) < tuple(state["best"]):
            for field in ("best", "best_factors", "best_orders"):
                state[field] = trial[field]
        if request.is_late():
            return


def _run_for(step: Callable[[int], bool], max_steps: int, deadline: float | None) -> bool:
    """Run a search in slices until it is exhausted or a limit is met; whether it is exhausted."""
    done = 0
    while done < max_steps:
        if step(min(_SLICE, max_steps - done)):
            return True
        done += _SLICE
        if deadline is not None and time.monotonic() >= deadline:
            return False
    return False


def _winner(walks: list[_Walk]) -> _Walk | None:
    """The walk that found the best; each started from the best of those before it."""
    best: _Walk | None = None
    for walk in walks:
        if best is None or tuple(walk.state["best"]) < tuple(best.state["best"]):
            best = walk
    return best if best is not None and np.isfinite(best.state["best"][0]) else None
