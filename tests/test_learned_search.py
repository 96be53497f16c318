"""The learned search against the exact one, and what each mapper means."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import CalibratedModel, Quantity
from qmc.errors import CostModelError, NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.learned_search import EVALUATIONS, learned_search
from qmc.mappers import Request, find_mappings
from qmc.options import Mapper
from qmc.random_search import random_search
from qmc.schedule import Task
from qmc.search import search
from qmc.search_result import Objective, SearchResult
from qmc.targets import load_target
from qmc.targets.unconstrained import unconstrained
from tests.machines import small_layer, small_precision, small_target

MODEL = AnalyticalModel()
WIDE = Layer("wide", Op.CONV, ("x",), "y", LoopBounds(K=48, C=36, P=14, Q=9, R=3, S=3))
POINT = Layer("point", Op.CONV, ("x",), "y", LoopBounds(K=96, C=80, P=11, Q=7), strides=(2, 2))
HARD = Layer("hard", Op.CONV, ("x",), "y", LoopBounds(K=144, C=24, P=56, Q=56))
DEPTH = Layer("depth", Op.CONV, ("x",), "y", LoopBounds(G=60, P=13, Q=15, R=3, S=5))


def result(outcome: object) -> SearchResult:
    assert isinstance(outcome, SearchResult)
    return outcome


def regret(layer: Layer, name: str) -> float:
    """Of the learned search; checks on the way what holds of every result."""
    target, precision = load_target(name), Precision(4, 8, 8)
    exact = search(layer, precision, target, MODEL)
    found = learned_search(layer, precision, target, MODEL, seed=0)
    assert exact.certificate.proved
    assert found.certificate.evaluated <= EVALUATIONS
    assert found.certificate.visited > 10_000
    assert not found.certificate.proved
    assert found.certificate.lower_bound <= exact.certificate.best
    assert exact.certificate.best * (1 - 1e-9) <= found.certificate.best
    drawn = random_search(layer, precision, target, MODEL, samples=EVALUATIONS, seed=0)
    assert found.certificate.best < drawn.certificate.best
    assert MODEL.evaluate(layer, precision, target, found.mapping) == found.cost
    return found.certificate.best / exact.certificate.best - 1


def test_learned_comes_close_to_the_optimum_with_few_true_costs() -> None:
    machines = ("simba", "eyeriss", "stripes")
    regrets = sorted(regret(layer, name) for name in machines for layer in (WIDE, POINT, DEPTH))
    assert regrets[4] <= 0.01
    assert regrets[7] <= 0.05
    assert regrets[8] <= 0.2


def test_same_seed_gives_the_same_mapping_and_another_may_not() -> None:
    target = load_target("simba-8b")
    one, two, other = (
        learned_search(WIDE, Precision(), target, MODEL, seed=seed, evaluations=8)
        for seed in (1, 1, 2)
    )
    assert one.mapping == two.mapping
    assert replace(one.certificate, seconds=0.0) == replace(two.certificate, seconds=0.0)
    assert one.mapping != other.mapping


def test_result_is_no_worse_than_the_mapping_it_starts_from() -> None:
    target = load_target("simba")
    best = search(WIDE, Precision(), target, MODEL)
    found = learned_search(
        WIDE, Precision(), target, MODEL, seed=0, evaluations=2, start=best.mapping
    )
    assert found.certificate.evaluated == 2
    assert found.certificate.best == best.certificate.best


@pytest.mark.parametrize("objective", list(Objective))
def test_limit_on_cycles_is_kept(objective: Objective) -> None:
    target = load_target("eyeriss")
    fastest = search(POINT, Precision(), target, MODEL, Objective.LATENCY).cost.cycles
    limit = round(1.5 * fastest)
    found = learned_search(POINT, Precision(), target, MODEL, objective, seed=0, max_cycles=limit)
    assert found.cost.cycles <= limit


def test_random_machines_with_free_bypass_are_searched_legally() -> None:
    rng, found = random.Random(5), 0
    for _ in range(8):
        layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
        try:
            best = search(layer, precision, target, MODEL).certificate.best
        except NoMappingError:
            continue
        try:
            learned = learned_search(layer, precision, target, MODEL, seed=0, evaluations=16)
        except NoMappingError:
            continue  # so few mappings fit that random ones miss them
        found += 1
        assert best * (1 - 1e-9) <= learned.certificate.best <= 1.25 * best
    assert found >= 4


def test_layer_that_fits_nowhere_has_no_mapping() -> None:
    target = load_target("simba")
    memories = tuple(
        replace(m, depth_words=1) if m.name == "GlobalBuffer" else m for m in target.memories
    )
    with pytest.raises(NoMappingError, match="none of the random mappings fits"):
        learned_search(WIDE, Precision(), replace(target, memories=memories), MODEL, seed=0)


def test_widths_the_machine_lacks_are_refused() -> None:
    with pytest.raises(CostModelError, match="inputs of 4 bits"):
        learned_search(WIDE, Precision(4, 4, 4), load_target("ne16"), MODEL, seed=0)


def test_learned_mapper_says_that_exact_proves_sooner() -> None:
    task = Task(WIDE, Precision(), load_target("simba"), MODEL)
    exact = search(WIDE, Precision(), load_target("simba"), MODEL).certificate
    (outcome,) = find_mappings([task], 1, Request(Mapper.LEARNED))
    certificate = result(outcome).certificate
    assert certificate.note.startswith("exact proves the optimum in less time")
    assert not certificate.proved
    assert certificate.lower_bound == pytest.approx(exact.best)
    assert certificate.gap == pytest.approx(certificate.best / exact.best - 1)
    assert certificate.expected["held_out"] == "layers"


def test_auto_takes_the_proof_where_there_is_one_and_the_better_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proved = Task(WIDE, Precision(), load_target("simba"), MODEL)
    (first,) = find_mappings([proved], 1, Request(Mapper.AUTO))
    assert result(first).certificate.proved
    free, steps = unconstrained(load_target("simba")), 1 << 14
    monkeypatch.setattr("qmc.mappers.AUTO_STEPS", steps)
    (other,) = find_mappings([Task(HARD, Precision(), free, MODEL)], 1, Request(Mapper.AUTO))
    second = result(other).certificate
    assert not second.proved
    assert second.note.startswith("auto: exact proved nothing in 16,384 steps, learned found")
    exact = search(HARD, Precision(), free, MODEL, max_steps=steps)
    assert second.best <= exact.certificate.best
    assert second.lower_bound <= exact.certificate.lower_bound


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    target = load_target("tpu")
    tasks = [Task(layer, Precision(), target, MODEL) for layer in (WIDE, POINT, WIDE)]
    ticks: list[tuple[int, int]] = []
    one = find_mappings(tasks, 3, Request(Mapper.LEARNED))
    two = find_mappings(
        tasks,
        3,
        Request(Mapper.LEARNED, jobs=2, tick=lambda done, total: ticks.append((done, total))),
    )
    assert [result(a).mapping for a in one] == [result(b).mapping for b in two]
    assert (3, 3) in ticks


def scaled(factor: float, quantity: Quantity, sha256: str) -> CalibratedModel:
    return CalibratedModel(quantity, factor, "", sha256, {"before": {}, "after": {}})


def test_scale_keeps_the_proof_and_scales_cost_and_bound() -> None:
    target = load_target("simba")
    plain = search(WIDE, Precision(), target, MODEL)
    model = scaled(2.0, Quantity.CYCLES, target.sha256)
    for mapper in (Mapper.EXACT, Mapper.AUTO):
        task = Task(WIDE, Precision(), target, model)
        found = result(find_mappings([task], 1, Request(mapper))[0])
        assert found.mapping == plain.mapping
        assert found.cost.cycles == 2 * plain.cost.cycles
        assert found.cost.energy_pj == plain.cost.energy_pj
        assert found.certificate.proved
        assert found.certificate.best == found.certificate.lower_bound == found.cost.edp_pj_cycles
        assert found.certificate.expected["calibrated"] == "cycles"


def test_scaled_energy_scales_every_memory() -> None:
    target = load_target("simba")
    plain = search(WIDE, Precision(), target, MODEL)
    model = scaled(0.5, Quantity.ENERGY_PJ, target.sha256)
    cost = model.evaluate(WIDE, Precision(), target, plain.mapping)
    assert cost.energy_pj == pytest.approx(plain.cost.energy_pj / 2)
    assert sum(cost.energy_by_memory_pj.values()) == pytest.approx(cost.energy_pj)
    assert cost.cycles == plain.cost.cycles


def test_limit_on_calibrated_cycles_is_kept() -> None:
    target = load_target("eyeriss")
    fastest = search(POINT, Precision(), target, MODEL, Objective.LATENCY).cost.cycles
    limit = 4 * fastest
    model = scaled(3.0, Quantity.CYCLES, target.sha256)
    task = Task(POINT, Precision(), target, model, Objective.ENERGY, max_cycles=limit)
    for mapper in (Mapper.EXACT, Mapper.LEARNED):
        assert result(find_mappings([task], 1, Request(mapper))[0]).cost.cycles <= limit
