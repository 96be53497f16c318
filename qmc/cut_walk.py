"""Depth-first search among loops that need not divide their dims, outermost first. Compiled.

As :mod:`qmc.branch_and_bound`, over tile sizes (:mod:`qmc.cut_space`) instead of divisors and with
the prices of :mod:`qmc.cut_kernel`.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmc.branch_and_bound import (
    BY_BANDWIDTH,
    BY_COMPUTE,
    BY_ENERGY,
    ENERGY,
    FACTOR,
    ORDER,
    OVER_CAPACITY,
    OVER_LIMIT,
    PRICED,
    VISITED,
    can_win,
    keys,
)
from qmc.cut_geometry import ALL, cut_served, cut_windows_meet, outputs_seen, work_left
from qmc.cut_kernel import close_cut_level, cut_cost, push_cut_loops
from qmc.cut_records import CutNest, CutState
from qmc.jit import compiled
from qmc.nest_bounds import (
    MAX_ORDERS,
    TIE,
    Choices,
    finished_serving,
    known_leakage,
    most_parallel,
    serving_elements,
    touched_share,
)
from qmc.nest_kernel import port_cycles, tile_elements
from qmc.nest_records import FILL, READ, UPDATE, G, I, Ints, O, P, Problem, Q, R, S


class Steps(NamedTuple):
    """The arrays of :class:`qmc.cut_space.CutSpace`; ``sizes`` is (8, n)."""

    sizes: Ints
    extents: Ints
    tiles: Ints
    free: NDArray[np.bool_]
    bound: NDArray[np.bool_]
    fixed: Ints
    possible: NDArray[np.bool_]


@compiled
def run_cut(
    problem: Problem,
    choices: Choices,
    table: Steps,
    nest: CutNest,
    state: CutState,
    objective: int,
    steps: int,
) -> bool:
    """Search on for at most ``steps`` steps; True when the space is exhausted."""
    count = choices.step_count
    for _ in range(steps):
        depth = state.depth
        if depth < 0:
            return True
        if depth == count:
            _keep_if_best(problem, nest, state, objective)
            state.depth -= 1
            continue
        state.choice[depth] += 1
        kind = choices.steps[depth, 0]
        if kind == FACTOR:
            move = _choose_factor(choices, table, nest, state, depth)
        elif kind == ORDER:
            move = _choose_order(choices, nest, state, depth)
        else:
            move = _close(problem, choices, table, nest, state, objective, depth)
        if move < 0:
            state.depth -= 1
        elif move > 0:
            state.depth += 1
            state.choice[depth + 1] = -1
    return state.depth < 0


@compiled
def _choose_factor(
    choices: Choices, table: Steps, nest: CutNest, state: CutState, depth: int
) -> int:
    """Take the next size that a dim may have inside a block: 1 to go on, -1 when none is left."""
    level, axis, dim = choices.steps[depth, 1], choices.steps[depth, 2], choices.steps[depth, 3]
    size = state.node[depth, dim]
    inside = depth > 0 and choices.steps[depth - 1, 0] == FACTOR
    inside = inside and choices.steps[depth - 1, 2] == axis
    used = state.used[depth] if inside else 1
    for index in range(state.choice[depth], size + 1):
        to = index if axis > 0 else size - index  # in space the most parallel first
        extent = table.extents[dim, size, to]
        if extent > 0 and _allowed(
            choices, table, nest, state, depth, level, axis, dim, size, to, used
        ):
            nest.factors[level, axis, dim] = extent
            nest.inside[level, axis, dim] = table.sizes[dim, to]
            _go_on(state, depth)
            state.node[depth + 1, dim] = to
            state.used[depth + 1] = used * extent
            state.choice[depth] = index
            return 1
    return -1


@compiled
def _allowed(
    choices: Choices,
    table: Steps,
    nest: CutNest,
    state: CutState,
    depth: int,
    level: int,
    axis: int,
    dim: int,
    size: int,
    to: int,
    used: int,
) -> bool:
    """Whether a block may take a dim from one size to another, all of the block considered."""
    if not table.possible[level, axis, dim, to]:
        return False
    taken, tiles = table.extents[dim, size, to], table.tiles[dim, to]
    if choices.limit[level, axis] > 0 and used * taken > choices.limit[level, axis]:
        return False
    in_space = 1 if axis > 0 else 0
    first, second = table.fixed[level, axis, dim, 0], table.fixed[level, axis, dim, 1]
    maximum = choices.maximum[level, axis, dim]
    if max(first, second) == 0:
        if not table.free[in_space, dim, size, to]:
            return False
    elif not table.bound[in_space, dim, size, to]:
        return False
    if dim == choices.follow:  # G and the dim it follows share their constraint
        taken *= nest.factors[level, axis, G]
        tiles *= table.tiles[G, state.node[depth, G]]
    if maximum > 0 and taken > maximum:
        return False
    return (
        dim == G
        or max(first, second) == 0
        or taken == min(first, tiles)
        or taken == min(second, tiles)
    )


@compiled
def _go_on(state: CutState, depth: int) -> None:
    """What is known before a step holds before the next."""
    for dim in range(8):
        state.node[depth + 1, dim] = state.node[depth, dim]


@compiled
def _choose_order(choices: Choices, nest: CutNest, state: CutState, depth: int) -> int:
    """Take the next order of a level's loops in time."""
    level = choices.steps[depth, 1]
    looped = 0
    for dim in range(8):
        if nest.factors[level, 0, dim] > 1:
            looped |= 1 << dim
    lists = choices.order_lists
    if state.choice[depth] >= MAX_ORDERS or lists[level, looped, state.choice[depth]] < 0:
        return -1
    chosen = lists[level, looped, state.choice[depth]]
    for position in range(8):
        state.order[level, position] = choices.orders[level, chosen, position]
    push_cut_loops(nest, level, state.order[level])
    _go_on(state, depth)
    return 1


