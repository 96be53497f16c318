"""The search among loops that need not divide, against brute force on random small machines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.traffic import FirstFill
from qmc.cut_space import count_cut_mappings, cut_space, with_room
from qmc.errors import CapacityError, CostModelError, MappingError, NoMappingError
from qmc.imperfect_search import imperfect_search
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Precision
from qmc.mapping import Mapping
from qmc.mapspace import (
    DIMS,
    Block,
    MapSpace,
    Tiling,
    count_orders,
    divisors,
    map_space,
    orders,
    to_mapping,
)
from qmc.search import search
from qmc.search_result import Factors, Objective
from qmc.targets import load_target
from qmc.targets.target import ALL_REMAINING, Target
from tests.cost_models.machines import machine, memory
from tests.machines import small_precision, small_target

MODEL = AnalyticalModel()


def odd_layer(rng: random.Random) -> Layer:
    """Two or three dims of extents that few numbers divide."""
    sizes = {dim: rng.choice([2, 3, 5, 7]) for dim in rng.sample("NGKCPQRSPRKC", rng.randint(1, 3))}
    while prod(sizes.values()) > 40:
        sizes[max(sizes, key=lambda dim: sizes[dim])] = 2
    strides = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2])
    dilations = rng.choice([1, 1, 2]), rng.choice([1, 1, 3])
    return Layer("odd", Op.CONV, ("x",), "y", LoopBounds(**sizes), strides, dilations)


def without_wires(target: Target) -> Target:
    memories = tuple(replace(memory, network=None) for memory in target.memories)
    return replace(target, memories=memories)


def tilings(space: MapSpace, factors: Factors) -> Iterator[Tiling]:
    """Every tiling within the fan-outs, built from the inside out."""
    sizes = dict.fromkeys(range(8), 1)

    def outside(index: int) -> Iterator[Tiling]:
        tiles = {dim: -(-space.bounds[dim] // sizes[dim]) for dim in range(8)}
        if index < 0:
            if all(count == 1 for count in tiles.values()):
                yield ()
            return
        block = space.blocks[index]
        for taken in product(*(range(1, tiles[dim] + 1) for dim in range(8))):
            if not is_legal(space, block, factors, taken, tiles):
                continue
            before = dict(sizes)
            for dim in range(8):
                sizes[dim] *= taken[dim]
            for outer in outside(index - 1):
                yield (*outer, taken)
            sizes.update(before)

    return outside(len(space.blocks) - 1)


def is_legal(
    space: MapSpace, block: Block, factors: Factors, taken: tuple[int, ...], tiles: dict[int, int]
) -> bool:
    if block.limit and prod(taken) > block.limit:
        return False
    dividing = block.axis is None and factors is Factors.SPATIAL_IMPERFECT
    if dividing and any(tiles[dim] % taken[dim] for dim in range(8)):
        return False
    groups = [(LoopDim.G, DIMS[space.follow])]
    groups += [(dim,) for dim in LoopDim if dim not in groups[0]]
    for group in groups:
        own = [DIMS.index(dim) for dim in group]
        extent, left = prod(taken[d] for d in own), prod(tiles[d] for d in own)
        if block.maximum[own[-1]] and extent > block.maximum[own[-1]]:
            return False
        exact = block.exact[own[-1]]
        if exact:
            if extent not in {min(exact, left), min(declared(space, block, own[-1]), left)}:
                return False
        elif any(taken[d] not in {-(-tiles[d] // n) for n in range(1, 99)} for d in own):
            return False
    return True


def declared(space: MapSpace, block: Block, dim: int) -> int:
    memory = space.target.memories[block.level]
    asked = {None: memory.temporal, "x": memory.spatial_x, "y": memory.spatial_y}[block.axis]
    factor = asked.factors[DIMS[dim]]
    if factor == ALL_REMAINING:
        return block.exact[dim]
    return min(factor, block.limit) if block.limit else factor


def mappings(space: MapSpace, found: list[Tiling]) -> Iterator[Mapping]:
    """Every mapping with every order, capacities aside."""
    for tiling in found:
        choices = [
            list(orders(block, own))
            if block.axis is None
            else [tuple(dim for dim in range(8) if own[dim] > 1)]
            for block, own in zip(space.blocks, tiling, strict=True)
        ]
        for order in product(*choices):
            for keep in space.keeps:
                yield to_mapping(space, tiling, order, keep)


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_imperfect_search_equals_brute_force(first: int) -> None:
    compared = sum(_compare(seed) for seed in range(first, first + 20))
    assert compared >= 8


def _compare(seed: int) -> bool:
    """Search one random problem both ways; False when it has no mapping or too many."""
    rng = random.Random(seed)
    layer, precision, target = (
        odd_layer(rng),
        small_precision(rng),
        without_wires(small_target(rng)),
    )
    model = AnalyticalModel(rng.choice(list(FirstFill)))
    objective = rng.choice(list(Objective))
    factors = rng.choice([Factors.SPATIAL_IMPERFECT, Factors.IMPERFECT])
    try:
        space = map_space(layer, target)
        cut = cut_space(space, factors)
        if count_cut_mappings(cut) > 3000:
            return False
        result = imperfect_search(layer, precision, target, model, objective, factors=factors)
    except NoMappingError:
        return False
    found = list(tilings(space, factors))
    orders_and_keeps = count_orders(with_room(cut)) * len(space.keeps)
    assert len(found) * orders_and_keeps == result.certificate.space, seed
    best = min(_values(layer, precision, target, model, objective, mappings(space, found)))
    assert result.certificate.proved
    assert result.certificate.factors == factors.value
    assert result.certificate.best == pytest.approx(best[0], rel=1e-9), seed
    assert result.cost.cycles == best[1], seed
    return True


def test_dim_of_very_many_sizes_is_cut_in_space_only() -> None:
    layer = Layer("wide", Op.CONV, ("x",), "y", LoopBounds(K=4099, C=6))
    space = map_space(layer, load_target("simba"))
    cut = cut_space(space, Factors.IMPERFECT)
    assert [DIMS[dim].value for dim in cut.even_dims] == ["K"]
    even = cut_space(space, Factors.SPATIAL_IMPERFECT)
    assert cut.sizes[2] == even.sizes[2]
    assert len(even.sizes[2]) > len(divisors(4099))


def test_machine_with_wires_is_refused() -> None:
    rng = random.Random(0)
    target = next(
        t for t in iter(lambda: small_target(rng), None) if any(m.network for m in t.memories)
    )
    with pytest.raises(CostModelError, match="--factors imperfect; allowed: perfect"):
        imperfect_search(odd_layer(rng), Precision(), target, MODEL)


def test_fewer_lanes_than_channels_gain_from_a_short_pass() -> None:
    """13 channels on 8 lanes: two passes instead of thirteen."""
    array = memory("array", depth_words=4096, fanout_x=8)
    target = machine(memory("main", read_pj=100.0), array, memory("register", depth_words=64))
    layer = Layer("prime", Op.CONV, ("x",), "y", LoopBounds(K=13, P=5))
    problem = (layer, Precision(), target, MODEL, Objective.LATENCY)
    perfect = search(*problem)
    found = imperfect_search(*problem, factors=Factors.SPATIAL_IMPERFECT)
    assert (perfect.cost.cycles, found.cost.cycles) == (13, 10)
    assert found.certificate.proved
    assert found.certificate.factors == "spatial-imperfect"


def _values(
    layer: Layer,
    precision: Precision,
    target: Target,
    model: AnalyticalModel,
    objective: Objective,
    found: Iterator[Mapping],
) -> Iterator[tuple[float, int]]:
    for mapping in found:
        try:
            cost = model.evaluate(layer, precision, target, mapping)
        except MappingError as error:
            if not isinstance(error, CapacityError) and "both along" not in str(error):
                raise
            continue
        match objective:
            case Objective.EDP:
                yield cost.edp_pj_cycles, cost.cycles
            case Objective.ENERGY:
                yield cost.energy_pj, cost.cycles
            case Objective.LATENCY:
                yield float(cost.cycles), cost.cycles
