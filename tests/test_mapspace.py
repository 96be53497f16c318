from __future__ import annotations

import math
import random

import pytest

from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopBounds, LoopDim, Op
from qmc.mapspace import (
    DIMS,
    all_mappings,
    count_tilings,
    divisors,
    largest_divisor,
    map_space,
    space_size,
    tilings,
)
from qmc.targets import load_target
from tests.machines import small_layer, small_target


def conv(**bounds: int) -> Layer:
    return Layer("conv", Op.CONV, ("x",), "y", LoopBounds(**bounds))


def test_divisors_of_60_ascend() -> None:
    assert divisors(60) == (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)


@pytest.mark.parametrize(("number", "limit", "expected"), [(3, 4, 3), (6, 4, 3), (13, 12, 1)])
def test_largest_divisor_stays_within_limit(number: int, limit: int, expected: int) -> None:
    assert largest_divisor(number, limit) == expected


def test_count_tilings_equals_enumeration() -> None:
    rng, compared = random.Random(5), 0
    for _ in range(40):
        layer, target = small_layer(rng), small_target(rng)
        try:
            space = map_space(layer, target)
        except NoMappingError:
            continue
        found = list(tilings(space))
        assert count_tilings(space) == len(found) == len(set(found))
        compared += 1
    assert compared > 20


def test_fixed_factor_takes_largest_divisor_of_a_bound_it_does_not_divide() -> None:
    space = map_space(conv(K=6, C=3), load_target("simba"))
    lanes = {
        (space.target.memories[block.level].name, dim): block.exact[DIMS.index(dim)]
        for block in space.blocks
        for dim in (LoopDim.K, LoopDim.C)
        if block.axis == "y"
    }
    assert lanes["PEInputBuffer", LoopDim.K] == 3
    assert lanes["PEAccuBuffer", LoopDim.C] == 3


def test_group_loop_shares_the_place_of_the_dim_it_follows() -> None:
    space = map_space(conv(G=8, K=3), load_target("simba"))
    level = [memory.name for memory in space.target.memories].index("PEInputBuffer")
    group, follow = DIMS.index(LoopDim.G), DIMS.index(LoopDim.K)
    at = next(i for i, b in enumerate(space.blocks) if b.level == level and b.axis == "y")
    taken = {(t[at][group], t[at][follow]) for t in tilings(space)}
    assert taken == {(4, 1)}


def test_space_size_counts_free_orders() -> None:
    space = map_space(conv(P=2, Q=2), load_target("simba"))
    mappings = set(all_mappings(space))
    free_orders = math.factorial(2) ** 3  # DRAM, GlobalBuffer and PEWeightRegs loop over P and Q
    assert space_size(space) == count_tilings(space) * free_orders
    assert len(mappings) <= space_size(space)


def test_map_space_unplaceable_loop_raises_with_its_places() -> None:
    with pytest.raises(NoMappingError, match=r"loop R has extent 13.*shared_glb.y at most 12"):
        map_space(conv(R=13), load_target("eyeriss"))


def test_tilings_multiply_to_bounds_within_fan_outs() -> None:
    space = map_space(conv(K=12, C=3, P=2, R=3), load_target("simba"))
    found = list(tilings(space))
    assert found
    for tiling in found:
        assert tuple(math.prod(dim) for dim in zip(*tiling, strict=True)) == space.bounds
        for block, factors in zip(space.blocks, tiling, strict=True):
            assert not block.limit or math.prod(factors) <= block.limit