@compiled
def _close(
    problem: Problem,
    choices: Choices,
    table: Steps,
    nest: CutNest,
    state: CutState,
    objective: int,
    depth: int,
) -> int:
    """Price a level whose loops are chosen; cut the branch if it does not fit or cannot win."""
    if state.choice[depth] > 0:
        return -1
    level = choices.steps[depth, 1]
    for dim in range(8):
        nest.tile[level + 1, dim] = table.sizes[dim, state.node[depth, dim]]
    if cut_windows_meet(problem, nest, level):
        return -1
    state.counts[VISITED] += 1
    if not close_cut_level(problem, nest, level):
        state.counts[OVER_CAPACITY] += 1
        return -1
    _go_on(state, depth)
    if level + 1 < problem.levels:
        return _bound_rest(problem, choices, nest, state, objective, level + 1)
    return 1


@compiled
def _bound_rest(
    problem: Problem, choices: Choices, nest: CutNest, state: CutState, objective: int, level: int
) -> int:
    """Cut the branch whose completions exceed the limit or cannot win, and say why."""
    cycles = least_cut_cycles(problem, choices, nest, level)
    if cycles > state.most_cycles:
        state.counts[OVER_LIMIT] += 1
        return -1
    energy = least_cut_energy(problem, choices, nest, level)
    energy += cycles * known_leakage(problem, nest, level)
    first, second = keys(energy, cycles, objective)
    if can_win(first, second, state.best):
        return 1
    if objective == ENERGY:
        state.counts[BY_ENERGY] += 1
    elif port_cycles(problem, nest, level) >= cycles:
        state.counts[BY_BANDWIDTH] += 1
    else:
        state.counts[BY_COMPUTE] += 1
    return -1


@compiled
def least_cut_cycles(problem: Problem, choices: Choices, nest: CutNest, level: int) -> float:
    """Cycles that no completion of the nest outside ``level`` stays below."""
    work = work_left(problem, nest, level) * problem.mac_cycles
    work /= most_parallel(choices, nest, level, problem.levels, choices.no_dims)
    return max(np.ceil(work * (1 - TIE)), float(port_cycles(problem, nest, level)))


