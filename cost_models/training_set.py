"""What the learned cost model is trained on: layers, machines and mappings that qmc makes itself.

Held out by construction, so that every figure on them is honest: image sizes 7 x 2^k (those of
every network for 224 x 224 images, MobileNetV1, V2 and ResNet-18 among them) and layers of 1000
outputs; widths 3 and 7; the machines named in :data:`HELD_OUT_MACHINES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.feature_kernel import describe_all
from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Operand, Precision
from qmc.learned_moves import change, draw
from qmc.mapspace import map_space
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_bounds import Choices
from qmc.nest_kernel import Floats, Ints, Problem, empty_nest, price_all
from qmc.targets import load_target
from qmc.targets.target import LoopConstraint, MemoryLevel, Packing, Target

#: Machines that are trained on, as described and changed at random.
MACHINES = ("bit-fusion", "cortex-m7", "eyeriss", "ne16", "simba", "tpu")
#: Machines that no training mapping comes from.
HELD_OUT_MACHINES = ("eyeriss-8b", "simba-8b", "stripes")
WIDTHS = (2, 4, 5, 6, 8, 16)
HELD_OUT_WIDTHS = (3, 7)

# fmt: off
_SIZES = (
    4, 6, 8, 9, 10, 12, 13, 15, 16, 18, 20, 21, 24, 26, 27, 30, 32, 35, 36, 40, 42, 48, 52,
    54, 55, 60, 63, 64, 72, 75, 80, 84, 96, 100, 108, 110, 120, 128, 149, 150,
)
_CHANNELS = (
    8, 10, 12, 16, 20, 24, 32, 40, 48, 56, 60, 64, 72, 80, 96, 112, 120, 128, 144, 160, 184,
    192, 200, 224, 240, 256, 288, 320, 336, 384, 432, 448, 480, 512, 576, 640, 672, 720, 768,
    960, 1024, 1152, 1280, 1536, 2048,
)
# fmt: on
_CLASSES = (10, 12, 20, 21, 35, 80, 100, 101, 200, 256, 365)
_FILTERS = ((3, 3), (3, 3), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (1, 7), (11, 11), (2, 2))
_LARGEST_MACS = 1 << 30
_ROUNDS = 8
#: Fewest mappings of a group.
LEAST = 16

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Group:
    """Mappings of one layer at its widths on one machine.

    Attributes:
        machine: name of the target, or of the one it was changed from.
        rows: (count, features). estimates, truth: (count, 2) energy in pJ and cycles.
    """

    machine: str
    rows: Rows
    estimates: Floats
    truth: Floats


def random_layer(rng: np.random.Generator) -> Layer:
    """A layer of a convolutional network: plain, pointwise, depthwise, grouped or dense."""
    while True:
        bounds, stride = _random_bounds(rng)
        if bounds.product() <= _LARGEST_MACS:
            dilation = 2 if rng.random() < 0.05 else 1
            return Layer(
                *("layer", Op.CONV, ("x",), "y", bounds),
                strides=(stride, stride),
                dilations=(dilation, dilation),
            )


def _random_bounds(rng: np.random.Generator) -> tuple[LoopBounds, int]:
    kind = rng.choice(5, p=[0.3, 0.35, 0.2, 0.05, 0.1])
    channels, outputs = (int(c) for c in rng.choice(_CHANNELS, 2))
    height = int(rng.choice(_SIZES))
    width = height if rng.random() < 0.8 else int(rng.choice(_SIZES))
    tall, wide = _FILTERS[rng.integers(len(_FILTERS))]
    stride = int(rng.choice([1, 1, 2]))
    if kind == 0:
        channels = int(rng.choice([channels, 3, 1])) if rng.random() < 0.2 else channels
        return LoopBounds(K=outputs, C=channels, P=height, Q=width, R=tall, S=wide), stride
    if kind == 1:
        return LoopBounds(K=outputs, C=channels, P=height, Q=width), 1 + int(rng.random() < 0.1)
    if kind == 2:
        return LoopBounds(G=channels, P=height, Q=width, R=tall, S=wide), stride
    if kind == 3:
        groups = int(rng.choice([2, 4, 8]))
        outputs, channels = max(1, outputs // groups), max(1, channels // groups)
        image = LoopBounds(G=groups, K=outputs, C=channels, P=height, Q=width, R=tall, S=wide)
        return image, stride
    return LoopBounds(K=int(rng.choice([*_CLASSES, outputs])), C=channels), 1


def random_precision(
    rng: np.random.Generator, target: Target, widths: tuple[int, ...] = WIDTHS
) -> Precision:
    """Widths that the MACs of ``target`` execute, as far as ``widths`` has them."""
    weights, inputs = (
        [bits for bits in widths if low <= bits <= high] or [high]
        for low, high in (target.mac.weight_bits, target.mac.input_bits)
    )
    weight_bits = int(rng.choice(weights))
    input_bits = int(rng.choice(inputs))
    output_bits = input_bits if rng.random() < 0.6 else int(rng.choice(widths))
    return Precision(weight_bits, input_bits, output_bits, target.psum_bits)


def random_machine(rng: np.random.Generator, target: Target) -> Target:
    """``target`` with other energies, capacities and ports, perhaps without a fixed dataflow."""
    free = rng.random() < 0.25
    mac = replace(target.mac, energy_pj=target.mac.energy_pj * _factor(rng))
    memories = tuple(_random_memory(rng, memory, free) for memory in target.memories)
    if rng.random() < 0.3:  # leakage, up to what all MACs spend in a cycle and more
        total = mac.energy_pj * mac.instances * float(2.0 ** rng.uniform(-5, 3))
        part = rng.integers(len(memories))
        leaking = replace(memories[part], leakage_pj=total / memories[part].instances)
        memories = (*memories[:part], leaking, *memories[part + 1 :])
    return replace(target, memories=memories, mac=mac, psum_bits=int(rng.choice([16, 24, 32, 32])))


def _random_memory(rng: np.random.Generator, memory: MemoryLevel, free: bool) -> MemoryLevel:
    energy, depth = _factor(rng), memory.depth_words
    if depth is not None and depth >= 8:
        depth = max(4, round(depth * float(rng.choice([0.5, 1, 1, 2, 4]))))
    changed = replace(
        memory,
        depth_words=depth,
        read_pj=memory.read_pj * energy,
        fill_pj=memory.fill_pj * energy,
        update_pj=memory.update_pj * energy,
        read_bandwidth=_bandwidth(rng, memory.read_bandwidth, memory.row_words),
        write_bandwidth=_bandwidth(rng, memory.write_bandwidth, memory.row_words),
    )
    if rng.random() < 0.15:
        changed = replace(changed, packing=list(Packing)[rng.integers(len(Packing))])
    if depth is not None and depth > 256 and rng.random() < 0.25:  # a cache keeps everything
        changed = replace(changed, keep=frozenset(Operand), bypass=frozenset())
    none = LoopConstraint({}, {})
    return replace(changed, temporal=none, spatial_x=none, spatial_y=none) if free else changed


def _bandwidth(
    rng: np.random.Generator, words_per_cycle: float | None, row_words: int
) -> float | None:
    """A changed bandwidth; one where there was none, now and then."""
    if words_per_cycle is None:
        return float(row_words * 2.0 ** rng.uniform(-2, 2)) if rng.random() < 0.25 else None
    return float(words_per_cycle * rng.choice([0.25, 0.5, 1, 2]))


def _factor(rng: np.random.Generator) -> float:
    return float(2.0 ** rng.uniform(-1.5, 1.5))


def training_groups(seed: int, count: int, mappings: int) -> Iterator[Group]:
    """``count`` groups of about ``mappings`` mappings each: random layers, widths and machines."""
    rng = np.random.default_rng(seed)
    machines = [load_target(name) for name in MACHINES]
    made = 0
    while made < count:
        target = machines[made % len(machines)]
        if rng.random() < 0.6:
            target = random_machine(rng, target)
        layer, precision = random_layer(rng), random_precision(rng, target)
        group = make_group(layer, precision, target, int(rng.integers(1 << 31)), mappings)
        if group is not None:
            made += 1
            yield group


def make_group(
    layer: Layer, precision: Precision, target: Target, seed: int, mappings: int
) -> Group | None:
    """Mappings of one layer: half of them drawn at random, half on the way to good ones.

    None where fewer than :data:`LEAST` mappings are found.
    """
    rng = np.random.default_rng(seed)
    try:
        space = map_space(layer, target)
        choices = build_choices(space)
    except NoMappingError:
        return None
    keep = space.keeps[rng.integers(len(space.keeps))]
    problem = build_problem(layer, precision, target, keep, AnalyticalModel())
    factors, orders = empty_arrays(mappings // 2, len(target.memories))
    nest, state = empty_nest(problem["bounds"]), new_state(space)
    found = draw(problem, choices, nest, state, seed, factors, orders, 100 * mappings)
    if found < LEAST:
        return None
    factors, orders = _improve(problem, choices, factors[:found], orders[:found], mappings, rng)
    return _priced(target.name, problem, factors, orders)


def empty_arrays(count: int, levels: int) -> tuple[Ints, Ints]:
    """Room for the factors and orders of ``count`` mappings."""
    return np.ones((count, levels, 3, 8), np.int64), np.zeros((count, levels, 8), np.int64)


def _improve(
    problem: Problem,
    choices: Choices,
    factors: Ints,
    orders: Ints,
    mappings: int,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Add changed copies of the best mappings, and of the best of those, some rounds long."""
    weight, best = rng.uniform(0, 1), max(4, mappings // 16)
    nest = empty_nest(problem["bounds"])
    for _ in range(_ROUNDS):
        costs = price_all(problem, empty_nest(problem["bounds"]), factors, orders)
        score = np.log(costs[:, 0]) + weight * np.log(costs[:, 1])
        parents = rng.choice(np.argsort(score, kind="stable")[:best], mappings // _ROUNDS)
        new = empty_arrays(len(parents), factors.shape[1])
        change(choices, nest, int(rng.integers(1 << 31)), factors, orders, parents, *new)
        factors = np.concatenate([factors, new[0]])
        orders = np.concatenate([orders, new[1]])
    return factors, orders


def _priced(machine: str, problem: Problem, factors: Ints, orders: Ints) -> Group:
    """The group of these mappings, of equal costs one, without those that do not fit."""
    truth = price_all(problem, empty_nest(problem["bounds"]), factors, orders)
    rows, estimates = describe_all(problem, empty_nest(problem["bounds"]), factors, orders)
    _, first = np.unique(truth, axis=0, return_index=True)
    kept = np.sort(first[np.isfinite(truth[first, 0]) & np.isfinite(estimates[first, 0])])
    return Group(machine, rows[kept], estimates[kept], truth[kept])
