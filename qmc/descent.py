"""From the whole layer inwards: every mapping under one keep choice and spread that can be best.

Outer loops are priced exactly as they are chosen (:mod:`qmc.nest_kernel`); what the inner ones cost
at least is looked up in the tables of :mod:`qmc.relaxation`. Compiled.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.branch_and_bound import (
    BY_COMPUTE,
    BY_ENERGY,
    EDP,
    ENERGY,
    LATENCY,
    OVER_CAPACITY,
    OVER_LIMIT,
    VISITED,
    State,
    can_win,
    keep_if_best,
    keys,
)
from qmc.jit import compiled
from qmc.nest_bounds import MAX_ORDERS, TIE, Choices
from qmc.nest_kernel import (
    MAX_LEVELS,
    Floats,
    G,
    Ints,
    K,
    Nest,
    O,
    Problem,
    close_level,
    port_cycles,
    push_loops,
)
from qmc.relaxation import LANES

#: What a descent needs of its keep choice and spread. Fields:
#: Costs by lane: energy first, then the cycles of ports (``ports``: memory, read or write).
#: pays: by level and operand, cost of an arriving element whose run ends in the loops of the level.
#: fills: by level and operand, cost to fill one element into a memory.
#: later: by level, constant cost of what inner memories exchange.
#: rows: by level and operand, the row of ``reuse`` that holds.
#: idle: leakage per cycle. compute: cycles of the arithmetic.
#: ways: the ways to spread below level l are ways[l] to ways[l + 1].
PLAN = np.dtype(
    [
        ("pays", np.float64, (LANES, MAX_LEVELS, 3)),
        ("fills", np.float64, (LANES, MAX_LEVELS, 3)),
        ("later", np.float64, (LANES, MAX_LEVELS + 1)),
        ("rows", np.int64, (MAX_LEVELS, 3)),
        ("ports", np.int64, (LANES, 2)),
        ("port_count", np.int64),
        ("idle", np.float64),
        ("compute", np.float64),
        ("ways", np.int64, (MAX_LEVELS + 1,)),
    ],
    align=True,
)

#: Where a descent stands at every level. Fields:
#: tile: digits of the tile of a level. counter: of the divisors of the tile, by dim.
#: block: digits of the tile below the loops in time. way, order: current choices; -1 before.
#: cycles: that no mapping from here takes less than.
#: room: largest cost of the inner loops that can still win. ends: cost of an operand whose run goes
#: on to the loops outside, 0 for none.
PLACE = np.dtype(
    [
        ("tile", np.int64, (MAX_LEVELS + 1, 8)),
        ("counter", np.int64, (MAX_LEVELS, 8)),
        ("block", np.int64, (MAX_LEVELS, 8)),
        ("way", np.int64, (MAX_LEVELS,)),
        ("order", np.int64, (MAX_LEVELS,)),
        ("room", np.float64, (MAX_LEVELS,)),
        ("cycles", np.float64, (MAX_LEVELS,)),
        ("ends", np.float64, (MAX_LEVELS, 4)),
    ],
    align=True,
)


@compiled
def descend(
    problem: Problem,
    choices: Choices,
    plan: np.ndarray,
    nest: Nest,
    state: State,
    place: np.ndarray,
    objective: int,
    subs: Ints,
    sub_counts: Ints,
    stride: Ints,
    reuse: Floats,
    arriving: Floats,
    factors: Ints,
    before: Floats,
    after: Floats,
    steps: int,
) -> bool:
    """Go on for at most ``steps`` priced levels; True when nothing is left.

    Args:
        problem, choices, nest, state, objective: as in :mod:`qmc.branch_and_bound`; ``state.depth``
            is the level.
        plan, place: elements of ``PLAN`` and ``PLACE``.
        subs, sub_counts, stride: of the lattice.
        reuse: (rows, nodes). arriving: the same times the extent of K.
        factors: (ways, 2, 8) extents along x and y of every way to spread.
        before, after: see :func:`qmc.relaxation.relax`.
        steps: limit.
    """
    done = 0
    levels = problem.levels
    while state.depth >= 0:
        level = state.depth
        if place.order[level] >= 0:
            if _next_order(choices, nest, state, place, level):
                done += 1
                if _close(problem, plan, nest, state, place, objective, stride, reuse, after, level):
                    if level + 1 == levels:
                        keep_if_best(problem, nest, state, objective)
                        place.room[level] = min(
                            place.room[level], _room(problem, plan, nest, state, place, objective, level)
                        )
                    else:
                        state.depth += 1
                        _enter(
                            problem, plan, nest, state, place, objective, stride, reuse, after, level + 1
                        )
                if done >= steps:
                    return False
                continue
            place.order[level] = -1
        if place.way[level] >= 0:
            if _next_way(choices, plan, nest, place, factors, level):
                place.order[level] = 0
                continue
            place.way[level] = -1
        if _next_block(choices, plan, nest, place, subs, sub_counts, stride, arriving, before, level):
            place.way[level] = plan.ways[level]
            continue
        state.depth -= 1
        if level > 0:
            place.room[level - 1] = min(
                place.room[level - 1], _room(problem, plan, nest, state, place, objective, level - 1)
            )
    return True


@compiled
def start(
    problem: Problem,
    plan: np.ndarray,
    nest: Nest,
    state: State,
    place: np.ndarray,
    objective: int,
    stride: Ints,
    reuse: Floats,
    radix: Ints,
    after: Floats,
) -> None:
    """Stand before the outermost loops."""
    state.depth = 0
    for dim in range(8):
        place.tile[0, dim] = radix[dim] - 1
    _enter(problem, plan, nest, state, place, objective, stride, reuse, after, 0)


@compiled
def _enter(
    problem: Problem,
    plan: np.ndarray,
    nest: Nest,
    state: State,
    place: np.ndarray,
    objective: int,
    stride: Ints,
    reuse: Floats,
    after: Floats,
    level: int,
) -> None:
    """Stand before the loops of ``level``; all outside it is priced."""
    node = 0
    for dim in range(8):
        node += stride[dim] * place.tile[level, dim]
        place.counter[level, dim] = 0
    place.counter[level, 7] = -1
    place.way[level] = -1
    place.order[level] = -1
    place.ends[level, 0] = 0.0
    for operand in range(3):
        run = _open_run(problem, nest, operand, level)
        ends = plan.pays[0, level, operand] * reuse[plan.rows[level, operand], node] / run
        place.ends[level, operand + 1] = ends
    # Inputs slide, so what arrives depends on the tile below the loops; K is all that they outlast.
    place.ends[level, 2] = plan.pays[0, level, 1] / _open_run(problem, nest, 1, level)
    place.ends[level, 2] /= nest.tile[level, K]
    place.cycles[level] = _least_cycles(problem, plan, nest, reuse, after, level, node)
    place.room[level] = _room(problem, plan, nest, state, place, objective, level)


@compiled
def _least_cycles(
    problem: Problem,
    plan: np.ndarray,
    nest: Nest,
    reuse: Floats,
    after: Floats,
    level: int,
    node: int,
) -> float:
    """Cycles of the arithmetic and of every port, what is still to be moved included."""
    cycles = max(plan.compute, float(port_cycles(problem, nest, level)))
    for index in range(plan.port_count):
        lane = index + 1
        memory, port = plan.ports[index, 0], plan.ports[index, 1]
        busy = 0.0
        if memory < level:
            busy = nest.port_words[level, memory, port] / problem.bandwidth[memory, port]
        busy += _known(problem, plan, nest, level, lane)
        busy += _rest(problem, plan, nest, reuse, after, level, node, lane)
        cycles = max(cycles, np.ceil(busy * (1 - 4 * TIE)))
    return cycles


@compiled
def _rest(
    problem: Problem,
    plan: np.ndarray,
    nest: Nest,
    reuse: Floats,
    after: Floats,
    level: int,
    node: int,
    lane: int,
) -> float:
    """Least cost of the loops from ``level`` inwards, constants aside."""
    rest = after[level, 0, node, lane]
    for operand in range(3):
        table = after[level, operand + 1, node, lane]
        if table < rest:
            run = _open_run(problem, nest, operand, level)
            ends = plan.pays[lane, level, operand] * reuse[plan.rows[level, operand], node] / run
            rest = min(rest, table + ends)
    return rest


@compiled
def _open_run(problem: Problem, nest: Nest, operand: int, level: int) -> float:
    """Steps of the innermost loops outside ``level`` under which a tile of the operand stays."""
    run = 1.0
    for row in range(nest.loop_count[level] - 1, -1, -1):
        if problem.relevant[operand, nest.loops[row, 0]]:
            break
        run *= nest.loops[row, 1]
    return run


@compiled
def _room(
    problem: Problem,
    plan: np.ndarray,
    nest: Nest,
    state: State,
    place: np.ndarray,
    objective: int,
    level: int,
) -> float:
    """Most that the loops from ``level`` inwards may cost for the mapping to be the best."""
    cycles = place.cycles[level]
    known = nest.energy[level] + problem.mac_pj + _known(problem, plan, nest, level, 0)
    known += plan.idle * cycles
    if cycles > state.most_cycles:
        return -np.inf
    if objective != LATENCY:
        slack = 1 + 2 * TIE if cycles < state.best[1] else 1.0
        limit = state.best[0] * slack
        return (limit / cycles if objective == EDP else limit) - known
    if cycles > state.best[0]:
        return -np.inf
    return state.best[1] - known if cycles == state.best[0] else np.inf


@compiled
def _known(problem: Problem, plan: np.ndarray, nest: Nest, level: int, lane: int) -> float:
    """What is certain of the exchanges not yet priced when the loops outside are chosen.

    The memories that hold the tile are filled, and constants.
    """
    known = plan.later[lane, level]
    for operand in range(3):
        outer = problem.holder[level, operand]
        if outer > 0 and plan.fills[lane, outer, operand] > 0:
            arriving = float(nest.served[outer, operand])
            if operand == O and problem.first_fill_counted == 0:
                arriving -= _distinct(problem, nest, outer)
            known += arriving * nest.instances[outer] * plan.fills[lane, outer, operand]
    return known


@compiled
def _distinct(problem: Problem, nest: Nest, level: int) -> float:
    """Different outputs that one instance of ``level`` holds over the run."""
    count = 1.0
    for dim in range(8):
        if problem.relevant[O, dim]:
            count *= nest.tile[level, dim]
    for row in range(nest.loop_count[level]):
        if problem.relevant[O, nest.loops[row, 0]]:
            count *= nest.loops[row, 1]
    return count


@compiled
def _next_block(
    choices: Choices,
    plan: np.ndarray,
    nest: Nest,
    place: np.ndarray,
    subs: Ints,
    sub_counts: Ints,
    stride: Ints,
    arriving: Floats,
    before: Floats,
    level: int,
) -> bool:
    """Go to the next tile below the loops in time of ``level`` that can win."""
    lane = 0
    slides = arriving[plan.rows[level, 1]]
    room = place.room[level]
    free = place.ends[level, 0]
    weights, inputs, outputs = place.ends[level, 1], place.ends[level, 2], place.ends[level, 3]
    node = 0
    for dim in range(8):
        node += stride[dim] * subs[dim, place.tile[level, dim], max(0, place.counter[level, dim])]
    while True:
        dim = 7
        while dim >= 0:
            tile = place.tile[level, dim]
            count = place.counter[level, dim]
            if count >= 0:
                node -= stride[dim] * subs[dim, tile, count]
            count += 1
            if count < sub_counts[dim, tile]:
                place.counter[level, dim] = count
                node += stride[dim] * subs[dim, tile, count]
                break
            place.counter[level, dim] = 0
            dim -= 1
        if dim < 0:
            return False
        if (
            before[level, 0, node, lane] + free < room
            or before[level, 1, node, lane] + weights < room
            or before[level, 2, node, lane] + inputs * slides[node] < room
            or before[level, 3, node, lane] + outputs < room
        ) and _take_block(choices, nest, place, subs, level):
            return True


@compiled
def _take_block(
    choices: Choices, nest: Nest, place: np.ndarray, subs: Ints, level: int
) -> bool:
    """Set the loops in time; False when the machine's constraints forbid them."""
    for dim in range(8):
        tile = place.tile[level, dim]
        digit = subs[dim, tile, place.counter[level, dim]]
        place.block[level, dim] = digit
        nest.factors[level, 0, dim] = choices.divisors[dim, tile] // choices.divisors[dim, digit]
    for dim in range(8):
        own = choices.follow if dim == G else dim
        extent = nest.factors[level, 0, dim]
        exact, most = choices.exact[level, 0, own], choices.maximum[level, 0, own]
        if dim == choices.follow or dim == G:
            extent = nest.factors[level, 0, G] * nest.factors[level, 0, choices.follow]
        if (exact > 0 and extent != exact) or (most > 0 and extent > most):
            return False
    return True


