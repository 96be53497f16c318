"""Exact search: the best mapping of a layer in its whole map space, with a proof.

Spaces are searched by dynamic programming on the lattice of tiles (:mod:`qmc.lattice_search`);
those too wide for its tables are walked depth first with admissible bounds
(:mod:`qmc.branch_and_bound`), one walk for each choice of what the memories keep. The result
depends on the arguments alone, not on time, unless ``budget_seconds`` is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from qmc import lattice_search
from qmc.branch_and_bound import (
    BY_BANDWIDTH,
    BY_COMPUTE,
    BY_ENERGY,
    COUNT,
    OVER_CAPACITY,
    OVER_LIMIT,
    PRICED,
    VISITED,
    State,
    root_bound,
    run,
)
from qmc.cost_models.analytical import AnalyticalModel, PsumRule, check_widths
from qmc.cost_models.base import Cost, CostModel
from qmc.errors import CostModelError, LatencyLimitError
from qmc.infeasible import explain
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Mapping
from qmc.mapspace import MapSpace, count_orders, count_tilings, map_space, to_mapping
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_bounds import TIE, Choices, least_cycles
from qmc.nest_kernel import Ints, Nest, Problem, empty_nest
from qmc.pixels import in_a_row, in_rows
from qmc.random_walk import climb, sample
from qmc.search_result import Certificate, Objective, SearchResult
from qmc.spatial_choices import Spread
from qmc.targets.target import LoopConstraint, MacArray, MemoryLevel, Packing, Target

__all__ = ["Certificate", "Objective", "SearchResult", "search"]

#: Numbers of the objectives in the compiled code.
OBJECTIVE_KEYS = {Objective.EDP: 0, Objective.ENERGY: 1, Objective.LATENCY: 2}
#: Largest number of steps of one search, some five seconds; spaces without dataflow constraints are
#: too large to exhaust, and a limit on time would make results depend on the computer.
MAX_STEPS = 1 << 26
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
_REASONS = {
    "capacity": OVER_CAPACITY,
    "energy": BY_ENERGY,
    "compute": BY_COMPUTE,
    "bandwidth": BY_BANDWIDTH,
    "latency limit": OVER_LIMIT,
}
#: Largest relative difference between two sums of the same energies.
_ROUNDING = 1e-11


@dataclass(frozen=True, slots=True)
class _Request:
    """What every walk of one search is asked for.

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


