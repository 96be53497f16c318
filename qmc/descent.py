"""From the whole layer inwards: every mapping under one keep choice and spread that can be best.

Outer loops are priced exactly as they are chosen (:mod:`qmc.nest_kernel`); what the inner ones cost
at least is looked up in the tables of :mod:`qmc.relaxation`. Compiled.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.branch_and_bound import (
    BY_BANDWIDTH,
    BY_COMPUTE,
    BY_ENERGY,
    ENERGY,
    OVER_CAPACITY,
    OVER_LIMIT,
    VISITED,
    State,
    can_win,
    keep_if_best,
    keys,
)
from qmc.descent_bounds import (
    ENERGY_FIRST,
    PLACE,
    Descent,
    Plan,
    Tiles,
    channel_case,
    cycles_left,
    known_cost,
    least_rest,
    node_of,
    open_run,
    room_left,
)
from qmc.jit import compiled
from qmc.nest_bounds import MAX_ORDERS, TIE, Choices
from qmc.nest_kernel import (
    G,
    I,
    O,
    Problem,
    W,
    close_level,
    empty_nest,
    push_loops,
)


def descent(
    problem: Problem, choices: Choices, state: State, objective: int, plan: Plan, tiles: Tiles
) -> Descent:
    """A descent that stands before the outermost loops."""
    place = np.zeros(1, PLACE)[0]
    place["tile"][0] = tiles.radix - 1
    state["depth"] = 0
    nest = empty_nest(problem["bounds"])
    return Descent(problem, choices, nest, state, objective, plan, place, tiles)


@compiled
def descend(d: Descent, steps: int) -> bool:
    """Go on until some ``steps`` more levels are priced; True when nothing is left."""
    place, state = d.place, d.state
    if not place.begun:
        place.begun = 1
        _enter(d, state.depth)
    limit = state.counts[VISITED] + steps
    while state.depth >= 0 and state.counts[VISITED] < limit:
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
    return state.depth < 0


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
    d.place.room[level] = min(d.place.room[level], room_left(d, level))


@compiled
def _enter(d: Descent, level: int) -> None:
    """Stand before the loops of ``level``; all outside it is priced."""
    place, plan = d.place, d.plan
    node = node_of(d, level)
    for dim in range(8):
        place.counter[level, dim] = 0
    place.counter[level, 7] = -1
    place.way[level] = -1
    place.order[level] = -1
    place.ends[level, 0] = 0.0
    for operand in range(3):
        run = open_run(d.problem, d.nest, operand, level)
        arriving = d.tiles.reuse[operand, node] / run
        if operand == I:  # windows slide, so the rest depends on the tile below
            place.case[level] = channel_case(d, level, run)
        place.ends[level, operand + 1] = plan.pays[0, level, operand] * arriving
    place.cycles[level] = cycles_left(d, level, node)
    place.room[level] = room_left(d, level)


@compiled
def _next_block(d: Descent, level: int) -> bool:
    """Go to the next tile below the loops in time of ``level`` that can win."""
    tiles, before = d.tiles, d.tiles.before[0, level]
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
            before[0, node] < room
            or before[W + 1, node] + ends[W + 1] < room
            or before[I + 1, node] + ends[I + 1] * sliding[node] < room
            or before[O + 1, node] + ends[O + 1] < room
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
    node = node_of(d, inner)
    energy = d.nest.energy[inner] + d.problem.mac_pj
    energy += known_cost(d, inner, ENERGY_FIRST) + least_rest(d, inner, node, ENERGY_FIRST)
    cycles = cycles_left(d, inner, node)
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