@compiled
def _next_way(
    choices: Choices, plan: np.ndarray, nest: Nest, place: np.ndarray, factors: Ints, level: int
) -> bool:
    """Go to the next spread that divides the tile; ``place.way`` is the one to look at."""
    while place.way[level] < plan.ways[level + 1]:
        way = place.way[level]
        place.way[level] += 1
        fits = True
        for dim in range(8):
            along_x, along_y = factors[way, 0, dim], factors[way, 1, dim]
            extent = choices.divisors[dim, place.block[level, dim]]
            both = along_x * along_y
            if extent % both != 0:
                fits = False
                break
            nest.factors[level, 1, dim] = along_x
            nest.factors[level, 2, dim] = along_y
            place.tile[level + 1, dim] = _index_of(choices, dim, extent // both)
        if fits:
            return True
    return False


@compiled
def _index_of(choices: Choices, dim: int, divisor: int) -> int:
    index = 0
    while choices.divisors[dim, index] != divisor:
        index += 1
    return index


@compiled
def _next_order(choices: Choices, nest: Nest, state: State, place: np.ndarray, level: int) -> bool:
    """Take the next order of the loops in time; ``place.order`` is the one to look at."""
    looped = 0
    for dim in range(8):
        if nest.factors[level, 0, dim] > 1:
            looped |= 1 << dim
    at = place.order[level]
    if at >= MAX_ORDERS or choices.order_lists[level, looped, at] < 0:
        return False
    chosen = choices.order_lists[level, looped, at]
    for position in range(8):
        state.order[level, position] = choices.orders[level, chosen, position]
    push_loops(nest, level, state.order[level])
    place.order[level] += 1
    return True


@compiled
def _close(
    problem: Problem,
    plan: np.ndarray,
    nest: Nest,
    state: State,
    place: np.ndarray,
    objective: int,
    stride: Ints,
    reuse: Floats,
    after: Floats,
    level: int,
) -> bool:
    """Price the level; False when it does not fit or the rest cannot win."""
    state.counts[VISITED] += 1
    inner = level + 1
    if inner == problem.levels:
        place.order[level] = MAX_ORDERS  # nothing stays below: the order does not matter
    if not close_level(problem, nest, level):
        state.counts[OVER_CAPACITY] += 1
        return False
    if inner == problem.levels:
        return True
    node = 0
    for dim in range(8):
        node += stride[dim] * place.tile[inner, dim]
    rest = _rest(problem, plan, nest, reuse, after, inner, node, 0)
    energy = nest.energy[inner] + problem.mac_pj + _known(problem, plan, nest, inner, 0) + rest
    cycles = _least_cycles(problem, plan, nest, reuse, after, inner, node)
    if cycles > state.most_cycles:
        state.counts[OVER_LIMIT] += 1
        return False
    first, second = keys(energy + plan.idle * cycles, cycles, objective)
    if not can_win(first * (1 - TIE), second * (1 - TIE), state.best):
        state.counts[BY_ENERGY if objective == ENERGY else BY_COMPUTE] += 1
        return False
    return True
