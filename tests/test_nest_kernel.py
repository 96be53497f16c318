"""The compiled kernel against the analytical model, mapping by mapping."""

from __future__ import annotations

import random

import numpy as np
import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.traffic import FirstFill
from qmc.errors import CapacityError, NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.mapspace import MapSpace, Tiling, map_space, to_mapping
from qmc.nest_arrays import build_problem
from qmc.nest_kernel import BELOW, ceil_quotient, empty_nest, price_all
from qmc.targets import load_target
from tests.machines import small_layer, small_precision, small_target


def _random_tiling(space: MapSpace, rng: random.Random) -> Tiling:
    """Spread the prime factors of the bounds over the blocks, within the fan-outs only."""
    factors = [[1] * 8 for _ in space.blocks]
    for dim, bound in enumerate(space.bounds):
        rest = bound
        while rest > 1:
            prime = next(p for p in range(2, rest + 1) if rest % p == 0)
            rest //= prime
            places = [
                i
                for i, block in enumerate(space.blocks)
                if not block.limit or np.prod(factors[i]) * prime <= block.limit
            ]
            factors[rng.choice(places)][dim] *= prime
    return tuple(map(tuple, factors))


def _compare(layer, precision, target, model, rng, samples: int) -> int:
    """Price random mappings both ways; returns how many fit."""
    space = map_space(layer, target)
    fitting = 0
    for _ in range(samples):
        tiling = _random_tiling(space, rng)
        keep = rng.choice(space.keeps)
        chosen = []
        full = np.tile(np.arange(8), (len(target.memories), 1))
        for block, factors in zip(space.blocks, tiling, strict=True):
            dims = [d for d in range(8) if factors[d] > 1]
            rng.shuffle(dims)
            if block.axis is None:
                full[block.level] = dims + [d for d in range(8) if d not in dims]
            else:
                dims.sort()
            chosen.append(tuple(dims))
        problem = build_problem(layer, precision, target, keep, model)
        array = np.array(tiling).reshape(1, len(target.memories), 3, 8)
        energy, cycles = price_all(problem, empty_nest(problem["bounds"]), array, full[None])[0]
        mapping = to_mapping(space, tiling, tuple(chosen), keep)
        try:
            cost = model.evaluate(layer, precision, target, mapping)
        except CapacityError:
            assert np.isnan(energy)
            continue
        fitting += 1
        assert cycles == cost.cycles
        assert energy == pytest.approx(cost.energy_pj, rel=1e-12)
    return fitting


@pytest.mark.parametrize("name", ["eyeriss", "simba", "eyeriss-8b", "simba-8b"])
def test_kernel_random_mappings_equal_model(name: str) -> None:
    target, rng = load_target(name), random.Random(name)
    largest = target.mac.weight_bits[1]
    fitting = 0
    for _ in range(60):
        layer = Layer(
            "random",
            Op.CONV,
            ("x",),
            "y",
            LoopBounds(
                N=rng.choice([1, 2]),
                G=rng.choice([1, 1, 6]),
                K=rng.choice([1, 8, 12]),
                C=rng.choice([1, 3, 16]),
                P=rng.choice([1, 7, 12]),
                Q=rng.choice([4, 9]),
                R=rng.choice([1, 3]),
                S=rng.choice([1, 5]),
            ),
            strides=(rng.choice([1, 2]), rng.choice([1, 3])),
            dilations=(1, rng.choice([1, 2])),
        )
        precision = Precision(
            rng.randint(2, largest),
            rng.randint(2, largest),
            rng.randint(2, 16),
            rng.choice([16, 32]),
        )
        model = AnalyticalModel(rng.choice(list(FirstFill)))
        fitting += _compare(layer, precision, target, model, rng, 20)
    assert fitting > 100


def test_kernel_random_machines_equal_model() -> None:
    rng, fitting = random.Random(11), 0
    for _ in range(150):
        layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
        model = AnalyticalModel(rng.choice(list(FirstFill)))
        try:
            fitting += _compare(layer, precision, target, model, rng, 10)
        except NoMappingError:
            continue
    assert fitting > 100


def test_ceil_quotient_around_multiples_is_exact() -> None:
    rng = random.Random(5)
    for _ in range(20_000):
        divisor = rng.randint(1, 1 << rng.randint(1, 20))
        multiple = rng.randint(0, (1 << rng.randint(1, 52)) // divisor) * divisor
        number = max(0, multiple + rng.choice([-1, 0, 1]))
        rounded_up = ceil_quotient(float(number), divisor, (1 - BELOW) / divisor)
        assert rounded_up == -(-number // divisor), (number, divisor)
