"""What arrives of sliding windows at least, against what the reference model counts."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import CapacityError
from qmc.lattice import build_lattice
from qmc.layer import Layer, LoopBounds, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.mapspace import DIMS
from qmc.sliding import ALL_K, NO_K, SOME_K, arriving_windows, windows
from qmc.targets.target import Packing, Target
from tests.machines import FREE, small_target

_INDEX = {dim.value: at for at, dim in enumerate(DIMS)}


def _machine() -> Target:
    """Three memories of 8-bit words, a fan-out below each of the outer two."""
    target = small_target(random.Random(0))
    memory = replace(
        target.memories[0],
        word_bits=8,
        row_words=1,
        packing=Packing.WORDS,
        cluster=1,
        store_bits={},
        network=None,
        **{"temporal": FREE, "spatial_x": FREE, "spatial_y": FREE},
    )
    outer = replace(memory, name="outer", fanout_x=64, fanout_y=64)
    middle = replace(outer, name="middle", instances=4096, keep=frozenset({Operand.W}))
    inner = replace(memory, name="inner", instances=4096**2, keep=frozenset(Operand))
    mac = replace(target.mac, instances=4096**2, cycles=1.0, cycles_by_width=())
    return replace(target, memories=(outer, middle, inner), mac=mac)


_KEEP = tuple(Keep(m.name, m.keep) for m in _machine().memories)


def _factors(rng: random.Random, bound: int) -> list[int]:
    """Of the loops over one dim: in the tile, then space and time of two memories outwards."""
    factors = [1] * 5
    rest = bound
    while rest > 1:
        prime = next(p for p in range(2, rest + 1) if rest % p == 0)
        rest //= prime
        factors[rng.choice([0, 0, 1, 2, 2, 3, 4, 4])] *= prime
    return factors


def _draw(rng: random.Random) -> tuple[Layer, Mapping, dict[str, list[int]]]:
    bounds = {"P": rng.choice([4, 8, 6]), "R": rng.choice([2, 3, 3]), "K": rng.choice([1, 1, 4])}
    bounds |= rng.choice([{}, {"Q": 4, "S": 3}, {"Q": 3}, {"C": 2}])
    steps = {"strides": (rng.choice([1, 2, 3]), 1), "dilations": (rng.choice([1, 1, 2]), 1)}
    layer = Layer("small", Op.CONV, ("x",), "y", LoopBounds(**bounds), **steps)
    split = {dim: _factors(rng, bound) for dim, bound in bounds.items()}
    loops = []
    for name, time, space in (("outer", 4, 3), ("middle", 2, 1), ("inner", 0, None)):
        dims = list(split)
        rng.shuffle(dims)
        loops += [Loop(DIMS[_INDEX[d]], split[d][time], name, None) for d in dims]
        if space is not None:
            loops += [Loop(DIMS[_INDEX[d]], split[d][space], name, rng.choice("xy")) for d in dims]
    return layer, Mapping(tuple(loop for loop in loops if loop.extent > 1), _KEEP), split


def _run_end(mapping: Mapping) -> str:
    """The memory in whose loops the run of I ends: the innermost one with a loop not over K."""
    in_time = [x for x in mapping.loops if x.spatial is None and x.dim.value != "K"]
    return "middle" if any(loop.level == "middle" for loop in in_time) else "outer"


def _stays(mapping: Mapping, split: dict[str, list[int]]) -> int:
    """Extent of K inside the loop that ends the run of I."""
    stays = split.get("K", [1])[0]
    for loop in reversed(mapping.loops):
        if loop.level == "inner":
            continue
        if loop.spatial is None and loop.dim.value != "K":
            break
        stays *= loop.extent if loop.dim.value == "K" else 1
    return stays


def _fan_out(mapping: Mapping, memory: str) -> np.ndarray:
    fan = np.ones((2, 8), np.int64)
    for loop in mapping.loops:
        if loop.level == memory and loop.spatial is not None:
            fan["xy".index(loop.spatial), _INDEX[loop.dim.value]] *= loop.extent
    return fan


def _least_and_counted(layer: Layer, mapping: Mapping, split) -> tuple[float, float]:
    """Elements of I that leave the outer memory: the bound, and the reference model's count."""
    bounds = tuple(layer.bounds[dim] for dim in DIMS)
    lattice = build_lattice(bounds)
    (down, right), (tall, wide) = layer.strides, layer.dilations
    found = windows(bounds, lattice.digits, (down, tall, right, wide))
    fans = [_fan_out(mapping, name) for name in ("outer", "middle")]
    outside = _run_end(mapping) == "middle" and fans[0].prod() > 1
    between = fans[1:] if _run_end(mapping) == "middle" else fans
    tile = np.ones(8, np.int64)
    for dim, factors in split.items():
        tile[_INDEX[dim]] = factors[0]
    for fan in between:
        tile *= fan.prod(axis=0)
    channels, stays = layer.bounds.K, _stays(mapping, split)
    tile[_INDEX["K"]] = stays
    node = int(np.flatnonzero((lattice.extents == tile).all(axis=1))[0])
    case = NO_K if stays == 1 else ALL_K if stays == channels else SOME_K
    table = arriving_windows(found, between, outside, channels)
    least = table[case, found.nodes[node]] / stays * np.prod(bounds)
    cost = AnalyticalModel().evaluate(layer, Precision(), _machine(), mapping)
    reads = cost.accesses["outer"][Operand.I].reads
    if outside:  # instances of the outer fan-out that want the same data are one
        reads *= fans[0].prod() / _different(layer, mapping, fans[0], split)
    return float(least), float(reads)


