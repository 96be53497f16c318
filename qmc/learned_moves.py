"""Candidates of the learned search: random mappings and random changes to mappings. Compiled."""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.branch_and_bound import State
from qmc.jit import compiled
from qmc.nest_bounds import Choices
from qmc.nest_kernel import Ints, Nest, Problem
from qmc.random_walk import choose_order, descend, is_legal

#: Changes tried for one child; most are not allowed where a dataflow is prescribed.
_TRIES = 64


@compiled
def draw(
    problem: Problem,
    choices: Choices,
    nest: Nest,
    state: State,
    seed: int,
    factors: Ints,
    orders: Ints,
    tries: int,
) -> int:
    """Fill ``factors`` (count, L, 3, 8) and ``orders`` (count, L, 8) with random mappings that fit.

    Returns:
        How many were found in ``tries``.
    """
    np.random.seed(seed)
    levels = problem.levels
    found = 0
    for _ in range(tries):
        if found == factors.shape[0]:
            break
        if descend(problem, choices, nest, state):
            factors[found] = nest.factors[:levels]
            orders[found] = state.order[:levels]
            found += 1
    return found


@compiled
def change(
    choices: Choices,
    nest: Nest,
    seed: int,
    factors: Ints,
    orders: Ints,
    parents: Ints,
    new_factors: Ints,
    new_orders: Ints,
) -> None:
    """Make a child of every one of ``parents`` (indices), with one to three random changes.

    A change moves a factor to another block, swaps factors of two dims between two blocks, or
    draws another order for a level. Children may not fit the memories.
    """
    np.random.seed(seed)
    levels = factors.shape[1]
    for child in range(parents.shape[0]):
        nest.factors[:levels] = factors[parents[child]]
        new_orders[child] = orders[parents[child]]
        changes = 1 + np.random.randint(3)
        for _ in range(_TRIES):
            if _change_once(choices, nest, new_orders[child], levels):
                changes -= 1
                if changes == 0:
                    break
        new_factors[child] = nest.factors[:levels]


@compiled
def _change_once(choices: Choices, nest: Nest, orders: Ints, levels: int) -> bool:
    """One random change; False when it is not allowed or changes nothing."""
    kind = np.random.randint(8)
    if kind == 0:
        return choose_order(choices, nest, orders, np.random.randint(levels)) > 1
    if kind < 3:
        return _swap(choices, nest, levels)
    return _move(choices, nest, levels)


@compiled
def _move(choices: Choices, nest: Nest, levels: int) -> bool:
    """Move a prime factor of a random dim from one block to another, where that is allowed."""
    dim = np.random.randint(8)
    source, goal = np.random.randint(levels * 3), np.random.randint(levels * 3)
    factor = _random_factor(nest.factors[source // 3, source % 3, dim])
    if source == goal or factor == 1:
        return False
    _shift(nest, source, goal, dim, factor)
    if _allowed(choices, nest, source, dim) and _allowed(choices, nest, goal, dim):
        return True
    _shift(nest, goal, source, dim, factor)
    return False


@compiled
def _swap(choices: Choices, nest: Nest, levels: int) -> bool:
    """Move a factor of one dim one way and a factor of another dim the other way."""
    one, two = np.random.randint(8), np.random.randint(8)
    source, goal = np.random.randint(levels * 3), np.random.randint(levels * 3)
    first = _random_factor(nest.factors[source // 3, source % 3, one])
    second = _random_factor(nest.factors[goal // 3, goal % 3, two])
    if source == goal or one == two or first == 1 or second == 1:
        return False
    _shift(nest, source, goal, one, first)
    _shift(nest, goal, source, two, second)
    for block in (source, goal):
        for dim in (one, two):
            if not _allowed(choices, nest, block, dim):
                _shift(nest, goal, source, one, first)
                _shift(nest, source, goal, two, second)
                return False
    return True


@compiled
def _shift(nest: Nest, source: int, goal: int, dim: int, factor: int) -> None:
    nest.factors[source // 3, source % 3, dim] //= factor
    nest.factors[goal // 3, goal % 3, dim] *= factor


@compiled
def _allowed(choices: Choices, nest: Nest, block: int, dim: int) -> bool:
    return is_legal(choices, nest, block // 3, block % 3, dim)


@compiled
def _random_factor(number: int) -> int:
    """A divisor of ``number`` above 1, often its smallest prime factor; 1 of 1."""
    taken = 1
    prime = 2
    while number > 1:
        while number % prime:
            prime += 1
        number //= prime
        if np.random.randint(2) == 0:
            taken *= prime
        if taken > 1 and np.random.randint(3) > 0:
            break
    return taken
