"""From the whole layer inwards: every mapping under one keep choice and spread that can be best.

Outer loops are priced exactly as they are chosen (:mod:`qmc.nest_kernel`); what the inner ones cost
at least is looked up in the tables of :mod:`qmc.relaxation`. Compiled.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qmc.branch_and_bound import (
    BY_BANDWIDTH,
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
from qmc.nest_bounds import MAX_ORDERS, TIE, Choices, filled_elements
from qmc.nest_kernel import (
    MAX_LEVELS,
    Floats,
    G,
    I,
    Ints,
    K,
    Nest,
    O,
    Problem,
    W,
    close_level,
    port_cycles,
    push_loops,
)
from qmc.relaxation import LANES
from qmc.sliding import ALL_K, NO_K, SOME_K

#: What a descent needs of its keep choice and spread. Fields:
#: Costs by lane: energy first, then the cycles of ports (``ports``: memory, read or write).
#: pays: by level and operand, cost of an arriving element whose run ends in the loops of the level.
#: fills: by level and operand, cost to fill one element into a memory.
#: later: by level, constant cost of what inner memories exchange.
#: idle: leakage per cycle. compute: cycles of the arithmetic.
#: ways: the ways to spread below level l are ways[l] to ways[l + 1].
PLAN = np.dtype(
    [
        ("pays", np.float64, (LANES, MAX_LEVELS, 3)),
        ("fills", np.float64, (LANES, MAX_LEVELS, 3)),
        ("later", np.float64, (LANES, MAX_LEVELS + 1)),
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
#: on to the loops outside, 0 for none. case: row of ``inputs`` then.
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
        ("case", np.int64, (MAX_LEVELS,)),
    ],
    align=True,
)

#: One element of a structured array.
Plan = Any
Place = Any


class Tiles(NamedTuple):
    """The lattice of tiles and what the relaxed problem costs on it.

    Attributes:
        subs, sub_counts, stride, radix: see :class:`qmc.lattice.Lattice`.
        reuse: (3, nodes) elements of W and O that arrive per multiply-accumulate.
        inputs: (levels, 3, nodes) those of I, per extent of K, by case of :mod:`qmc.sliding`.
        factors: (ways, 2, 8) extents along x and y of every way to spread.
        before, after: see :func:`qmc.relaxation.relax`.
    """

    subs: Ints
    sub_counts: Ints
    stride: Ints
    radix: Ints
    reuse: Floats
    inputs: Floats
    factors: Ints
    before: Floats
    after: Floats


class Descent(NamedTuple):
    """One descent: ``problem`` to ``state`` as in :mod:`qmc.branch_and_bound`, and the above.

    ``state.depth`` is the level it stands at.
    """

    problem: Problem
    choices: Choices
    nest: Nest
    state: State
    objective: int
    plan: Plan
    place: Place
    tiles: Tiles


@compiled
def start(d: Descent) -> None:
    """Stand before the outermost loops."""
    d.state.depth = 0
    for dim in range(8):
        d.place.tile[0, dim] = d.tiles.radix[dim] - 1
    _enter(d, 0)


@compiled
def descend(d: Descent, steps: int) -> bool:
    """Go on until some ``steps`` more levels are priced; True when nothing is left."""
    place, state = d.place, d.state
    limit = state.counts[VISITED] + steps
    while state.depth >= 0:
        level = state.depth
        if place.order[level] >= 0:
            if not _next_order(d, level):
                place.order[level] = -1
            elif _close(d, level):
                _go_inside(d, level)
        elif place.way[level] >= 0:
            if _next_way(d, level):
                place.order[level] = 0
            else:
                place.way[level] = -1
        elif _next_block(d, level):
            place.way[level] = d.plan.ways[level]
        else:
            state.depth -= 1
            if level > 0:
                _shrink_room(d, level - 1)
        if state.counts[VISITED] >= limit:
            return state.depth < 0
    return True


@compiled
def _go_inside(d: Descent, level: int) -> None:
    """Go to the next level inside; below the innermost one a mapping is complete."""
    if level + 1 < d.problem.levels:
        d.state.depth += 1
        _enter(d, level + 1)
        return
    keep_if_best(d.problem, d.nest, d.state, d.objective)
    _shrink_room(d, level)


@compiled
def _shrink_room(d: Descent, level: int) -> None:
    """Take a new best mapping into account."""
    d.place.room[level] = min(d.place.room[level], _room(d, level))


@compiled
def _enter(d: Descent, level: int) -> None:
    """Stand before the loops of ``level``; all outside it is priced."""
    place, plan = d.place, d.plan
    node = _node(d, level)
    for dim in range(8):
        place.counter[level, dim] = 0
    place.counter[level, 7] = -1
    place.way[level] = -1
    place.order[level] = -1
    place.ends[level, 0] = 0.0
    for operand in range(3):
        run = _open_run(d.problem, d.nest, operand, level)
        arriving = d.tiles.reuse[operand, node] / run
        if operand == I:  # windows slide, so the rest depends on the tile below
            place.case[level] = _case(d, level, run)
        place.ends[level, operand + 1] = plan.pays[0, level, operand] * arriving
    place.cycles[level] = _least_cycles(d, level, node)
    place.room[level] = _room(d, level)


@compiled
def _node(d: Descent, level: int) -> int:
    """Number of the tile of a level."""
    node = 0
    for dim in range(8):
        node += d.tiles.stride[dim] * d.place.tile[level, dim]
    return node


@compiled
def _least_cycles(d: Descent, level: int, node: int) -> float:
    """Cycles of the arithmetic and of every port, what is still to be moved included."""
    cycles = max(d.plan.compute, float(port_cycles(d.problem, d.nest, level)))
    for index in range(d.plan.port_count):
        lane = index + 1
        memory, port = d.plan.ports[index, 0], d.plan.ports[index, 1]
        busy = _known(d, level, lane) + _rest(d, level, node, lane)
        if memory < level:
            words = d.nest.port_words[level, memory, port]
            busy += words / d.problem.bandwidth[memory, port]
        cycles = max(cycles, np.ceil(busy * (1 - 4 * TIE)))
    return cycles


@compiled
def _rest(d: Descent, level: int, node: int, lane: int) -> float:
    """Least cost of the loops from ``level`` inwards, constants aside."""
    after = d.tiles.after[level]
    rest = after[0, node, lane]
    for operand in range(3):
        if after[operand + 1, node, lane] < rest:
            run = _open_run(d.problem, d.nest, operand, level)
            arriving = d.tiles.reuse[operand, node] / run
            if operand == I:
                arriving *= d.tiles.inputs[level, _case(d, level, run), node]
            ends = d.plan.pays[lane, level, operand] * arriving
            rest = min(rest, after[operand + 1, node, lane] + ends)
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
def _case(d: Descent, level: int, run: float) -> int:
    """How much of K a tile of I stays for if its run takes all of the tile's K and ``run`` more."""
    stays = d.nest.tile[level, K] * run
    if stays == 1:
        return NO_K
    return ALL_K if stays == d.nest.tile[0, K] else SOME_K