def _different(layer: Layer, mapping: Mapping, fan: np.ndarray, split) -> int:
    """Different windows below the outer fan-out, times its instances of everything but K."""
    count = 1
    inside = {d: int(np.prod(split[d][:3])) for d in split}
    for axis in (0, 1):
        places = set()
        sizes = [int(fan[axis, _INDEX[d]]) for d in "PRQS"]
        for at in np.ndindex(*sizes):
            steps = []
            for position, dim in zip(at, "PRQS", strict=True):
                reach = inside.get(dim, 1) * (int(fan[1, _INDEX[dim]]) if axis == 0 else 1)
                side = 0 if dim in "PR" else 1
                unit = layer.strides[side] if dim in "PQ" else layer.dilations[side]
                steps.append(position * reach * unit)
            places.add((steps[0] + steps[1], steps[2] + steps[3]))
        count *= len(places) * int(fan[axis, _INDEX["C"]])
    return count


@pytest.mark.parametrize("first", [0, 400])
def test_arriving_windows_random_mappings_bring_at_least_as_much(first: int) -> None:
    exact = 0
    for seed in range(first, first + 400):
        layer, mapping, split = _draw(random.Random(seed))
        try:
            least, counted = _least_and_counted(layer, mapping, split)
        except CapacityError:
            continue
        assert least <= counted * (1 + 1e-12), seed
        exact += least >= counted * (1 - 1e-12)
    assert exact >= 50


@pytest.mark.parametrize(
    ("stride", "dilation", "p", "r"), [(1, 1, 2, 1), (2, 1, 4, 1), (1, 2, 2, 3), (2, 1, 1, 3)]
)
def test_arriving_windows_is_reached_by_the_best_loops(
    stride: int, dilation: int, p: int, r: int
) -> None:
    steps = {"strides": (stride, 1), "dilations": (dilation, 1)}
    layer = Layer("small", Op.CONV, ("x",), "y", LoopBounds(P=8, R=3), **steps)
    counted = []
    for middle in (d for d in (1, 2, 4, 8) if (8 // p) % d == 0):
        split = {"P": [p, 1, middle, 1, 8 // p // middle], "R": [r, 1, 3 // r, 1, 1]}
        for order in permutations("PR"):
            loops = [
                Loop(DIMS[_INDEX[dim]], split[dim][at], name, None)
                for name, at in (("outer", 4), ("middle", 2), ("inner", 0))
                for dim in order
            ]
            mapping = Mapping(tuple(loop for loop in loops if loop.extent > 1), _KEEP)
            least, reads = _least_and_counted(layer, mapping, split)
            counted.append(reads)
    assert min(counted) == pytest.approx(least, rel=1e-12)
