"""Each dataflow's mappings have its defining properties, and are the best that have them."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import pytest

from qmc.baselines import comparison, find_baselines, network_baselines, ratio
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.cost_models.nest import Nest, build_nest
from qmc.dataflows import Dataflow, array_level, dataflow_machines, innermost_holder
from qmc.errors import CapacityError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapspace import all_mappings, map_space
from qmc.schedule import Task, search_all
from qmc.search_result import Objective, SearchResult
from qmc.targets import Target, load_target
from qmc.targets.target import LoopConstraint

_MODEL = AnalyticalModel()
_FREE = LoopConstraint({}, {})


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMC_CACHE_DIR", "")


def conv(name: str, **bounds: int) -> Layer:
    return Layer(name, Op.CONV, ("x",), "y", LoopBounds(**bounds))


LAYERS = [
    conv("dense", K=24, C=16, P=7, Q=14, R=3, S=3),
    conv("depthwise", G=32, P=10, Q=6, R=5, S=3),
    conv("pointwise", K=20, C=48, P=6, Q=9),
    conv("classes", K=100, C=64),
]


def dims(loops: tuple, spatial: str | None = None) -> set[str]:
    return {loop.dim.value for loop in loops if spatial is None or loop.spatial == spatial}


def extent(nest: Nest, dim: LoopDim, levels: range, *, spatial: bool) -> int:
    blocks = nest.spatial if spatial else nest.temporal
    return math.prod(loop.extent for i in levels for loop in blocks[i] if loop.dim is dim)


def is_row_stationary(nest: Nest) -> bool:
    target, array = nest.target, array_level(nest.target)
    pe = range(array + 1, len(target.memories))
    row_inside = extent(nest, LoopDim.S, pe, spatial=False) == nest.layer.bounds.S
    above = nest.temporal[array]
    slides = extent(nest, LoopDim.Q, range(array, array + 1), spatial=False) == nest.layer.bounds.Q
    innermost = "Q" not in dims(above) or above[-1].dim is LoopDim.Q
    return row_inside and slides and innermost


def is_weight_stationary(nest: Nest) -> bool:
    holder = innermost_holder(nest.target, Operand.W)
    spread = set().union(*(dims(loops) for loops in nest.spatial)) <= set("GKCRS")
    inside = set().union(*(dims(loops) for loops in nest.temporal[holder:])) <= set("NPQ")
    outside = all(
        "".join("r" if loop.dim.value in "NPQ" else "w" for loop in loops).rstrip("r").count("r")
        == 0
        for loops in nest.temporal[:holder]
    )
    return spread and inside and outside


def is_output_stationary(nest: Nest) -> bool:
    spread = set().union(*(dims(loops) for loops in nest.spatial)) <= set("NGKPQ")
    order = "".join(
        "s" if loop.dim.value in "CRS" else "o" for loops in nest.temporal for loop in loops
    )
    holder = innermost_holder(nest.target, Operand.O)
    stays = not set().union(*(dims(loops) for loops in nest.temporal[holder:])) - set("CRS")
    boundary = sum(
        bool(dims(loops) & set("NGKPQ")) for loops in nest.temporal[array_level(nest.target) + 1 :]
    )
    return spread and stays and "so" not in order and boundary == 0


PROPERTIES = {
    Dataflow.ROW_STATIONARY: is_row_stationary,
    Dataflow.WEIGHT_STATIONARY: is_weight_stationary,
    Dataflow.OUTPUT_STATIONARY: is_output_stationary,
}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], dict[Dataflow, SearchResult | None]]:
    pairs = [(layer, Precision()) for layer in LAYERS]
    return {
        (name, layer.name): dict(best)
        for name in ("eyeriss", "simba", "tpu")
        for (layer, _), best in zip(
            pairs,
            find_baselines(pairs, load_target(name), _MODEL, Objective.EDP, max_steps=1 << 12),
            strict=True,
        )
    }


@pytest.mark.parametrize("dataflow", PROPERTIES)
def test_dataflow_mappings_have_its_properties(dataflow: Dataflow, found: dict) -> None:
    checked = 0
    for (machine, name), best in found.items():
        result = best[dataflow]
        if result is not None:
            layer = next(layer for layer in LAYERS if layer.name == name)
            nest = build_nest(layer, load_target(machine), result.mapping)
            assert PROPERTIES[dataflow](nest), (machine, name)
            checked += 1
    assert checked >= 8


def test_output_stationary_sums_never_come_back(found: dict) -> None:
    for (machine, name), best in found.items():
        result = best[Dataflow.OUTPUT_STATIONARY]
        assert result is not None, (machine, name)
        target = load_target(machine)
        for memory in target.memories[: innermost_holder(target, Operand.O)]:
            if Operand.O in result.cost.accesses[memory.name]:
                assert result.cost.accesses[memory.name][Operand.O].reads == 0, (machine, name)


def test_no_local_reuse_leaves_the_array_empty(found: dict) -> None:
    for (machine, name), best in found.items():
        result = best[Dataflow.NO_LOCAL_REUSE]
        if result is not None:
            target = load_target(machine)
            array = array_level(target)
            held = [set(result.cost.accesses[memory.name]) for memory in target.memories]
            assert held[array] == set(Operand), (machine, name)
            assert not any(held[array + 1 :]), (machine, name)
            spread = {loop.dim.value for loop in result.mapping.loops if loop.spatial}
            assert spread <= set("CKG"), (machine, name)


def test_row_stationary_on_eyeriss_is_the_machine_s_own_dataflow(found: dict) -> None:
    layer, target = LAYERS[0], load_target("eyeriss")
    result = found["eyeriss", layer.name][Dataflow.ROW_STATIONARY]
    nest = build_nest(layer, target, result.mapping)
    array = array_level(target)
    assert target.memories[array].name == "shared_glb"
    assert dims(nest.spatial[array], "y") <= set("RCK")
    assert dims(nest.spatial[array], "x") <= set("PKN")
    assert extent(nest, LoopDim.R, range(array, array + 1), spatial=True) == 3


def tiny_machine() -> Target:
    """Three memories, the middle one over a 2 x 2 array; everything is kept everywhere."""
    eyeriss = load_target("eyeriss")
    dram, buffer, *_, register = eyeriss.memories
    everything = frozenset(Operand)
    free = {"keep": everything, "bypass": frozenset(), "temporal": _FREE}
    free |= {"spatial_x": _FREE, "spatial_y": _FREE}
    memories = (
        replace(dram, **free),
        replace(buffer, **free | {"fanout_x": 2, "fanout_y": 2, "depth_words": 64}),
        replace(register, **free | {"depth_words": 14, "instances": 4, "fanout_x": 1}),
    )
    return replace(eyeriss, memories=memories, mac=replace(eyeriss.mac, instances=4))


@pytest.mark.parametrize("dataflow", PROPERTIES)
@pytest.mark.parametrize(
    "layer",
    [conv("a", K=2, C=2, P=2), conv("b", Q=2, C=2, S=3), conv("c", K=2, P=3, R=2)],
    ids=lambda layer: layer.name,
)
def test_dataflow_search_finds_the_best_of_its_class(dataflow: Dataflow, layer: Layer) -> None:
    target = tiny_machine()
    costs: list[Cost] = []
    for mapping in all_mappings(map_space(layer, target)):
        nest = build_nest(layer, target, mapping)
        if PROPERTIES[dataflow](nest) and _axes_fit(dataflow, nest):
            with contextlib.suppress(CapacityError):
                costs.append(_MODEL.evaluate(layer, Precision(), target, mapping))
    tasks = [
        Task(layer, Precision(), machine, _MODEL) for machine in dataflow_machines(target, dataflow)
    ]
    best = min(one.cost.edp_pj_cycles for one in search_all(tasks) if isinstance(one, SearchResult))
    assert best == pytest.approx(min(cost.edp_pj_cycles for cost in costs), rel=1e-9)


def _axes_fit(dataflow: Dataflow, nest: Nest) -> bool:
    """Row stationary: filter rows along y, as many as it holds, output rows along x."""
    if dataflow is not Dataflow.ROW_STATIONARY:
        return True
    (above,) = (loops for loops in nest.spatial if loops) if any(nest.spatial) else ((),)
    rows = extent(nest, LoopDim.R, range(1, 2), spatial=True)
    wanted = nest.layer.bounds.R if nest.layer.bounds.R <= 2 else 1
    outer = set().union(dims(nest.temporal[0]), dims(nest.temporal[1]))
    inner = dims(nest.temporal[2])
    return (
        rows == wanted
        and dims(above, "y") <= set("RCKG")
        and dims(above, "x") <= set("PNKG")
        and not outer & set("RS")
        and "Q" not in dims(nest.temporal[0])
        and inner <= set("NGKCRS")
    )


def test_ratio_follows_the_objective() -> None:
    other, own = (30.0, 8), (10.0, 4)
    assert ratio(other, own, Objective.EDP) == 6
    assert ratio(other, own, Objective.ENERGY) == 3
    assert ratio(other, own, Objective.LATENCY) == 2


def test_network_baselines_multiply_sums_and_count_missing_layers() -> None:
    def entry(energy: float, cycles: int, times: float) -> dict[str, object]:
        fields = {"energy_pj": energy, "cycles": cycles, "proved": True, "times": times}
        return fields | {"edp_pj_cycles": energy * cycles}

    flows = [flow.value for flow in Dataflow]
    layers = [
        {
            "energy_pj": 10.0,
            "cycles": 4,
            "baselines": {flow: entry(20.0, 8, 4.0) for flow in flows},
        },
        {"energy_pj": 5.0, "cycles": 1, "baselines": {flow: entry(5.0, 2, 2.0) for flow in flows}},
        {"energy_pj": 1.0, "cycles": 1, "baselines": {}},
    ]
    layers[1]["baselines"]["no-local-reuse"] = None
    totals = network_baselines(layers, Objective.EDP)
    assert totals["no-local-reuse"] == {"missing": 1}
    total = totals["row-stationary"]
    assert (total["energy_uj"], total["cycles"]) == (26e-6, 11)
    assert total["times"] == pytest.approx(26 * 11 / (16 * 6))


def test_comparison_in_words_names_better_and_worse() -> None:
    data = {"row-stationary": {"times": 0.5}, "weight-stationary": {"times": 1.804}}
    words = comparison(data | {"output-stationary": None}, Objective.EDP, proved=True)
    assert words == (
        "EDP ×1.8 better than weight-stationary, "
        "×2 worse than row-stationary (ruled out by the target)"
    )
    assert "ruled out" not in comparison(data, Objective.EDP, proved=False)
    assert comparison({}, Objective.ENERGY, proved=True) == ""
