"""From layers, machines and map spaces to the flat arrays of the compiled search."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from qmc.branch_and_bound import CLOSE, FACTOR, ORDER, STATE, State
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.traffic import FirstFill
from qmc.errors import NoMappingError
from qmc.layer import REDUCTION, RELEVANT, Layer, LoopDim, Operand, Precision
from qmc.mapping import Keep
from qmc.mapspace import DIMS, Block, MapSpace, divisors, loopable_dims
from qmc.nest_bounds import CHOICES, MAX_DIVISORS, Choices
from qmc.nest_kernel import BELOW, DENSE, PLANES, PROBLEM, SINGLE, WORDS, Ints, Problem
from qmc.targets.target import MemoryLevel, Packing, Target, Topology

_PACKING = {
    Packing.WORDS: WORDS,
    Packing.SINGLE: SINGLE,
    Packing.DENSE: DENSE,
    Packing.PLANES: PLANES,
}
_OPERANDS = tuple(Operand)
_GROUP = DIMS.index(LoopDim.G)
#: Orders of a block's free dims, innermost first, among which one is best whatever lies around the
#: block. The innermost loops decide which operand's tile stays (W under N, P, Q; O under C, R, S; I
#: under K), and, for I, along which side of the window the next tile overlaps the last one.
_REUSE_ORDERS = (
    "PQNRSCKG",
    "QPNSRCKG",
    "RSCPQNKG",
    "SRCQPNKG",
    "PRQSNCKG",
    "RPSQNCKG",
    "QSPRNCKG",
    "SQRPNCKG",
    "KPRQSNCG",
    "KRPSQNCG",
    "KQSPRNCG",
    "KSQRPNCG",
)


def build_problem(
    layer: Layer,
    precision: Precision,
    target: Target,
    keep: tuple[Keep, ...],
    model: AnalyticalModel,
) -> Problem:
    """A layer at its widths on a machine whose memories keep ``keep``."""
    memories = target.memories
    problem = np.zeros(1, PROBLEM)[0]
    problem["levels"] = count = len(memories)
    problem["bounds"] = [layer.bounds[dim] for dim in DIMS]
    problem["relevant"] = [[dim in RELEVANT[x] for dim in DIMS] for x in _OPERANDS]
    problem["reduction"] = [dim in REDUCTION for dim in DIMS]
    (down, right), (tall, wide) = layer.strides, layer.dilations
    problem["window"] = [down, tall, right, wide]
    problem["slide"][DIMS.index(LoopDim.P), 0] = down
    problem["slide"][DIMS.index(LoopDim.R), 0] = tall
    problem["slide"][DIMS.index(LoopDim.Q), 1] = right
    problem["slide"][DIMS.index(LoopDim.S), 1] = wide
    problem["bits"] = [*(precision.bits(x) for x in _OPERANDS), precision.psum_bits]
    problem["first_fill_counted"] = model.first_fill is FirstFill.COUNTED
    problem["parent"][: count + 1], problem["holder"][: count + 1] = _holders(keep)
    problem["word_bits"][:count] = [m.word_bits for m in memories]
    problem["row_words"][:count] = [m.row_words for m in memories]
    problem["depth"][:count] = [m.depth_words or 0 for m in memories]
    problem["packing"][:count] = [_PACKING[m.packing] for m in memories]
    problem["stored_bits"][:count] = [_stored_bits(m, precision) for m in memories]
    problem["clusters"][:count] = [max(1, m.instances // m.cluster) for m in memories]
    problem["access_pj"][:count] = [[m.read_pj, m.fill_pj, m.update_pj] for m in memories]
    leakage = [*(m.leakage_pj for m in memories), target.mac.leakage_pj]
    problem["leakage_pj"][: count + 1] = leakage
    problem["bandwidth"][:count] = [
        [m.read_bandwidth or np.inf, m.write_bandwidth or np.inf] for m in memories
    ]
    _set_networks(problem, memories)
    mac_pj = target.mac.energy_of(precision)
    problem["mac_pj"] = layer.macs * mac_pj
    problem["mac_cycles"] = target.mac.cycles_of(precision)
    for level, memory in enumerate(memories):
        _set_element_energies(problem, level, memory)
        problem["pack"][level] = [
            _pack(memory, int(bits)) for bits in problem["stored_bits"][level]
        ]
    problem["per_pack"][:count] = (1 - BELOW) / problem["pack"][:count, :, 0]
    problem["per_row"][:count] = (1 - BELOW) / problem["row_words"][:count]
    return problem


def _set_networks(problem: Problem, memories: tuple[MemoryLevel, ...]) -> None:
    problem["bus"] = -1
    for level, memory in enumerate(memories):
        problem["fan_out"][level] = memory.fanout_x, memory.fanout_y
        if memory.network is not None:
            problem["networks"] += 1
            problem["bus"][level] = memory.network.topology is Topology.BUS
            problem["hop_pj"][level] = memory.network.hop_x_pj, memory.network.hop_y_pj
            problem["receiver_pj"][level] = memory.network.receiver_pj
            problem["add_pj"][level] = memory.network.add_pj


def _stored_bits(memory: MemoryLevel, precision: Precision) -> list[int]:
    """Of W, I, a finished O and a partial sum, in one memory."""
    finished = [memory.stored_bits(operand, precision.bits(operand)) for operand in _OPERANDS]
    return [*finished, memory.stored_bits(Operand.O, precision.psum_bits)]


def _holders(keep: tuple[Keep, ...]) -> tuple[Ints, Ints]:
    """``Problem.parent`` and ``Choices.holder``."""
    levels = len(keep)
    parent = np.full((levels + 1, 3), -1)
    holder = np.zeros((levels + 1, 3), np.int64)
    for x, operand in enumerate(_OPERANDS):
        nearest = -1
        for level in range(levels + 1):
            kept = level == levels or operand in keep[level].operands
            if kept:
                parent[level, x] = nearest
                nearest = level
            holder[level, x] = nearest
    return parent, holder


def build_choices(space: MapSpace) -> Choices:
    """What the search may choose in ``space``."""
    choices = np.zeros(1, CHOICES)[0]
    levels = len(space.target.memories)
    for block in space.blocks:
        place = (block.level, _AXIS[block.axis])
        choices["exact"][place] = block.exact
        choices["maximum"][place] = block.maximum
        choices["limit"][place] = block.limit
    choices["follow"] = space.follow
    _set_divisors(choices, space)
    _set_possible(choices, space)
    loopable = _set_steps(choices, space)
    prefixes = tuple(block.order for block in space.blocks if block.axis is None)
    choices["orders"][:levels], choices["order_lists"][:levels] = _order_tables(prefixes)
    fans = [(lv, ax) for lv in range(levels) for ax in (1, 2) if loopable[lv, ax].any()]
    choices["axis_count"] = len(fans)
    for index, (level, axis) in enumerate(fans):
        choices["axes"][index] = level, axis, choices["limit"][level, axis]
        choices["axis_dims"][index] = loopable[level, axis]
    return choices


_AXIS = {None: 0, "x": 1, "y": 2}


def _set_divisors(choices: Choices, space: MapSpace) -> None:
    for dim, bound in enumerate(space.bounds):
        values = divisors(bound)
        if len(values) > MAX_DIVISORS:
            reason = f"loop {DIMS[dim]} has extent {bound} with more than {MAX_DIVISORS} divisors"
            raise NoMappingError(space.layer.name, space.target.name, reason)
        choices["divisors"][dim, : len(values)] = values
        index = {value: i for i, value in enumerate(values)}
        for i, a in enumerate(values):
            choices["quotient"][dim, i, : len(values)] = [
                index.get(a // b, -1) if a % b == 0 else -1 for b in values
            ]


def _set_possible(choices: Choices, space: MapSpace) -> None:
    """By dim alone; G and the dim it follows are checked together when they are chosen."""
    for dim in range(8):
        values = divisors(space.bounds[dim])
        left = {1}
        for block in reversed(space.blocks):
            choices["possible"][block.level, _AXIS[block.axis], dim, : len(values)] = [
                value in left for value in values
            ]
            left = {
                v for v in values if any(v // f in left for f in _factors(space, block, dim, v))
            }


def _factors(space: MapSpace, block: Block, dim: int, rest: int) -> list[int]:
    """Factors of a dim alone; as one of a pair it may take any divisor of an exact product."""
    pair = space.groups[0]
    paired = dim in pair and any(space.bounds[d] > 1 for d in pair if d != dim)
    own = space.follow if dim == 1 else dim
    exact, most, limit = block.exact[own], block.maximum[own], block.limit
    return [
        f
        for f in divisors(rest)
        if (not exact or (exact % f == 0 if paired else exact == f))
        and (not most or f <= most)
        and (not limit or f <= limit)
    ]


def _set_steps(choices: Choices, space: MapSpace) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Fill in the steps; returns (L, 3, 8) whether a dim may have a factor above 1 in a block."""
    levels = len(space.target.memories)
    loopable = np.zeros((levels, 3, 8), np.bool_)
    for block in space.blocks:
        if block.limit != 1:
            loopable[block.level, _AXIS[block.axis], loopable_dims(space, block)] = True
    steps: list[tuple[int, int, int, int]] = []
    for level in range(levels):
        for axis in range(3):
            chosen = set(np.flatnonzero(loopable[level, axis]).tolist())
            if _GROUP in chosen:
                chosen.add(space.follow)  # where the product of the two is checked
            steps += [(FACTOR, level, axis, dim) for dim in sorted(chosen)]
            if axis == 0:
                steps.append((ORDER, level, 0, 0))
        steps.append((CLOSE, level, 0, 0))
    choices["step_count"] = len(steps)
    choices["steps"][: len(steps)] = steps
    return loopable