@compiled
def _room(d: Descent, level: int) -> float:
    """Most that the loops from ``level`` inwards may cost for the mapping to be the best."""
    cycles, best = d.place.cycles[level], d.state.best
    known = d.nest.energy[level] + d.problem.mac_pj + _known(d, level, 0) + d.plan.idle * cycles
    if cycles > d.state.most_cycles:
        return -np.inf
    if d.objective != LATENCY:
        slack = 1 + 2 * TIE if cycles < best[1] else 1.0
        limit = best[0] * slack
        return (limit / cycles if d.objective == EDP else limit) - known
    if cycles > best[0]:
        return -np.inf
    return best[1] - known if cycles == best[0] else np.inf


@compiled
def _known(d: Descent, level: int, lane: int) -> float:
    """What is certain of the exchanges not yet priced when the loops outside are chosen.

    The memories that hold the tile are filled, and constants.
    """
    known = d.plan.later[lane, level]
    for operand in range(3):
        outer = d.problem.holder[level, operand]
        if outer > 0 and d.plan.fills[lane, outer, operand] > 0:
            filled = filled_elements(d.problem, d.nest, operand, outer)
            known += filled * d.plan.fills[lane, outer, operand]
    return known


@compiled
def _next_block(d: Descent, level: int) -> bool:
    """Go to the next tile below the loops in time of ``level`` that can win."""
    tiles, before = d.tiles, d.tiles.before[level]
    tile, counter = d.place.tile[level], d.place.counter[level]
    sliding = tiles.inputs[level, d.place.case[level]]
    room, ends = d.place.room[level], d.place.ends[level]
    node = 0
    for dim in range(8):
        node += tiles.stride[dim] * tiles.subs[dim, tile[dim], max(0, counter[dim])]
    while True:
        dim = 7
        while dim >= 0:
            count = counter[dim] + 1
            if count > 0:
                node -= tiles.stride[dim] * tiles.subs[dim, tile[dim], max(0, count - 1)]
            if count < tiles.sub_counts[dim, tile[dim]]:
                counter[dim] = count
                node += tiles.stride[dim] * tiles.subs[dim, tile[dim], count]
                break
            counter[dim] = 0
            dim -= 1
        if dim < 0:
            return False
        if (
            before[0, node, 0] < room
            or before[W + 1, node, 0] + ends[W + 1] < room
            or before[I + 1, node, 0] + ends[I + 1] * sliding[node] < room
            or before[O + 1, node, 0] + ends[O + 1] < room
        ) and _take_block(d, level):
            return True


