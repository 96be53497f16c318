from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.cost_models.traffic import FirstFill
from qmc.errors import CapacityError, CostModelError, LatencyLimitError, NoMappingError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapspace import all_mappings, map_space, space_size
from qmc.random_search import random_search
from qmc.search import count_fitting, objective_value, search
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.targets.target import MacArray
from tests.machines import FREE, small_layer, small_precision, small_target

_MODEL = AnalyticalModel()


def conv(name: str = "conv", strides: tuple[int, int] = (1, 1), **bounds: int) -> Layer:
    return Layer(name, Op.CONV, ("x",), "y", LoopBounds(**bounds), strides=strides)


def force_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search by walks, as where the tables of the lattice would be too large."""
    monkeypatch.setattr("qmc.search.lattice_search.practical_spreads", lambda space: None)


def brute_force(layer, precision, target, model, objective):
    """Best (objective, cycles) over every mapping, each order included, by the model alone."""
    best = None
    for mapping in all_mappings(map_space(layer, target)):
        try:
            cost = model.evaluate(layer, precision, target, mapping)
        except CapacityError:
            continue
        found = (objective_value(cost, objective), cost.cycles)
        if best is None or found < best:
            best = found
    return best


@pytest.mark.parametrize("walked", [False, True])
@pytest.mark.parametrize("first", range(0, 240, 30))
def test_search_random_machines_equals_brute_force(
    first: int, walked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if walked:
        force_walks(monkeypatch)
    compared = sum(_compare_with_brute_force(seed) for seed in range(first, first + 30))
    assert compared >= 15


def _compare_with_brute_force(seed: int) -> bool:
    """Search one random problem both ways; False when its space is empty or too large to list."""
    rng = random.Random(seed)
    layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
    model = AnalyticalModel(rng.choice(list(FirstFill)))
    objective = rng.choice(list(Objective))
    try:
        if space_size(map_space(layer, target)) > 2000:
            return False
    except NoMappingError:
        return False
    best = brute_force(layer, precision, target, model, objective)
    if best is None:
        with pytest.raises(NoMappingError, match="no mapping fits"):
            search(layer, precision, target, model, objective)
        return True
    result = search(layer, precision, target, model, objective)
    assert result.certificate.proved
    assert result.certificate.best == pytest.approx(best[0], rel=1e-9), seed
    assert result.cost.cycles == best[1], seed
    assert result.cost == model.evaluate(layer, precision, target, result.mapping)
    return True


@pytest.mark.parametrize("first", range(40, 240, 50))
def test_search_windows_in_space_equals_brute_force(first: int) -> None:
    """Neighbours whose windows overlap read inputs together: the bounds have to know."""
    compared = sum(_compare_windows(seed) for seed in range(first, first + 50))
    assert compared >= 20


def _compare_windows(seed: int) -> bool:
    """A layer with a window on a machine free in space, inputs read mostly above the array."""
    rng = random.Random(seed)
    target = _free_in_space(rng)
    bounds = {"P": rng.choice([2, 4]), "R": rng.choice([2, 3, 4])}
    if rng.random() < 0.5:
        bounds[rng.choice("QSKC")] = 2
    layer, precision = conv(strides=(rng.choice([1, 1, 2]), 1), **bounds), small_precision(rng)
    if space_size(map_space(layer, target)) > 1000:
        return False
    best = brute_force(layer, precision, target, _MODEL, Objective.ENERGY)
    if best is None:
        return False
    found = search(layer, precision, target, _MODEL, Objective.ENERGY)
    assert found.certificate.best == pytest.approx(best[0], rel=1e-9), seed
    return True


def _free_in_space(rng: random.Random) -> Target:
    """The two outer memories of a random machine, reads of the first being dear."""
    first, second = small_target(rng).memories[:2]
    free = {"spatial_x": FREE, "spatial_y": FREE, "network": None, "cluster": 1}
    first = replace(first, fanout_x=rng.choice([1, 2, 4]), fanout_y=4, read_pj=40.0, **free)
    instances = first.fanout_x * first.fanout_y
    second = replace(second, instances=instances, fanout_x=rng.choice([1, 2, 4]), **free)
    if rng.random() < 0.7:
        others = second.keep - {Operand.I}
        second = replace(second, keep=others, bypass=second.bypass | {Operand.I})
    mac = MacArray("mac", instances * second.fanout_x * second.fanout_y, 0.5, 0.0, (1, 8), (1, 8))
    return Target("windows", "", (first, second), mac, 1e9, 32, LoopDim.K, {}, "")


#: Valid mappings of the golden folder's README at I = W = O bits, Eyeriss, psum at output width.
_VALID = {
    "dense_32_32": (dict(K=32, C=32, P=112, Q=112, R=3, S=3), {16: 11778, 8: 15021, 4: 16417}),
    "dense_32_32_2": (dict(K=32, C=32, P=112, Q=112, R=3, S=3), {2: 16877}),
    "depthwise_as_K": (dict(K=32, P=112, Q=112, R=3, S=3), {16: 428, 8: 448, 4: 448, 2: 448}),
    "pointwise": (dict(K=64, C=32, P=112, Q=112), {16: 24032, 8: 30151, 4: 32021, 2: 32061}),
    "pointwise_256_512": (dict(K=512, C=256, P=14, Q=14), {16: 71765, 8: 95010, 2: 121846}),
}


@pytest.mark.parametrize("name", _VALID)
def test_count_fitting_eyeriss_equals_published_enumeration(name: str) -> None:
    bounds, expected = _VALID[name]
    target = load_target("eyeriss")
    found = {
        bits: count_fitting(conv(**bounds), Precision(bits, bits, bits, bits), target)
        for bits in expected
    }
    assert found == expected


def mobilenet_v1() -> list[Layer]:
    """MobileNetV1 as in the published records: 100 classes, depthwise layers coded as dense."""
    layers = [conv("0", (2, 2), K=32, C=3, P=112, Q=112, R=3, S=3)]
    channels, size = 32, 112
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    for out, stride in [*plan, *[(512, 1)] * 5, (1024, 2), (1024, 1)]:
        size //= stride
        name = f"{len(layers)}"
        dense = dict(K=channels, C=channels, P=size, Q=size, R=3, S=3)
        layers.append(conv(name, (stride, stride), **dense))
        layers.append(conv(name + "p", K=out, C=channels, P=size, Q=size))
        channels = out
    return [*layers, conv("fc", K=100, C=1024)]


#: Network energy, uJ, of the golden folder's README.
_PUBLISHED_UJ = {16: 28399.8, 8: 18689.3, 5: 15869.8, 4: 14423.3, 2: 12451.7}


@pytest.mark.parametrize("bits", _PUBLISHED_UJ)
def test_search_mobilenet_v1_on_eyeriss_equals_published_energy(bits: int) -> None:
    target, model = load_target("eyeriss"), AnalyticalModel(FirstFill.COUNTED)
    precision = Precision(bits, bits, bits, bits)
    distinct = {(layer.bounds, layer.strides): layer for layer in mobilenet_v1()}
    energy = {
        key: search(layer, precision, target, model).cost.energy_pj
        for key, layer in distinct.items()
    }
    total = sum(energy[layer.bounds, layer.strides] for layer in mobilenet_v1()) / 1e6
    assert total == pytest.approx(_PUBLISHED_UJ[bits], abs=0.05001)


def test_search_twice_gives_the_same_result() -> None:
    layer, target = conv(K=24, C=6, P=7, Q=14, R=3, S=3), load_target("simba")
    first = search(layer, Precision(), target, _MODEL)
    second = search(layer, Precision(), target, _MODEL)
    assert first.mapping == second.mapping
    assert replace(first.certificate, seconds=0) == replace(second.certificate, seconds=0)


def test_search_stopped_early_bounds_the_optimum() -> None:
    layer, target = conv(K=32, C=16, P=14, Q=7, R=3, S=1), load_target("simba")
    exact = search(layer, Precision(), target, _MODEL)
    stopped = search(layer, Precision(), target, _MODEL, max_steps=1000)
    assert exact.certificate.proved
    assert not stopped.certificate.proved
    assert stopped.certificate.lower_bound <= exact.certificate.best <= stopped.certificate.best
    assert stopped.certificate.gap > 0


@pytest.mark.parametrize("objective", Objective)
def test_random_search_never_beats_exact(objective: Objective) -> None:
    layer, target = conv(K=32, C=16, P=14, Q=7, R=3, S=1), load_target("simba")
    exact = search(layer, Precision(), target, _MODEL, objective)
    found = random_search(layer, Precision(), target, _MODEL, objective, samples=500, seed=3)
    again = random_search(layer, Precision(), target, _MODEL, objective, samples=500, seed=3)
    assert found.mapping == again.mapping
    assert exact.certificate.best <= found.certificate.best
    assert found.certificate.lower_bound <= exact.certificate.best


def test_search_narrower_bits_never_cost_more() -> None:
    layer, target = conv(K=48, C=24, P=14, Q=7, R=3, S=3), load_target("eyeriss")
    energies = [
        search(layer, Precision(b, b, b, b), target, _MODEL, Objective.ENERGY).cost.energy_pj
        for b in (16, 8, 5, 4, 3, 2)
    ]
    assert energies == sorted(energies, reverse=True)


def test_search_layer_too_wide_names_memory_bytes_and_nearest_width() -> None:
    layer = conv("wide", K=4, C=3, P=5, Q=9, S=31)
    message = (
        r"layer 'wide': no mapping fits target 'eyeriss': ifmap_spad needs 62 bytes, has 24 bytes; "
        r"nearest change: input bits 5, or ifmap_spad of 62 bytes"
    )
    with pytest.raises(NoMappingError, match=message):
        search(layer, Precision(8, 16, 8), load_target("eyeriss"), _MODEL)
    search(layer, Precision(8, 5, 8), load_target("eyeriss"), _MODEL)


def test_search_loop_without_place_names_it() -> None:
    with pytest.raises(NoMappingError, match=r"loop R has extent 13.*shared_glb.y at most 12"):
        search(conv(K=4, R=13), Precision(), load_target("eyeriss"), _MODEL)


def test_search_other_cost_model_is_refused() -> None:
    with pytest.raises(CostModelError, match="analytical model; found object"):
        search(conv(K=2), Precision(), load_target("simba"), object())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["eyeriss", "simba", "eyeriss-8b", "simba-8b"])
@pytest.mark.parametrize(
    "layer",
    [
        conv("first", (2, 2), K=16, C=3, P=15, Q=7, R=3, S=5),
        conv("classes", K=1001, C=96),
        conv("depthwise", G=40, P=7, Q=7, R=5, S=5),
        conv("grouped", K=6, G=4, C=10, P=7, Q=3, R=3, S=1),
        conv("one_dimensional", K=10, C=2, Q=50, S=9),
        conv("prime", K=7, C=13, P=11, Q=5, R=1, S=1),
    ],
    ids=lambda layer: layer.name,
)
def test_search_awkward_shape_finds_a_mapping(layer: Layer, name: str) -> None:
    result = search(layer, Precision(), load_target(name), _MODEL, max_steps=1 << 18)
    assert result.certificate.lower_bound <= result.certificate.best
    assert result.cost == _MODEL.evaluate(layer, Precision(), load_target(name), result.mapping)


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_search_under_a_latency_limit_equals_brute_force(first: int) -> None:
    compared = sum(_compare_limit_with_brute_force(seed) for seed in range(first, first + 30))
    assert compared >= 10


def _compare_limit_with_brute_force(seed: int) -> bool:
    """One random problem under a limit between its fastest mapping and its best one."""
    rng = random.Random(1000 + seed)
    layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
    objective = rng.choice([Objective.ENERGY, Objective.ENERGY, Objective.EDP])
    try:
        if space_size(map_space(layer, target)) > 2000:
            return False
    except NoMappingError:
        return False
    costs = list(all_costs(layer, precision, target))
    if not costs:
        return False
    cycles = sorted({cost.cycles for cost in costs})
    limit = rng.choice([*cycles[:-1], cycles[0]])
    best = min(
        (objective_value(cost, objective), cost.cycles) for cost in costs if cost.cycles <= limit
    )
    result = search(layer, precision, target, _MODEL, objective, max_cycles=limit)
    assert result.certificate.proved
    assert result.certificate.max_cycles == limit
    assert result.certificate.best == pytest.approx(best[0], rel=1e-9), seed
    assert result.cost.cycles == best[1], seed
    with pytest.raises(LatencyLimitError, match=rf"the fastest mapping takes {cycles[0]}$"):
        search(layer, precision, target, _MODEL, objective, max_cycles=cycles[0] - 1)
    return True


def all_costs(layer: Layer, precision: Precision, target: Target) -> Iterator[Cost]:
    """Costs of all mappings that fit, by the model alone."""
    for mapping in all_mappings(map_space(layer, target)):
        with contextlib.suppress(CapacityError):
            yield _MODEL.evaluate(layer, precision, target, mapping)


def test_search_stopped_before_the_limit_is_met_falls_back_to_the_fastest() -> None:
    layer, target = conv(K=32, C=16, P=14, Q=7, R=3, S=1), load_target("simba")
    least = search(layer, Precision(), target, _MODEL, Objective.LATENCY).cost.cycles
    found = search(
        layer, Precision(), target, _MODEL, Objective.ENERGY, max_cycles=least, max_steps=1 << 12
    )
    assert found.cost.cycles == least
    assert found.certificate.lower_bound <= found.certificate.best


def test_certificate_counts_what_the_walk_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    force_walks(monkeypatch)
    layer, target = conv(K=4, C=16, P=14, Q=7, R=3, S=1), load_target("eyeriss")
    edp = search(layer, Precision(), target, _MODEL).certificate
    assert set(edp.pruned) == {"capacity", "energy", "compute", "bandwidth", "latency limit"}
    assert edp.pruned["compute"] > 0
    assert edp.pruned["energy"] == edp.pruned["latency limit"] == 0
    assert edp.visited > sum(edp.pruned.values())
    energy = search(layer, Precision(), target, _MODEL, Objective.ENERGY).certificate
    assert energy.pruned["energy"] > 0
    assert energy.pruned["compute"] == energy.pruned["bandwidth"] == 0
    limited = search(layer, Precision(), target, _MODEL, Objective.ENERGY, max_cycles=2400)
    assert limited.certificate.pruned["latency limit"] > 0


def test_certificate_counts_the_candidates_of_the_lattice() -> None:
    layer, target = conv(K=32, C=16, P=14, Q=7, R=3, S=3), load_target("eyeriss")
    found = search(layer, Precision(), target, _MODEL).certificate
    assert found.pruned["least traffic"] > 0
    assert found.pruned["relaxed problem"] >= 0
    assert found.visited >= found.evaluated > 0