def search(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    *,
    max_cycles: int | None = None,
    budget_seconds: float | None = None,
    max_steps: int = MAX_STEPS,
) -> SearchResult:
    """Find the best mapping of ``layer`` on ``target``.

    Args:
        layer: a layer with weights.
        precision: widths of its operands.
        target: the machine.
        model: the analytical model (see :func:`searchable`).
        objective: what to minimize. Ties: fewer cycles, then less energy, then the first in the
            order of enumeration.
        max_cycles: only mappings of at most so many cycles count.
        budget_seconds: stop after this time with the best found and an honest lower bound.
        max_steps: stop after so many steps of the search likewise.

    Raises:
        LatencyLimitError: every mapping takes more than ``max_cycles``.
        NoMappingError: no mapping fits the machine.
        CostModelError: the widths are outside what the MACs execute, or ``model`` is another.
    """
    rules, precision = searchable(model, precision)
    started = time.monotonic()
    check_widths(layer, precision, target)
    space = map_space(layer, target)
    walked = map_space(in_a_row(layer, target), target)
    choices = build_choices(walked)
    deadline = None if budget_seconds is None else started + budget_seconds
    limit = np.inf if max_cycles is None else float(max_cycles)
    key, tilings = OBJECTIVE_KEYS[objective], count_tilings(walked)
    request = _Request(key, limit, max_steps, deadline, tilings)
    found = None
    levels = lattice_search.practical_spreads(walked)
    if levels is not None:
        found = _by_lattice(walked, levels, precision, rules, choices, request)
    if found is None or (found.keep is None and not found.exhausted):
        bound = 0.0 if found is None else found.lower_bound
        each = max(1, max_steps // len(space.keeps)) if found is not None else max_steps
        request = replace(request, max_steps=each)
        found = _by_walks(walked, precision, rules, choices, request, bound)
    if found.keep is not None:
        mapping = best_mapping(walked, found.state, found.keep)
        if walked.layer is not layer:
            mapping = in_rows(mapping, layer, target)
        cost = rules.evaluate(layer, precision, target, mapping)
        value = objective_value(cost, objective)
        check_agreement(layer, float(found.state["best"][0]), value)
    elif max_cycles is None:
        raise explain(space, precision, rules)
    else:  # a budget may have ended before the limit was met
        fastest = search(
            *(layer, precision, target, model, Objective.LATENCY),
            budget_seconds=budget_seconds,
            max_steps=max_steps,
        )
        mapping, cost = _within(fastest, max_cycles, layer, target)
        value = objective_value(cost, objective)
    whole = tilings if walked.layer is layer else count_tilings(space)
    certificate = Certificate(
        space=whole * count_orders(space) * len(space.keeps),
        evaluated=found.evaluated,
        pruned=found.pruned,
        lower_bound=value if found.exhausted else min(found.lower_bound, value),
        best=value,
        proved=found.exhausted,
        seconds=time.monotonic() - started,
        visited=found.visited,
        keep_choices=len(space.keeps),
        keep_choices_cut=found.keep_choices_cut,
        max_cycles=max_cycles,
    )
    return SearchResult(mapping, cost, certificate)


@dataclass(frozen=True, slots=True)
class _Found:
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


def _by_lattice(
    space: MapSpace,
    levels: tuple[tuple[Spread, ...], ...],
    precision: Precision,
    rules: AnalyticalModel,
    choices: Choices,
    request: _Request,
) -> _Found:
    """Search by the lattice of tiles (:mod:`qmc.lattice_search`)."""

    @cache
    def problem_of(keep: int) -> Problem:
        return build_problem(space.layer, precision, space.target, space.keeps[keep], rules)

    state = new_state(space)
    state["most_cycles"] = request.max_cycles
    searched = lattice_search.prepare(
        *(space, levels, choices, problem_of, request.objective),
        *(request.max_steps, request.deadline),
    )
    exhausted, bound = lattice_search.run(searched, state)
    cut = searched.cut()
    return _Found(
        state=state,
        keep=None if searched.winner is None else space.keeps[searched.winner],
        exhausted=exhausted,
        lower_bound=bound,
        evaluated=int(state["counts"][PRICED]),
        visited=int(state["counts"][VISITED]),
        pruned=cut | {name: int(state["counts"][index]) for name, index in _REASONS.items()},
        keep_choices_cut=len(space.keeps) - len({keep for _, keep in searched.relaxed}),
    )


def _by_walks(
    space: MapSpace,
    precision: Precision,
    rules: AnalyticalModel,
    choices: Choices,
    request: _Request,
    lower_bound: float,
) -> _Found:
    """Search by one walk for each keep choice; ``lower_bound`` is known to hold already."""
    walks: list[_Walk] = []
    for keep in space.keeps:
        problem = build_problem(space.layer, precision, space.target, keep, rules)
        best = walks[-1].state["best"] if walks else None
        walks.append(_walk(space, choices, keep, problem, request, best))
    winner = _winner(walks)
    counts = sum(walk.state["counts"] for walk in walks)
    left = [walk.bound for walk in walks if not walk.exhausted]
    return _Found(
        state=walks[0].state if winner is None else winner.state,
        keep=None if winner is None else winner.keep,
        exhausted=not left,
        lower_bound=max(lower_bound, min(left, default=np.inf)),
        evaluated=int(counts[PRICED]),
        visited=int(counts[VISITED]),
        pruned={name: int(counts[index]) for name, index in _REASONS.items()},
        keep_choices_cut=sum(walk.cut for walk in walks),
    )


def _within(
    fastest: SearchResult, max_cycles: int, layer: Layer, target: Target
) -> tuple[Mapping, Cost]:
    """The fastest mapping of a layer, if it meets the limit."""
    least = fastest.cost.cycles
    if least > max_cycles:
        proved = fastest.certificate.proved
        raise LatencyLimitError(layer.name, target.name, max_cycles, least, proved)
    return fastest.mapping, fastest.cost


def searchable(model: CostModel, precision: Precision) -> tuple[AnalyticalModel, Precision]:
    """``model`` and ``precision`` as the compiled search has them.

    ``psum: output`` becomes partial sums of the output's width. What else that rule reproduces of
    other tools (inputs passed on between neighbours) belongs to no machine, so no mapping is chosen
    for it.

    Raises:
        CostModelError: the rules of ``model`` are not those of the analytical one.
    """
    if not isinstance(model, AnalyticalModel):
        name = type(model).__name__
        raise CostModelError(f"mappings are searched by the analytical model; found {name}")
    if model.psum is PsumRule.OUTPUT:
        precision = replace(precision, psum_bits=precision.output_bits)
    return replace(model, psum=PsumRule.HONEST), precision


def _walk(
    space: MapSpace,
    choices: Choices,
    keep: tuple[Keep, ...],
    problem: Problem,
    request: _Request,
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
    exhausted = run_for(
        lambda steps: run(problem, choices, nest, state, key, steps),
        request.max_steps,
        request.deadline,
    )
    return _Walk(keep, problem, nest, state, bound, exhausted, cut=False)


def _climb_often(
    space: MapSpace, choices: Choices, problem: Problem, request: _Request, state: State
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


def run_for(step: Callable[[int], bool], max_steps: int, deadline: float | None) -> bool:
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


def best_mapping(space: MapSpace, state: State, keep: tuple[Keep, ...]) -> Mapping:
    """The best mapping that a state holds."""
    return mapping_of(space, state["best_factors"], state["best_orders"], keep)


def mapping_of(space: MapSpace, factors: Ints, orders: Ints, keep: tuple[Keep, ...]) -> Mapping:
    """A mapping from factors (L, 3, 8) and orders (L, 8), innermost first."""
    tiling = tuple(
        tuple(int(f) for f in factors[block.level, _AXES.index(block.axis)])
        for block in space.blocks
    )
    chosen = []
    for block, own in zip(space.blocks, tiling, strict=True):
        order = orders[block.level] if block.axis is None else range(8)
        chosen.append(tuple(int(dim) for dim in order if own[dim] > 1))
    return to_mapping(space, tiling, tuple(chosen), keep)


_AXES = (None, "x", "y")


def objective_value(cost: Cost, objective: Objective) -> float:
    """What ``objective`` minimizes."""
    match objective:
        case Objective.EDP:
            return cost.edp_pj_cycles
        case Objective.ENERGY:
            return cost.energy_pj
        case Objective.LATENCY:
            return float(cost.cycles)


def check_agreement(layer: Layer, found: float, priced: float) -> None:
    """Assert that the compiled kernel and the model agree up to the order of additions."""
    agree = abs(found - priced) <= _ROUNDING * abs(priced)
    assert agree, f"{layer.name}: the search found {found!r}, the model says {priced!r}"


def count_fitting(layer: Layer, precision: Precision, target: Target) -> int:
    """Number of mappings that fit the machine, of equivalent orders one. Takes time: prices all."""
    space = map_space(layer, target)
    choices = build_choices(space)
    total = 0
    for keep in space.keeps:
        problem = build_problem(layer, precision, target, keep, AnalyticalModel())
        state = new_state(space)
        nest = empty_nest(problem["bounds"])
        while not run(problem, choices, nest, state, COUNT, _SLICE):
            pass
        total += int(state["counts"][PRICED])
    return total


def compile_kernels() -> None:
    """Compile, or load from the cache, everything that a search calls, by a very small search."""
    target = _one_memory_machine()
    layer = Layer("smallest", Op.CONV, ("input",), "output", LoopBounds(K=2))
    search(layer, Precision(), target, AnalyticalModel())


def _one_memory_machine() -> Target:
    free = LoopConstraint({}, {})
    everything = frozenset(Operand)
    memory = MemoryLevel(
        name="memory",
        instances=1,
        word_bits=8,
        row_words=1,
        depth_words=None,
        fanout_x=1,
        fanout_y=1,
        keep=everything,
        bypass=frozenset(),
        packing=Packing.WORDS,
        read_pj=1.0,
        fill_pj=1.0,
        update_pj=1.0,
        leakage_pj=0.0,
        read_bandwidth=None,
        write_bandwidth=None,
        cluster=1,
        temporal=free,
        spatial_x=free,
        spatial_y=free,
    )
    mac = MacArray("mac", 1, 1.0, 0.0, (1, 64), (1, 64))
    return Target("smallest", "", (memory,), mac, 1e9, 32, LoopDim.K, {}, "")
