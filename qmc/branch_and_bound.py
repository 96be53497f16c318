"""Depth-first search of a map space, outermost loops first, with admissible bounds. Compiled.

A *step* chooses one factor, one order of a temporal block, or closes a level: then everything that
the loops so far decide is priced exactly (:mod:`qmc.nest_kernel`); a memory that overflows cuts the
branch, and so does a lower bound on the rest (:mod:`qmc.nest_bounds`) that cannot beat the best
mapping so far, or that exceeds the limit on cycles.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any

import numpy as np

from qmc.jit import compiled
from qmc.nest_bounds import (
    MAX_ORDERS,
    MAX_STEPS,
    TIE,
    Choices,
    known_leakage,
    least_cycles,
    pending_energy,
)
from qmc.nest_kernel import (
    MAX_LEVELS,
    Floats,
    G,
    Nest,
    Problem,
    close_level,
    port_cycles,
    push_loops,
    total_cost,
)

FACTOR, ORDER, CLOSE = range(3)
EDP, ENERGY, LATENCY = range(3)
HELD, COUNT = 3, 4  # words of the tiles in the watched memory; nothing: only count what fits


#: Where the search stands; it can be left and taken up again. Fields:
#: depth: current step. choice: last choice tried of each step.
#: rest: index of the divisor that is left of each bound before a step.
#: used: product of the factors on the current axis before a step.
#: bound: lower bound of the objective before a step.
#: best: objective value and tie-breaker of the best mapping; best_factors, best_orders: its loops.
#: order: current order of each level.
#: most_cycles: mappings of more cycles do not count; inf is no limit.
#: counts: mappings priced, partly built nests priced, and branches cut, by reason.
#: watched: the memory whose words the objective HELD counts. small_tiles_first: try long outer
#: loops before short ones, which finds something that fits at once.
STATE = np.dtype(
    [
        ("depth", np.int64),
        ("choice", np.int64, (MAX_STEPS + 1,)),
        ("rest", np.int64, (MAX_STEPS + 1, 8)),
        ("used", np.int64, (MAX_STEPS + 1,)),
        ("bound", np.float64, (MAX_STEPS + 1,)),
        ("best", np.float64, (2,)),
        ("best_factors", np.int64, (MAX_LEVELS, 3, 8)),
        ("best_orders", np.int64, (MAX_LEVELS, 8)),
        ("order", np.int64, (MAX_LEVELS, 8)),
        ("most_cycles", np.float64),
        ("counts", np.int64, (7,)),
        ("watched", np.int64),
        ("small_tiles_first", np.int64),
    ],
    align=True,
)

#: One element of a structured array.
State = Any

#: What is counted. A branch is cut by a memory that overflows, by the least energy alone, by the
#: bound on cycles (and energy, for EDP) that arithmetic or a memory's port sets, or by the limit.
PRICED, VISITED, OVER_CAPACITY, BY_ENERGY, BY_COMPUTE, BY_BANDWIDTH, OVER_LIMIT = range(7)


@compiled
def run(
    problem: Problem, choices: Choices, nest: Nest, state: State, objective: int, steps: int
) -> bool:
    """Search on for at most ``steps`` steps; True when the space is exhausted."""
    count = choices.step_count
    for _ in range(steps):
        depth = state.depth
        if depth < 0:
            return True
        if depth == count:
            keep_if_best(problem, nest, state, objective)
            state.depth -= 1
            continue
        state.choice[depth] += 1
        kind = choices.steps[depth, 0]
        if kind == FACTOR:
            move = choose_factor(choices, nest, state, depth)
        elif kind == ORDER:
            move = choose_order(choices, nest, state, depth)
        else:
            move = _close(problem, choices, nest, state, objective, depth)
        if move < 0:
            state.depth -= 1
        elif move > 0:
            state.depth += 1
            state.choice[depth + 1] = -1
    return state.depth < 0


@compiled
def choose_factor(choices: Choices, nest: Nest, state: State, depth: int) -> int:
    """Take the next factor that a dim may have here: 1 to go on, -1 when none is left."""
    level, axis, dim = choices.steps[depth, 1], choices.steps[depth, 2], choices.steps[depth, 3]
    rest = state.rest[depth, dim]
    inside = depth > 0 and choices.steps[depth - 1, 0] == FACTOR
    inside = inside and choices.steps[depth - 1, 2] == axis
    used = state.used[depth] if inside else 1
    for index in range(state.choice[depth], rest + 1):
        descending = axis > 0 or state.small_tiles_first  # in space the most parallel first
        at = rest - index if descending else index
        left = choices.quotient[dim, rest, at]
        factor = choices.divisors[dim, at]
        if left >= 0 and allowed(choices, nest, level, axis, dim, factor, left, used):
            nest.factors[level, axis, dim] = factor
            for other in range(8):
                state.rest[depth + 1, other] = state.rest[depth, other]
            state.rest[depth + 1, dim] = left
            state.used[depth + 1] = used * factor
            state.bound[depth + 1] = state.bound[depth]
            state.choice[depth] = index
            return 1
    return -1


@compiled
def allowed(
    choices: Choices, nest: Nest, level: int, axis: int, dim: int, factor: int, left: int, used: int
) -> bool:
    """Whether a block may take a factor; G and the dim it follows share their constraint.

    ``left`` is the index of what would remain of the bound for the blocks inside, ``used`` the
    product of the block's factors so far.
    """
    if not choices.possible[level, axis, dim, left]:
        return False
    limit = choices.limit[level, axis]
    if limit > 0 and used * factor > limit:
        return False
    own = choices.follow if dim == G else dim
    exact, maximum = choices.exact[level, axis, own], choices.maximum[level, axis, own]
    if dim == G:
        return (exact == 0 or exact % factor == 0) and (maximum == 0 or factor <= maximum)
    taken = factor * nest.factors[level, axis, G] if dim == choices.follow else factor
    return (exact == 0 or taken == exact) and (maximum == 0 or taken <= maximum)


@compiled
def choose_order(choices: Choices, nest: Nest, state: State, depth: int) -> int:
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
        state.rest[depth + 1, position] = state.rest[depth, position]
    push_loops(nest, level, state.order[level])
    state.bound[depth + 1] = state.bound[depth]
    return 1


@compiled
def _close(
    problem: Problem, choices: Choices, nest: Nest, state: State, objective: int, depth: int
) -> int:
    """Price a level whose loops are chosen; cut the branch if it does not fit or cannot win."""
    if state.choice[depth] > 0:
        return -1
    level = choices.steps[depth, 1]
    state.counts[VISITED] += 1
    if not close_level(problem, nest, level):
        state.counts[OVER_CAPACITY] += 1
        return -1
    for dim in range(8):
        state.rest[depth + 1, dim] = state.rest[depth, dim]
    state.bound[depth + 1] = state.bound[depth]
    if objective == COUNT:
        return 1
    if objective == HELD:
        held = float(nest.held_words[level + 1, state.watched])
        return 1 if can_win(held, 0.0, state.best) else -1
    if level + 1 < problem.levels:
        return _bound_rest(problem, choices, nest, state, objective, depth)
    return 1


@compiled
def _bound_rest(
    problem: Problem, choices: Choices, nest: Nest, state: State, objective: int, depth: int
) -> int:
    """Cut the branch whose completions exceed the limit or cannot win, and say why."""
    level = choices.steps[depth, 1] + 1
    cycles = least_cycles(problem, choices, nest, level)
    if cycles > state.most_cycles:
        state.counts[OVER_LIMIT] += 1
        return -1
    energy = nest.energy[level] + problem.mac_pj
    energy += pending_energy(problem, choices, nest, level)
    energy += cycles * known_leakage(problem, nest, level)
    first, second = keys(energy, cycles, objective)
    if can_win(first, second, state.best):
        state.bound[depth + 1] = max(first, state.bound[depth])
        return 1
    if objective == ENERGY:
        state.counts[BY_ENERGY] += 1
    elif port_cycles(problem, nest, level) >= cycles:
        state.counts[BY_BANDWIDTH] += 1
    else:
        state.counts[BY_COMPUTE] += 1
    return -1


@compiled
def keep_if_best(problem: Problem, nest: Nest, state: State, objective: int) -> None:
    """Price a whole mapping and keep it when it is the best."""
    state.counts[PRICED] += 1
    energy, cycles = total_cost(problem, nest)
    if cycles > state.most_cycles:
        return
    first, second = keys(energy, float(cycles), objective)
    if objective == HELD:
        first, second = float(nest.held_words[problem.levels, state.watched]), 0.0
    if can_win(first, second, state.best):
        state.best[0], state.best[1] = first, second
        for level in range(problem.levels):
            for dim in range(8):
                state.best_orders[level, dim] = state.order[level, dim]
                for axis in range(3):
                    state.best_factors[level, axis, dim] = nest.factors[level, axis, dim]


@compiled
def keys(energy: float, cycles: float, objective: int) -> tuple[float, float]:
    """What the search minimizes, and what decides among equals."""
    if objective == ENERGY:
        return energy, cycles
    if objective == LATENCY:
        return cycles, energy
    return energy * cycles, cycles


@compiled
def can_win(first: float, second: float, best: Floats) -> bool:
    """Whether keys at least these can be better than the best."""
    slack = TIE * best[0] if best[0] < np.inf else 0.0
    if first < best[0] - slack:
        return True
    return first <= best[0] + slack and second < best[1] * (1 - TIE)


@compiled
def root_bound(problem: Problem, choices: Choices, nest: Nest, objective: int) -> float:
    """Lower bound of the objective over the whole space."""
    energy = problem.mac_pj + pending_energy(problem, choices, nest, 0)
    return keys(energy, least_cycles(problem, choices, nest, 0), objective)[0]