@compiled
def least_cut_energy(problem: Problem, choices: Choices, nest: CutNest, level: int) -> float:
    """Energy, leakage aside, that no completion of the nest outside ``level`` stays below.

    As :func:`qmc.nest_bounds.pending_energy`, with the tiles that exist.
    """
    energy = nest.energy[level] + problem.mac_pj
    for operand in range(3):
        outer = problem.holder[level, operand]
        innermost = problem.holder[problem.levels - 1, operand]
        arriving = float(nest.arriving[outer, operand, 1]) if outer > 0 else 0.0
        if operand == O:
            if outer > 0 and problem.first_fill_counted == 0:
                arriving -= outputs_seen(problem, nest, outer, ALL)
            energy += arriving * problem.psum_pj[outer, FILL]
        else:
            energy += arriving * problem.element_pj[outer, operand, FILL]
        if outer != innermost:
            energy += _passing(problem, nest, operand, outer, innermost, level)
        energy += _serving_macs(problem, choices, nest, operand, innermost, level)
    return energy


@compiled
def _passing(
    problem: Problem, nest: CutNest, operand: int, outer: int, innermost: int, level: int
) -> float:
    """Energy to pass every element of the tiles of ``level`` down to the innermost memory once."""
    if outer == level and level > 0:
        elements = float(nest.arriving[level, operand, 1])
    elif level == 0:
        elements = float(tile_elements(problem, operand, nest.tile[0]))
    else:
        elements = float(cut_served(problem, nest, operand, outer, level, True))
    if operand == I:
        elements *= _least_touched(problem, nest.tile[level])
    if operand == O:
        return _passing_outputs(problem, nest, outer, innermost, elements)
    energy = 0.0
    for memory in range(outer, innermost + 1):
        if problem.holder[memory, operand] == memory:
            if memory < innermost:
                energy += elements * problem.element_pj[memory, operand, READ]
            if memory > outer:
                energy += elements * problem.element_pj[memory, operand, FILL]
    return energy


@compiled
def _passing_outputs(
    problem: Problem, nest: CutNest, outer: int, innermost: int, updates: float
) -> float:
    """Energy to pass outputs up: all but the finished ones are partial sums and are read again."""
    finished = min(updates, float(outputs_seen(problem, nest, outer, ALL)))
    partial = problem.psum_pj[outer, READ] + problem.psum_pj[outer, UPDATE]
    energy = (updates - finished) * partial
    for memory in range(outer, innermost):
        if problem.holder[memory, O] == memory:
            energy += finished * problem.element_pj[memory, O, UPDATE]
    return energy


@compiled
def _least_touched(problem: Problem, tile: Ints) -> float:
    """Share of I's boxes that is used, whatever is cut off the tile."""
    if problem.window[0] * problem.window[1] * problem.window[2] * problem.window[3] == 1:
        return 1.0
    window = np.array([tile[P], tile[R], tile[Q], tile[S]])
    least = 1.0
    part = np.ones(8, np.int64)
    for rows in range(4):
        part[P], part[R] = window[0] if rows & 1 else 1, window[1] if rows & 2 else 1
        for columns in range(4):
            part[Q], part[S] = window[2] if columns & 1 else 1, window[3] if columns & 2 else 1
            least = min(least, touched_share(problem, part))
    return least


@compiled
def _serving_macs(
    problem: Problem, choices: Choices, nest: CutNest, operand: int, innermost: int, level: int
) -> float:
    """Energy of the innermost memory to serve every multiply-accumulate."""
    elements = serving_elements(problem, choices, nest, operand, innermost, level)
    if operand != O:
        return elements * problem.element_pj[innermost, operand, READ]
    finished = finished_serving(problem, choices, nest, level, elements)
    partial = problem.psum_pj[innermost, READ] + problem.psum_pj[innermost, UPDATE]
    energy = (elements - finished) * partial
    return energy + finished * problem.element_pj[innermost, O, UPDATE]


@compiled
def _keep_if_best(problem: Problem, nest: CutNest, state: CutState, objective: int) -> None:
    """Price a whole mapping and keep it when it is the best."""
    state.counts[PRICED] += 1
    energy, cycles = cut_cost(problem, nest)
    if cycles > state.most_cycles:
        return
    first, second = keys(energy, float(cycles), objective)
    if can_win(first, second, state.best):
        state.found = 1
        state.best[0], state.best[1] = first, second
        for level in range(problem.levels):
            for dim in range(8):
                state.best_orders[level, dim] = state.order[level, dim]
                for axis in range(3):
                    state.best_factors[level, axis, dim] = nest.factors[level, axis, dim]