@lru_cache(maxsize=64)
def _order_tables(prefixes: tuple[tuple[int, ...], ...]) -> tuple[Ints, Ints]:
    """``Choices.orders`` and ``Choices.order_lists``."""
    width = len(_REUSE_ORDERS)
    orders = np.zeros((len(prefixes), width, 8), np.int64)
    lists = np.full((len(prefixes), 256, width), -1)
    letters = [dim.value for dim in DIMS]
    for level, prefix in enumerate(prefixes):
        for index, order in enumerate(_REUSE_ORDERS):
            free = [letters.index(c) for c in order if letters.index(c) not in prefix]
            orders[level, index] = [*prefix, *free]
        listed = orders[level].tolist()
        for looped in range(256):
            seen: set[tuple[object, ...]] = set()
            chosen = []
            for index in range(width):
                active = tuple(d for d in listed[index] if looped >> d & 1)
                effect = _reuse(active)
                if effect not in seen:
                    seen.add(effect)
                    chosen.append(index)
            lists[level, looped, : len(chosen)] = chosen
    return orders, lists


@lru_cache(maxsize=1 << 14)
def _reuse(active: tuple[int, ...]) -> tuple[object, ...]:
    """What an order means to its tiles: the loops that W and O stay under, and how I slides."""
    stays = []
    for operand in (Operand.W, Operand.O):
        run = []
        for dim in active:
            if DIMS[dim] in RELEVANT[operand]:
                break
            run.append(dim)
        stays.append(frozenset(run))
    slide: list[int] = []
    for dim in active:
        letter = DIMS[dim].value
        if letter in "PQRS" and (not slide or _side(dim) == _side(slide[-1])):
            slide.append(dim)
        elif letter != "K":
            break
    starts_with_k = bool(active) and DIMS[active[0]].value == "K"
    inner_k = frozenset(
        active[: next((i for i, d in enumerate(active) if DIMS[d].value != "K"), 0)]
    )
    return (*stays, tuple(slide), starts_with_k, inner_k)


