"""The lattice search against the walk over all mappings, its bounds against what mappings cost."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from qmc import lattice_search
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.traffic import FirstFill
from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.mapspace import MapSpace, count_tilings, map_space
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.search import OBJECTIVE_KEYS, search
from qmc.search_result import Objective
from qmc.spatial_choices import spreads
from qmc.targets import Target, load_target
from qmc.targets.unconstrained import unconstrained
from tests.machines import FREE, small_layer, small_precision, small_target
from tests.test_search import force_walks

_MODEL = AnalyticalModel()


def by_lattice(space, precision, model, objective, steps=1 << 40):
    """Search one space; returns the search, its state, and what it says of the rest."""

    def problem_of(keep: int):
        return build_problem(space.layer, precision, space.target, space.keeps[keep], model)

    choices, state = build_choices(space), new_state(space)
    key = OBJECTIVE_KEYS[objective]
    levels = tuple(spreads(space, level) for level in range(len(space.target.memories)))
    searched = lattice_search.prepare(space, levels, choices, problem_of, key, steps, None)
    return searched, state, lattice_search.run(searched, state)


@pytest.mark.parametrize("first", range(0, 240, 60))
def test_lattice_search_random_machines_equals_the_walk(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    force_walks(monkeypatch)
    compared = sum(_compare_with_walk(seed) for seed in range(first, first + 60))
    assert compared >= 40


def _compare_with_walk(seed: int) -> bool:
    """Search one random problem both ways; False when its space is empty or too large."""
    rng = random.Random(seed)
    layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
    if rng.random() < 0.5:
        target = _without_constraints(target)
    model = AnalyticalModel(rng.choice(list(FirstFill)))
    objective = rng.choice(list(Objective))
    try:
        space = map_space(layer, target)
    except NoMappingError:
        return False
    if count_tilings(space) * len(space.keeps) > 3000:
        return False
    searched, state, (exhausted, bound) = by_lattice(space, precision, model, objective)
    assert exhausted
    try:
        result = search(layer, precision, target, model, objective)
    except NoMappingError:
        assert searched.winner is None
        return True
    cost = result.cost
    other = cost.energy_pj if objective is Objective.LATENCY else cost.cycles
    assert bound == pytest.approx(result.certificate.best, rel=1e-9), seed
    assert tuple(state["best"]) == pytest.approx((result.certificate.best, other), rel=1e-9), seed
    least = min(searched.relaxed.values())[0]
    assert least <= result.certificate.best * (1 + 1e-9), seed
    return True


def _without_constraints(target: Target) -> Target:
    free = {"temporal": FREE, "spatial_x": FREE, "spatial_y": FREE}
    return replace(target, memories=tuple(replace(m, **free) for m in target.memories))


def _space(target: str, **bounds: int) -> MapSpace:
    layer = Layer("conv", Op.CONV, ("x",), "y", LoopBounds(**bounds))
    return map_space(layer, unconstrained(load_target(target)))


def test_unconstrained_machines_are_proved_and_beat_the_constrained_ones() -> None:
    for name in ("eyeriss", "simba"):
        target = load_target(name)
        layer = Layer("conv", Op.CONV, ("x",), "y", LoopBounds(K=24, C=16, P=14, Q=7))
        free = search(layer, Precision(), unconstrained(target), _MODEL)
        bound = search(layer, Precision(), target, _MODEL)
        assert free.certificate.proved
        assert free.certificate.best <= bound.certificate.best


def test_steps_run_out_leaves_an_honest_lower_bound() -> None:
    space = _space("eyeriss", K=16, C=16, P=14, Q=14, R=3, S=3)
    _, state, (exhausted, _) = by_lattice(space, Precision(), _MODEL, Objective.EDP)
    assert exhausted
    best = float(state["best"][0])
    for steps in (1, 1 << 13, 1 << 15):
        _, state, (exhausted, bound) = by_lattice(
            space, Precision(), _MODEL, Objective.EDP, steps=steps
        )
        assert bound <= best * (1 + 1e-9)
        assert exhausted or float(state["best"][0]) >= best * (1 - 1e-12)


def test_result_is_the_same_twice() -> None:
    space = _space("simba", K=12, C=8, P=7, Q=14)
    first, one, _ = by_lattice(space, Precision(4, 8, 8), _MODEL, Objective.EDP)
    second, other, _ = by_lattice(space, Precision(4, 8, 8), _MODEL, Objective.EDP)
    assert first.winner == second.winner
    for name in ("best", "best_factors", "best_orders", "counts"):
        assert np.array_equal(one[name], other[name])


def test_practical_spreads_refuses_spaces_beyond_its_tables() -> None:
    usual = _space("simba", K=64, C=64, P=56, Q=56, R=3, S=3)
    assert lattice_search.practical_spreads(usual) is not None
    large = _space("simba", N=240, K=5040, C=5040, P=720, Q=720, R=3, S=3)
    assert lattice_search.practical_spreads(large) is None
