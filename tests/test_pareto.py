"""Pareto sets against brute force over every mapping."""

from __future__ import annotations

import contextlib
import random

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import CapacityError, LatencyLimitError, NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.mapspace import all_mappings, map_space, space_size
from qmc.pareto import pareto_front
from qmc.targets import load_target
from qmc.targets.target import Target
from tests.machines import small_layer, small_precision, small_target

_MODEL = AnalyticalModel()
#: Energies closer than this are one: they are sums of the same numbers in another order.
_SAME = 1e-9


def brute_force_front(
    layer: Layer, precision: Precision, target: Target
) -> list[tuple[float, int]]:
    """Points (energy, cycles) of all mappings that no other beats, from least energy."""
    points = []
    for mapping in all_mappings(map_space(layer, target)):
        with contextlib.suppress(CapacityError):
            cost = _MODEL.evaluate(layer, precision, target, mapping)
            points.append((cost.cycles, cost.energy_pj))
    front: list[tuple[float, int]] = []
    for cycles, energy in sorted(points):
        if not front or energy < front[-1][0] * (1 - _SAME):
            front.append((energy, cycles))
    return front[::-1]


def problem(seed: int) -> tuple[Layer, Precision, Target] | None:
    """A random problem whose space can be listed and is not empty."""
    rng = random.Random(5000 + seed)
    layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
    try:
        if 1 < space_size(map_space(layer, target)) <= 2000:
            return layer, precision, target
    except NoMappingError:
        pass
    return None


@pytest.mark.parametrize("first", range(0, 160, 40))
def test_pareto_front_random_machines_equals_brute_force(first: int) -> None:
    compared = several = 0
    for seed in range(first, first + 40):
        chosen = problem(seed)
        expected = brute_force_front(*chosen) if chosen else []
        if chosen is None or not expected:
            continue
        front = pareto_front(*chosen, _MODEL)
        assert [point.cost.cycles for point in front] == [cycles for _, cycles in expected], seed
        energies = [point.cost.energy_pj for point in front]
        assert energies == pytest.approx([energy for energy, _ in expected], rel=_SAME), seed
        assert all(point.certificate.proved for point in front)
        compared += 1
        several += len(front) > 1
    assert compared >= 12
    assert several >= 1


def test_pareto_front_under_a_limit_is_its_fast_end() -> None:
    layer = Layer("conv", Op.CONV, ("x",), "y", LoopBounds(K=16, C=32, P=8, Q=10))
    target = load_target("eyeriss")
    front = pareto_front(layer, Precision(), target, _MODEL)
    assert len(front) > 2
    fast = pareto_front(layer, Precision(), target, _MODEL, max_cycles=front[1].cost.cycles)
    assert [point.cost for point in fast] == [point.cost for point in front[1:]]
    with pytest.raises(LatencyLimitError, match="the fastest mapping takes"):
        pareto_front(layer, Precision(), target, _MODEL, max_cycles=front[-1].cost.cycles - 1)
