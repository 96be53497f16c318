"""Exact search: the best mapping of a layer in its whole map space, with a proof.

Spaces are searched by dynamic programming on the lattice of tiles (:mod:`qmc.lattice_search`);
those too wide for its tables are walked depth first (:mod:`qmc.walk_search`). The result depends on
the arguments alone, not on time, unless ``budget_seconds`` is given.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np

from qmc import lattice_search
from qmc.branch_and_bound import COUNT, PRICED, VISITED, State, run
from qmc.cost_models.analytical import AnalyticalModel, PsumRule, check_widths
from qmc.cost_models.base import Cost, CostModel
from qmc.errors import CostModelError, LatencyLimitError
from qmc.infeasible import explain
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Mapping
from qmc.mapspace import MapSpace, count_orders, count_tilings, map_space, to_mapping
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_bounds import Choices
from qmc.nest_kernel import Ints, Problem, empty_nest
from qmc.pixels import in_a_row, in_rows
from qmc.search_result import Certificate, Objective, SearchResult
from qmc.spatial_choices import Spread
from qmc.targets.target import LoopConstraint, MacArray, MemoryLevel, Packing, Target
from qmc.walk_search import REASONS, Found, Request, by_walks

__all__ = ["Certificate", "Objective", "SearchResult", "search"]

#: Numbers of the objectives in the compiled code.
OBJECTIVE_KEYS = {Objective.EDP: 0, Objective.ENERGY: 1, Objective.LATENCY: 2}
#: Largest number of steps of one search, some five seconds; spaces without dataflow constraints are
#: too large to exhaust, and a limit on time would make results depend on the computer.
MAX_STEPS = 1 << 26
#: Steps of one call of the count of a space.
_COUNTED = 1 << 18
#: Largest relative difference between two sums of the same energies.
_ROUNDING = 1e-11


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
    request = Request(key, limit, max_steps, deadline, tilings)
    found = None
    levels = lattice_search.practical_spreads(walked)
    if levels is not None:
        found = _by_lattice(walked, levels, precision, rules, choices, request)
    if found is None or (found.keep is None and not found.exhausted):
        bound = 0.0 if found is None else found.lower_bound
        each = max(1, max_steps // len(space.keeps)) if found is not None else max_steps
        request = replace(request, max_steps=each)
        found = by_walks(walked, precision, rules, choices, request, bound)
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


def _by_lattice(
    space: MapSpace,
    levels: tuple[tuple[Spread, ...], ...],
    precision: Precision,
    rules: AnalyticalModel,
    choices: Choices,
    request: Request,
) -> Found:
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
    return Found(
        state=state,
        keep=None if searched.winner is None else space.keeps[searched.winner],
        exhausted=exhausted,
        lower_bound=bound,
        evaluated=int(state["counts"][PRICED]),
        visited=int(state["counts"][VISITED]),
        pruned=cut | {name: int(state["counts"][index]) for name, index in REASONS.items()},
        keep_choices_cut=len(space.keeps) - len({keep for _, keep in searched.relaxed}),
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
        while not run(problem, choices, nest, state, COUNT, _COUNTED):
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