@compiled
def _take_block(d: Descent, level: int) -> bool:
    """Set the loops in time; False when the machine's constraints forbid them."""
    factors, choices = d.nest.factors[level, 0], d.choices
    for dim in range(8):
        tile = d.place.tile[level, dim]
        digit = d.tiles.subs[dim, tile, d.place.counter[level, dim]]
        d.place.block[level, dim] = digit
        factors[dim] = choices.divisors[dim, tile] // choices.divisors[dim, digit]
    for dim in range(8):
        own = choices.follow if dim == G else dim
        extent = factors[dim]
        exact, most = choices.exact[level, 0, own], choices.maximum[level, 0, own]
        if dim == choices.follow or dim == G:
            extent = factors[G] * factors[choices.follow]
        if (exact > 0 and extent != exact) or (most > 0 and extent > most):
            return False
    return True


@compiled
def _next_way(d: Descent, level: int) -> bool:
    """Go to the next spread that divides the tile; ``place.way`` is the one to look at."""
    while d.place.way[level] < d.plan.ways[level + 1]:
        way = d.place.way[level]
        d.place.way[level] += 1
        if _take_way(d, level, way):
            return True
    return False


@compiled
def _take_way(d: Descent, level: int, way: int) -> bool:
    """Set the loops in space; False when they do not divide the tile."""
    for dim in range(8):
        along_x, along_y = d.tiles.factors[way, 0, dim], d.tiles.factors[way, 1, dim]
        extent = d.choices.divisors[dim, d.place.block[level, dim]]
        if extent % (along_x * along_y) != 0:
            return False
        d.nest.factors[level, 1, dim] = along_x
        d.nest.factors[level, 2, dim] = along_y
        inside = extent // (along_x * along_y)
        d.place.tile[level + 1, dim] = _index_of(d.choices, dim, inside)
    return True


@compiled
def _index_of(choices: Choices, dim: int, divisor: int) -> int:
    index = 0
    while choices.divisors[dim, index] != divisor:
        index += 1
    return index


@compiled
def _next_order(d: Descent, level: int) -> bool:
    """Take the next order of the loops in time; ``place.order`` is the one to look at."""
    looped = 0
    for dim in range(8):
        if d.nest.factors[level, 0, dim] > 1:
            looped |= 1 << dim
    at = d.place.order[level]
    if at >= MAX_ORDERS or d.choices.order_lists[level, looped, at] < 0:
        return False
    chosen = d.choices.order_lists[level, looped, at]
    for position in range(8):
        d.state.order[level, position] = d.choices.orders[level, chosen, position]
    push_loops(d.nest, level, d.state.order[level])
    d.place.order[level] += 1
    return True


@compiled
def _close(d: Descent, level: int) -> bool:
    """Price the level; False when it does not fit or the rest cannot win."""
    inner, counts = level + 1, d.state.counts
    counts[VISITED] += 1
    if inner == d.problem.levels:
        d.place.order[level] = MAX_ORDERS  # nothing stays below: the order does not matter
    if not close_level(d.problem, d.nest, level):
        counts[OVER_CAPACITY] += 1
        return False
    if inner == d.problem.levels:
        return True
    node = _node(d, inner)
    energy = d.nest.energy[inner] + d.problem.mac_pj
    energy += _known(d, inner, 0) + _rest(d, inner, node, 0)
    cycles = _least_cycles(d, inner, node)
    if cycles > d.state.most_cycles:
        counts[OVER_LIMIT] += 1
        return False
    first, second = keys(energy + d.plan.idle * cycles, cycles, d.objective)
    if not can_win(first * (1 - TIE), second * (1 - TIE), d.state.best):
        counts[_reason(d, cycles)] += 1
        return False
    return True


@compiled
def _reason(d: Descent, cycles: float) -> int:
    """What the certificate counts a cut branch under."""
    if d.objective == ENERGY:
        return BY_ENERGY
    return BY_COMPUTE if cycles <= d.plan.compute else BY_BANDWIDTH
