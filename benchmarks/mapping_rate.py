"""Mappings priced per second on one core: ``python benchmarks/mapping_rate.py [TARGET ...]``.

Two figures for every layer, in CPU seconds of this process:

- *from scratch*: different random mappings that fit, one after another; each gets its tiles, loops,
  the accesses of every memory and operand, its energy, cycles and fit, and nothing is shared. Of
  the quickest round through all of them, which others on the machine disturb least; then the mean.
- *enumerated*: the depth-first walk of the map space without bounds, so that every mapping that
  fits gets its exact energy and cycles; mappings with the same outer loops share their price.
  What does not fit is cut and not counted, but its time is.

A sample of the mappings priced from scratch, and the best of those enumerated, are compared with
the reference model.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from search_speed import conv, depthwise

from qmc.branch_and_bound import COUNT, PRICED, run
from qmc.cost_models.analytical import AnalyticalModel
from qmc.layer import Layer, Precision
from qmc.learned_moves import draw
from qmc.mapping import Mapping
from qmc.mapspace import MapSpace, map_space, to_mapping
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_kernel import Ints, Problem, empty_nest, price_all
from qmc.targets import Target, load_target

_BAR = 4.0  # million a second
_DRAWN = 8192
_SAMPLE = 64
_SECONDS = 2.0
_STEPS = 1 << 20


def random_mappings(space: MapSpace, problem: Problem) -> tuple[Ints, Ints]:
    """Different mappings that fit: factors (count, L, 3, 8), orders (count, L, 8)."""
    levels = len(space.target.memories)
    factors = np.ones((_DRAWN, levels, 3, 8), np.int64)
    orders = np.zeros((_DRAWN, levels, 8), np.int64)
    scratch = empty_nest(problem["bounds"]), new_state(space)
    found = draw(problem, build_choices(space), *scratch, 1, factors, orders, 64 * _DRAWN)
    both = [array[:found].reshape(found, -1) for array in (factors, orders)]
    _, first = np.unique(np.concatenate(both, 1), axis=0, return_index=True)
    first = np.sort(first)  # in the order drawn: neighbours have nothing in common
    return factors[first], orders[first]


def mapping_of(space: MapSpace, factors: Ints, orders: Ints) -> Mapping:
    """The mapping that a row of each array stands for."""
    tiling = tuple(tuple(map(int, block)) for block in factors.reshape(-1, 8))
    chosen = []
    for block, taken in zip(space.blocks, tiling, strict=True):
        order = orders[block.level] if block.axis is None else range(8)
        chosen.append(tuple(int(dim) for dim in order if taken[dim] > 1))
    return to_mapping(space, tiling, tuple(chosen), space.keeps[0])


def compare(space: MapSpace, factors: Ints, orders: Ints, energy: float, edp: float) -> None:
    """Check the sums of the energy (pJ) and of energy x cycles against the reference model."""
    costs = [
        AnalyticalModel().evaluate(space.layer, Precision(), space.target, mapping_of(space, *pair))
        for pair in zip(factors, orders, strict=True)
    ]
    np.testing.assert_allclose(energy, sum(cost.energy_pj for cost in costs), rtol=1e-11)
    np.testing.assert_allclose(edp, sum(c.energy_pj * c.cycles for c in costs), rtol=1e-11)


def from_scratch(space: MapSpace, problem: Problem) -> tuple[float, float, int]:
    """Millions a second in the quickest round and in all, and how many different mappings."""
    factors, orders = random_mappings(space, problem)
    nest = empty_nest(problem["bounds"])
    prices = price_all(problem, nest, factors, orders)
    at = np.linspace(0, len(factors) - 1, min(_SAMPLE, len(factors))).astype(np.int64)
    sums = prices[at, 0].sum(), (prices[at, 0] * prices[at, 1]).sum()
    compare(space, factors[at], orders[at], *sums)
    rounds: list[float] = []
    while sum(rounds) < _SECONDS:
        began = time.process_time()
        price_all(problem, nest, factors, orders)
        rounds.append(time.process_time() - began)
    million = len(factors) / 1e6
    return million / min(rounds), million * len(rounds) / sum(rounds), len(factors)


def enumerated(space: MapSpace, problem: Problem) -> tuple[float, int]:
    """Millions a second, and how many mappings were priced, each once."""
    choices = build_choices(space)
    nest, state = empty_nest(problem["bounds"]), new_state(space)
    run(problem, choices, nest, state, COUNT, 1)  # loads the machine code
    began = time.process_time()
    while not run(problem, choices, nest, state, COUNT, _STEPS):
        if time.process_time() - began > _SECONDS:
            break
    spent = time.process_time() - began
    levels = len(space.target.memories)
    best = state["best_factors"][:levels], state["best_orders"][:levels]
    cost = AnalyticalModel().evaluate(
        space.layer, Precision(), space.target, mapping_of(space, *best)
    )
    np.testing.assert_allclose(state["best"][0], cost.energy_pj * cost.cycles, rtol=1e-11)
    return int(state["counts"][PRICED]) / spent / 1e6, int(state["counts"][PRICED])


def report(target: Target, layers: list[Layer]) -> None:
    for layer in layers:
        space = map_space(layer, target)
        problem = build_problem(layer, Precision(), target, space.keeps[0], AnalyticalModel())
        rate, mean, different = from_scratch(space, problem)
        shared_rate, count = enumerated(space, problem)
        print(
            f"{target.name:8} {layer.name:20} million/s: from scratch {rate:.2f}, "
            f"on average {mean:.2f} ({different:,} different), "
            f"enumerated {shared_rate:.2f} ({count:,}); bar {_BAR:.0f}"
        )


def main() -> None:
    layers = [conv(14, 256, 512, 3), conv(28, 192, 64), depthwise(56, 144, 1)]
    for name in sys.argv[1:] or ["eyeriss", "simba"]:
        report(load_target(name), layers)


if __name__ == "__main__":
    main()
