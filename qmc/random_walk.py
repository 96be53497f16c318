"""Random mappings of a map space, and random changes to the best one. Compiled."""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.branch_and_bound import CLOSE, FACTOR, State, allowed, keep_if_best
from qmc.jit import compiled
from qmc.nest_bounds import MAX_ORDERS, Choices
from qmc.nest_kernel import G, Ints, Nest, Problem, close_level, push_loops


@compiled
def sample(
    problem: Problem,
    choices: Choices,
    nest: Nest,
    state: State,
    objective: int,
    seed: int,
    count: int,
) -> int:
    """Draw ``count`` mappings, keep the best; returns how many fit the memories.

    Every factor and order is drawn evenly from those that the choices so far allow.
    """
    np.random.seed(seed)
    fitting = 0
    for _ in range(count):
        if descend(problem, choices, nest, state):
            fitting += 1
            keep_if_best(problem, nest, state, objective)
    return fitting


@compiled
def descend(problem: Problem, choices: Choices, nest: Nest, state: State) -> bool:
    """Draw one mapping; False when it ends in a corner or does not fit."""
    for depth in range(choices.step_count):
        kind, level = choices.steps[depth, 0], choices.steps[depth, 1]
        for dim in range(8):
            state.rest[depth + 1, dim] = state.rest[depth, dim]
        if kind == FACTOR:
            if not draw_factor(choices, nest, state, depth):
                return False
        elif kind == CLOSE:
            if not close_level(problem, nest, level):
                return False
        else:
            draw_order(choices, nest, state, level)
    return True


@compiled
def draw_factor(choices: Choices, nest: Nest, state: State, depth: int) -> bool:
    """Draw a factor by reservoir, each allowed one with the same chance."""
    level, axis, dim = choices.steps[depth, 1], choices.steps[depth, 2], choices.steps[depth, 3]
    rest = state.rest[depth, dim]
    used = 1
    for other in range(dim):
        used *= nest.factors[level, axis, other]
    seen = 0
    for index in range(rest + 1):
        left = choices.quotient[dim, rest, index]
        factor = choices.divisors[dim, index]
        if left < 0 or not allowed(choices, nest, level, axis, dim, factor, left, used):
            continue
        seen += 1
        if np.random.randint(seen) == 0:
            nest.factors[level, axis, dim] = factor
            state.rest[depth + 1, dim] = left
    return seen > 0


@compiled
def draw_order(choices: Choices, nest: Nest, state: State, level: int) -> None:
    """Draw an order among those that reuse differently, and take it."""
    choose_order(choices, nest, state.order, level)
    push_loops(nest, level, state.order[level])


@compiled
def choose_order(choices: Choices, nest: Nest, orders: Ints, level: int) -> int:
    """Draw an order of a level into ``orders`` (L, 8); returns how many reuse differently."""
    looped = 0
    for dim in range(8):
        if nest.factors[level, 0, dim] > 1:
            looped |= 1 << dim
    count = 0
    while count < MAX_ORDERS and choices.order_lists[level, looped, count] >= 0:
        count += 1
    chosen = choices.order_lists[level, looped, np.random.randint(count)]
    for position in range(8):
        orders[level, position] = choices.orders[level, chosen, position]
    return count


@compiled
def climb(
    problem: Problem,
    choices: Choices,
    nest: Nest,
    state: State,
    objective: int,
    seed: int,
    count: int,
) -> None:
    """Try ``count`` random changes to the best mapping; each better one takes its place.

    A change moves one or two factors of a dim to another block and draws the order of one level.
    """
    np.random.seed(seed)
    for _ in range(count):
        for level in range(problem.levels):
            for dim in range(8):
                state.order[level, dim] = state.best_orders[level, dim]
                for axis in range(3):
                    nest.factors[level, axis, dim] = state.best_factors[level, axis, dim]
        changed = move_factor(problem, choices, nest)
        if np.random.randint(2) == 0:
            changed = move_factor(problem, choices, nest) or changed
        drawn = np.random.randint(problem.levels)
        if changed and _rebuild(problem, choices, nest, state, drawn):
            keep_if_best(problem, nest, state, objective)


@compiled
def _rebuild(problem: Problem, choices: Choices, nest: Nest, state: State, drawn: int) -> bool:
    """Price the nest anew, with another order in one level; False when it does not fit."""
    for level in range(problem.levels):
        if level == drawn:
            draw_order(choices, nest, state, level)
        else:
            push_loops(nest, level, state.order[level])
        if not close_level(problem, nest, level):
            return False
    return True


@compiled
def move_factor(problem: Problem, choices: Choices, nest: Nest) -> bool:
    """Move a random prime factor from one block to another; False when that is not allowed."""
    dim = np.random.randint(8)
    source, goal = np.random.randint(problem.levels * 3), np.random.randint(problem.levels * 3)
    factor = nest.factors[source // 3, source % 3, dim]
    if source == goal or factor == 1:
        return False
    prime = 2
    while factor % prime:
        prime += 1
    nest.factors[source // 3, source % 3, dim] //= prime
    nest.factors[goal // 3, goal % 3, dim] *= prime
    if is_legal(choices, nest, source // 3, source % 3, dim) and is_legal(
        choices, nest, goal // 3, goal % 3, dim
    ):
        return True
    nest.factors[source // 3, source % 3, dim] *= prime
    nest.factors[goal // 3, goal % 3, dim] //= prime
    return False


@compiled
def is_legal(choices: Choices, nest: Nest, level: int, axis: int, dim: int) -> bool:
    """Whether a block may hold the factors it has, of which that of ``dim`` has changed."""
    used = 1
    for other in range(8):
        used *= nest.factors[level, axis, other]
    limit = choices.limit[level, axis]
    taken = nest.factors[level, axis, dim]
    own = dim
    if dim == G or dim == choices.follow:
        own = choices.follow
        taken = nest.factors[level, axis, G] * nest.factors[level, axis, own]
    exact, maximum = choices.exact[level, axis, own], choices.maximum[level, axis, own]
    return (
        (limit == 0 or used <= limit)
        and (exact == 0 or taken == exact)
        and (maximum == 0 or taken <= maximum)
    )