def _side(dim: int) -> bool:
    return DIMS[dim].value in "PR"


def _set_element_energies(problem: Problem, level: int, memory: MemoryLevel) -> None:
    """``element_pj`` and ``psum_pj`` of one memory."""
    weights, inputs, finished, partial = (int(bits) for bits in problem["stored_bits"][level])
    per_word = problem["access_pj"][level] / memory.row_words
    per_word = per_word * int(problem["clusters"][level]) / memory.instances
    for x, bits in enumerate((weights, inputs, min(finished, partial))):
        problem["element_pj"][level, x] = per_word * words_per_element(memory, bits)
    problem["psum_pj"][level] = per_word * words_per_element(memory, partial)


def _pack(memory: MemoryLevel, bits: int) -> tuple[int, int, int]:
    """``Problem.pack`` of elements of ``bits``; :mod:`qmc.cost_models.words` has the rules."""
    word = memory.word_bits
    match memory.packing:
        case Packing.DENSE:
            return word, 1, bits
        case Packing.PLANES:
            return word, bits, 1
        case Packing.WORDS if bits <= word:
            return word // bits, 1, 1
        case _:
            return 1, -(-bits // word), 1


def words_per_element(memory: MemoryLevel, bits: int) -> float:
    """Words that an element takes in a long row of them."""
    word = memory.word_bits
    match memory.packing:
        case Packing.DENSE | Packing.PLANES:
            return bits / word
        case Packing.WORDS if bits <= word:
            return 1 / (word // bits)
        case _:
            return float(-(-bits // word))


def new_state(space: MapSpace) -> State:
    """A search that has not begun."""
    state = np.zeros(1, STATE)[0]
    state["choice"] = -1
    state["used"] = 1
    state["best"] = np.inf
    state["most_cycles"] = np.inf
    state["order"] = np.arange(8)
    state["rest"][0] = [len(divisors(bound)) - 1 for bound in space.bounds]
    return state
