from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.latency_choice import choose_points, least_cycles
from qmc.search_result import Objective

points = st.lists(
    st.tuples(st.integers(1, 40).map(float), st.integers(1, 40)), min_size=1, max_size=4
)


def value(energy: float, cycles: int, objective: Objective) -> float:
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


@given(st.lists(points, min_size=1, max_size=5), st.integers(0, 80), st.sampled_from(Objective))
def test_choice_equals_the_best_of_all_combinations(
    layers: list[list[tuple[float, int]]], slack: int, objective: Objective
) -> None:
    limit = least_cycles(layers) + slack
    totals = [
        (sum(energy for energy, _ in combination), sum(cycles for _, cycles in combination))
        for combination in product(*layers)
    ]
    best = min(value(*total, objective) for total in totals if total[1] <= limit)
    choice = choose_points(layers, limit, objective)
    chosen = [points[index] for points, index in zip(layers, choice, strict=True)]
    energy, cycles = sum(e for e, _ in chosen), sum(c for _, c in chosen)
    assert cycles <= limit
    assert value(energy, cycles, objective) == best


def test_choice_trades_energy_where_a_cycle_is_cheapest() -> None:
    layers = [[(10.0, 8), (11.0, 4)], [(20.0, 9), (30.0, 5)], [(5.0, 3)]]
    assert least_cycles(layers) == 12
    assert choose_points(layers, 20, Objective.ENERGY) == (0, 0, 0)
    assert choose_points(layers, 19, Objective.ENERGY) == (1, 0, 0)
    assert choose_points(layers, 15, Objective.ENERGY) == (1, 1, 0)


def test_choice_of_many_layers_takes_no_time() -> None:
    layers = [[(100.0 - 7 * i - j, 10 + 13 * i + j) for i in range(5)] for j in range(60)]
    choice = choose_points(layers, 2500, Objective.ENERGY)
    assert sum(points[index][1] for points, index in zip(layers, choice, strict=True)) <= 2500
    with pytest.raises(AssertionError, match="no choice"):
        choose_points(layers, least_cycles(layers) - 1, Objective.ENERGY)
