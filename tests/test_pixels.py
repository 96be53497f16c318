from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Precision
from qmc.mapspace import map_space, space_size
from qmc.pixels import in_a_row, in_rows
from qmc.search import search
from qmc.search_result import Objective
from qmc.targets import load_target
from qmc.targets.target import LoopConstraint
from tests.machines import FREE, small_precision, small_target
from tests.test_search import brute_force

_MODEL = AnalyticalModel()


def conv(strides: tuple[int, int] = (1, 1), **bounds: int) -> Layer:
    return Layer("conv", Op.CONV, ("x",), "y", LoopBounds(**bounds), strides=strides)


def test_pixels_of_a_pointwise_layer_come_in_a_row_on_simba() -> None:
    layer = in_a_row(conv(K=8, C=4, P=6, Q=5), load_target("simba"))
    assert layer.bounds == LoopBounds(K=8, C=4, P=30)


@pytest.mark.parametrize(
    "layer",
    [
        conv(K=8, C=4, P=6, Q=5, R=3),
        conv(K=8, C=4, P=6, Q=5, S=3),
        conv((2, 1), K=8, C=4, P=6, Q=5),
        conv((1, 2), K=8, C=4, P=6, Q=5),
        conv(K=8, C=4, P=6),
    ],
)
def test_pixels_under_a_window_or_a_stride_stay_in_rows(layer: Layer) -> None:
    assert in_a_row(layer, load_target("simba")) is layer


def test_pixels_stay_in_rows_where_the_machine_tells_rows_from_columns() -> None:
    layer = conv(K=8, C=4, P=6, Q=5)
    assert in_a_row(layer, load_target("eyeriss")) is layer
    simba = load_target("simba")
    for constraint in (
        LoopConstraint({LoopDim.Q: 1}, {}),
        LoopConstraint({}, {LoopDim.P: 2}),
        LoopConstraint({}, {}, (LoopDim.P,)),
        LoopConstraint({}, {}, (LoopDim.P, LoopDim.K, LoopDim.Q)),
    ):
        outermost = replace(simba.memories[0], temporal=constraint)
        told = replace(simba, memories=(outermost, *simba.memories[1:]))
        assert in_a_row(layer, told) is layer


@pytest.mark.parametrize("first", range(0, 90, 30))
def test_pixels_in_a_row_random_machines_keep_the_optimum(first: int) -> None:
    compared = sum(_compare(seed) for seed in range(first, first + 30))
    assert compared >= 10


def _compare(seed: int) -> bool:
    """A pointwise layer on a machine that is free in space, against brute force in rows."""
    rng = random.Random(seed)
    target, precision = small_target(rng), small_precision(rng)
    memories = [replace(m, spatial_x=FREE, spatial_y=FREE) for m in target.memories]
    memories = [replace(m, temporal=_order(rng, m.temporal)) for m in memories]
    target = replace(target, memories=tuple(memories))
    bounds = {"P": rng.choice([2, 3, 4]), "Q": rng.choice([2, 3]), rng.choice("KCGN"): 2}
    layer, objective = conv(**bounds), rng.choice(list(Objective))
    try:
        if space_size(map_space(layer, target)) > 2500 or in_a_row(layer, target) is layer:
            return False
    except NoMappingError:
        return False
    best = brute_force(layer, precision, target, _MODEL, objective)
    if best is None:
        return False
    result = search(layer, precision, target, _MODEL, objective)
    assert result.certificate.best == pytest.approx(best[0], rel=1e-9), seed
    assert result.cost.cycles == best[1], seed
    assert result.certificate.space == space_size(map_space(layer, target))
    return True


def _order(rng: random.Random, constraint: LoopConstraint) -> LoopConstraint:
    pixels = rng.sample([LoopDim.P, LoopDim.Q], 2)
    order = rng.choice([(), (*pixels, LoopDim.K), (LoopDim.C, *pixels)])
    return replace(constraint, order=order)


def test_pixels_back_in_rows_fill_the_bounds_and_keep_the_order() -> None:
    target = load_target("simba")
    layer = conv(K=4, C=4, P=12, Q=10)
    row = in_a_row(layer, target)
    found = search(row, Precision(), target, _MODEL)
    mapping = in_rows(found.mapping, layer, target)
    extents = {LoopDim.P: 1, LoopDim.Q: 1}
    for loop in mapping.loops:
        if loop.dim in extents:
            extents[loop.dim] *= loop.extent
    assert extents == {LoopDim.P: 12, LoopDim.Q: 10}
    assert _MODEL.evaluate(layer, Precision(), target, mapping).energy_pj == pytest.approx(
        found.cost.energy_pj, rel=1e-12
    )
