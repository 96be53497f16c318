"""The exact choice of widths against brute force and against published optima."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hawq_resnet18 import hawq_problem

from qmc.bit_choice import NO_LIMITS, Limits, Solver, brute_force, meets
from qmc.bit_problem import BitProblem, Peak, Term, Variable, evaluate, without_dominated

COST = {"energy_pj": 1.0}


def random_problem(seed: int) -> BitProblem:
    """A chain of layers over weights and activations; odd seeds add residual terms and steps."""
    rng = np.random.default_rng(seed)
    layers = int(rng.integers(2, 4))
    variables = [Variable(f"t{i}", (8, 4, 2)) for i in range(layers + 1)]
    variables += [Variable(f"w{i}", (8, 4, 2)[: int(rng.integers(2, 4))]) for i in range(layers)]
    scopes = [(layers + 1 + i, i, i + 1) for i in range(layers)]
    if seed % 2:
        scopes += [(0, layers), (0, layers - 1, layers)]
    terms = []
    for number, scope in enumerate(scopes):
        shape = tuple(len(variables[v].options) for v in scope)
        costs = {m: rng.integers(0, 50, shape).astype(float) for m in ("energy_pj", "cycles")}
        allowed = rng.random(shape) > 0.1 if seed % 3 == 0 else None
        terms.append(Term(f"layer{number}", scope, costs, allowed))
    for number, variable in enumerate(variables):
        values = rng.integers(0, 30, len(variable.options)).astype(float)
        terms.append(Term(variable.name, (number,), {"sensitivity": values}))
    peaks = tuple(
        Peak(f"step{i}", 3.0, (i, i + 1), tuple(rng.integers(1, 20, (2, 3)).astype(float)))
        for i in range(layers)
    )
    return BitProblem(tuple(variables), tuple(terms), peaks)


@pytest.mark.parametrize("seed", range(100))
def test_least_sum_equals_brute_force(seed: int) -> None:
    problem = random_problem(seed)
    weights = {"energy_pj": 1.0, "sensitivity": 0.25 * (seed % 7)}
    found, expected = Solver(problem).least(weights), brute_force(problem, weights)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.proof.proved
        assert found.proof.value == pytest.approx(
            sum(w * expected.totals[m] for m, w in weights.items())
        )
        assert evaluate(problem, found.choice.options) == found.choice


@pytest.mark.parametrize("seed", range(100))
def test_limited_choice_equals_brute_force(seed: int) -> None:
    problem = random_problem(seed)
    middle = brute_force(problem, {"sensitivity": 1.0, "cycles": 0.5})
    if middle is None:
        pytest.skip("no combination of this problem is allowed")
    sensitivity = middle.totals["sensitivity"] + (seed % 5) * 6
    limits = Limits({"sensitivity": sensitivity}, middle.peak + seed % 4)
    found, expected = Solver(problem).best(COST, limits), brute_force(problem, COST, limits)
    assert found is not None
    assert expected is not None
    assert found.proof.proved
    assert meets(found.choice, limits)
    assert found.choice.totals["energy_pj"] == pytest.approx(expected.totals["energy_pj"])


def test_limit_below_the_least_has_no_solution() -> None:
    assert Solver(random_problem(1)).best(COST, Limits({"sensitivity": -1.0})) is None


@pytest.mark.parametrize("seed", range(12))
def test_front_holds_every_corner_of_the_lower_hull(seed: int) -> None:
    problem = random_problem(seed)
    front = Solver(problem).front("sensitivity", COST)
    for weight in (0.01, 0.3, 1.0, 2.5, 40.0):
        best = brute_force(problem, {"sensitivity": weight, "energy_pj": 1.0})
        if best is None:
            assert not front
            continue
        values = [weight * c.totals["sensitivity"] + c.totals["energy_pj"] for c in front]
        expected = weight * best.totals["sensitivity"] + best.totals["energy_pj"]
        assert min(values) == pytest.approx(expected)
    totals = [(c.totals["sensitivity"], c.totals["energy_pj"]) for c in front]
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(totals))


def test_equal_options_leave_the_first() -> None:
    costs = {"energy_pj": np.array([5.0, 5.0, 5.0, 3.0])}
    sensitivity = {"sensitivity": np.array([1.0, 1.0, 2.0, 4.0])}
    variable = Variable("w", (8, 7, 6, 5))
    problem = BitProblem((variable,), (Term("a", (0,), costs), Term("b", (0,), sensitivity)))
    small, kept = without_dominated(problem, problem.metrics(), peaks=False)
    assert kept == ((0, 3),)
    assert small.variables[0].options == (8, 5)


@pytest.mark.parametrize(
    ("metric", "limit", "used", "objective", "four_bits"),
    [
        ("size", 7.980469, 7.265625, -1.23320720, {15, 17, 18}),
        ("bops", 66.232320, 65.028096, -1.09202381, {3, 8, 12, 13, 14, 15, 16, 17, 18}),
        ("latency", 4.246180, 4.220095, -1.10503933, {5, 8, 12, 13, 15, 17, 18}),
    ],
)
def test_hawq_v3_resnet18_optimum_is_found(
    metric: str, limit: float, used: float, objective: float, four_bits: set[int]
) -> None:
    problem, layers = hawq_problem()
    found = Solver(problem).best({"sensitivity": 1.0}, Limits({metric: limit}))
    assert found is not None
    assert found.proof.proved
    assert found.choice.totals[metric] == pytest.approx(used, abs=5e-7)
    assert found.proof.value == pytest.approx(objective, abs=5e-9)
    chosen = {i for i, v in enumerate(layers) if found.choice.options[v] == 1}
    assert chosen == four_bits


def test_bit_budget_with_wide_ends_takes_the_most_sensitive_layers() -> None:
    # BMPQ: widths {2, 4} under a budget of parameter bits, first and last layer at 16, the sum of
    # sensitivity times bits as large as possible (arXiv 2112.13843; the method as it is recalled).
    parameters = np.array([9.0, 40.0, 33.0, 25.0, 51.0, 12.0])
    gain = np.array([5.0, 8.0, 1.0, 6.0, 7.0, 4.0])
    variables = [Variable(f"w{i}", (16,) if i in (0, 5) else (4, 2)) for i in range(6)]
    terms = [
        Term(
            v.name,
            (i,),
            {
                "sensitivity": -gain[i] * np.array(v.options, float),
                "bits": parameters[i] * np.array(v.options, float),
            },
        )
        for i, v in enumerate(variables)
    ]
    problem = BitProblem(tuple(variables), tuple(terms))
    for budget in range(634, 940, 17):
        limits = Limits({"bits": float(budget)})
        found = Solver(problem).best({"sensitivity": 1.0}, limits)
        expected = brute_force(problem, {"sensitivity": 1.0}, limits)
        assert found is not None
        assert expected is not None
        assert found.proof.proved
        assert found.choice.totals["sensitivity"] == pytest.approx(expected.totals["sensitivity"])
    assert Solver(problem).best({"sensitivity": 1.0}, Limits({"bits": 633.0})) is None


def test_no_limits_give_the_least_sum_by_both_methods() -> None:
    problem = random_problem(4)
    solver = Solver(problem)
    by_tables, by_program = solver.least(COST), solver.best(COST, NO_LIMITS)
    assert by_tables is not None
    assert by_program is not None
    assert by_tables.proof.value == pytest.approx(by_program.proof.value)
