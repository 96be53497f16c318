"""Random small machines and layers for tests of the map space and the search."""

from __future__ import annotations

import random
from dataclasses import replace

from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.targets.target import (
    LoopConstraint,
    MacArray,
    MemoryLevel,
    Network,
    Packing,
    Target,
    Topology,
    WidthCycles,
    WidthEnergy,
)

FREE = LoopConstraint({}, {})
NOTHING = LoopConstraint(dict.fromkeys(LoopDim, 1), {})


def small_layer(rng: random.Random) -> Layer:
    """Two to four dims with small extents; windows, strides above them, dilations and groups."""
    extents = dict.fromkeys("NGKCPQRS", 1)
    for dim in rng.sample("NGKCPQRSPQRKC", rng.randint(2, 3)):
        extents[dim] = rng.choice([2, 3, 4, 2, 6])
    while LoopBounds(**extents).product() > 48:
        largest = max(extents, key=lambda dim: extents[dim])
        extents[largest] = max(1, extents[largest] // 2)
    return Layer(
        name="small",
        op=Op.CONV,
        inputs=("x",),
        output="y",
        bounds=LoopBounds(**extents),
        strides=(rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2])),
        dilations=(rng.choice([1, 1, 2]), rng.choice([1, 1, 3])),
    )


def small_precision(rng: random.Random) -> Precision:
    return Precision(
        rng.randint(2, 8), rng.randint(2, 8), rng.choice([2, 4, 8]), rng.choice([8, 16, 20, 32])
    )


def small_target(rng: random.Random) -> Target:
    """Two or three memories, tiny capacities, one or two fan-outs, bypass, bandwidths."""
    count = rng.choice([2, 2, 3])
    fans = [rng.choice([(1, 1), (2, 1), (2, 2), (4, 3)]) for _ in range(count)]
    memories = []
    instances = 1
    for level, (x, y) in enumerate(fans):
        memories.append(_memory(rng, level, instances, x, y))
        instances *= x * y
    mac = MacArray(
        "mac", instances, rng.choice([0.5, 2.0]), rng.choice([0.0, 0.01]), (1, 8), (1, 8)
    )
    if rng.random() < 0.4:
        mac = replace(mac, cycles=rng.choice([2.0, 0.3]), cycles_by_width=_cycles(rng))
    if rng.random() < 0.3:
        mac = replace(mac, energy_by_width=(WidthEnergy(4, 8, 0.3), WidthEnergy(8, 4, 0.2)))
    return Target("random", "", tuple(memories), mac, 1e9, 32, LoopDim.K, {}, "")


def _cycles(rng: random.Random) -> tuple[WidthCycles, ...]:
    return tuple(WidthCycles(bits, 8, bits / rng.choice([3, 8])) for bits in (2, 4, 6))


def _memory(rng: random.Random, level: int, instances: int, x: int, y: int) -> MemoryLevel:
    keep, bypass = frozenset(Operand), frozenset[Operand]()
    if level > 0:
        roles = {operand: rng.choice(["keep", "keep", "bypass", "free"]) for operand in Operand}
        keep = frozenset(o for o, role in roles.items() if role == "keep")
        bypass = frozenset(o for o, role in roles.items() if role == "bypass")
    memory = MemoryLevel(
        name=f"m{level}",
        instances=instances,
        word_bits=rng.choice([8, 16]),
        row_words=rng.choice([1, 2, 4]),
        depth_words=None if level == 0 else rng.choice([4, 12, 40, 200]),
        fanout_x=x,
        fanout_y=y,
        keep=keep,
        bypass=bypass,
        packing=rng.choice(list(Packing)),
        read_pj=rng.choice([1.0, 7.0, 40.0]),
        fill_pj=rng.choice([1.0, 7.0, 40.0]),
        update_pj=rng.choice([1.0, 7.0, 40.0]),
        leakage_pj=rng.choice([0.0, 0.0, 0.3]),
        read_bandwidth=rng.choice([None, None, 1, 0.5]),
        write_bandwidth=rng.choice([None, None, 1, 0.5]),
        cluster=rng.choice([1, 1, instances]),
        temporal=_temporal(rng),
        spatial_x=_spatial(rng),
        spatial_y=_spatial(rng),
    )
    if rng.random() < 0.3:
        stored = rng.sample(list(Operand), rng.randint(1, 3))
        memory = replace(memory, store_bits={operand: rng.choice([3, 8, 12]) for operand in stored})
    if x * y > 1 and rng.random() < 0.4:
        memory = replace(memory, network=_network(rng))
    return memory


def _network(rng: random.Random) -> Network:
    return Network(
        rng.choice(list(Topology)),
        rng.choice([0.0, 0.1, 0.7]),
        rng.choice([0.1, 0.3]),
        rng.choice([0.0, 0.05]),
        rng.choice([0.0, 0.4]),
    )


def _temporal(rng: random.Random) -> LoopConstraint:
    order = tuple(rng.sample(list(LoopDim)[2:], rng.randint(1, 4))) if rng.random() < 0.3 else ()
    maximum = {LoopDim.K: 2} if rng.random() < 0.2 else {}
    factors = {LoopDim.R: 1} if rng.random() < 0.2 else {}
    return LoopConstraint(factors, maximum, order)


def _spatial(rng: random.Random) -> LoopConstraint:
    chance = rng.random()
    if chance < 0.2:
        return LoopConstraint({LoopDim.K: 2}, {})
    if chance < 0.3:
        return LoopConstraint({LoopDim.R: 0}, {})
    return FREE if chance < 0.7 else LoopConstraint({LoopDim.P: 1, LoopDim.Q: 1}, {})
