"""Neighbours that pass inputs on, under the compatibility rules only."""

from __future__ import annotations

import random
from dataclasses import replace

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.forwarding import forwarding
from qmc.cost_models.nest import Nest, build_nest
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from tests.cost_models.machines import machine, memory
from tests.cost_models.neighbours import passed_on

#: A column of three instances, one filter row each; the image row moves by one each step.
LAYER = Layer("column", Op.CONV, ("x",), "y", LoopBounds(P=4, R=3))
TARGET = machine(memory("main", fanout_y=3), memory("local"))
MAPPING = Mapping(
    (Loop(LoopDim.P, 4, "main"), Loop(LoopDim.R, 3, "main", "y")),
    (Keep("main", frozenset(Operand)), Keep("local", frozenset(Operand))),
)


def inputs(
    rule: PsumRule, mapping: Mapping = MAPPING, layer: Layer = LAYER
) -> tuple[int, int, int]:
    """Reads of the outer memory; reads and fills of one local memory."""
    cost = AnalyticalModel(psum=rule).evaluate(layer, Precision(8, 8, 8, 8), TARGET, mapping)
    local = cost.accesses["local"][Operand.I]
    return cost.accesses["main"][Operand.I].reads, local.reads, local.fills


def test_honest_rule_reads_every_row_from_outside() -> None:
    assert inputs(PsumRule.HONEST) == (12, 4, 4)


def test_neighbour_hands_its_row_on() -> None:
    # Three rows at first, then one new row per step; two of three receive from a neighbour.
    assert inputs(PsumRule.OUTPUT) == (3 + 3 * 1, 4 + 2, 4)


def test_averages_per_receiver_are_cut_to_whole_elements() -> None:
    layer = replace(LAYER, bounds=LoopBounds(P=5, R=3))
    mapping = Mapping((Loop(LoopDim.P, 5, "main"), *MAPPING.loops[1:]), MAPPING.keep)
    # Four steps hand two rows on: 8. Of 15 fetches 7 come from outside, 7 / 3 and 8 / 3 each.
    assert inputs(PsumRule.OUTPUT, mapping, layer) == (3 + 4 * 1, 5 + 2, 2 + 2)


def test_nothing_is_handed_on_where_rows_do_not_follow() -> None:
    still = Mapping((Loop(LoopDim.P, 4, "local"), *MAPPING.loops[1:]), MAPPING.keep)
    assert inputs(PsumRule.OUTPUT, still) == inputs(PsumRule.HONEST, still)


def test_forwarding_equals_a_walk_over_neighbours() -> None:
    handed_on = 0
    for seed in range(800):
        nest = random_column(random.Random(seed))
        passed, saved = passed_on(nest, 1)
        found = forwarding(nest, 0, 1)
        counts = (found.between_neighbours, found.saved_reads) if found else (0, 0)
        assert counts == (passed // nest.used_instances(1), saved), seed
        handed_on += passed > 0
    assert handed_on > 20


def random_column(rng: random.Random) -> Nest:
    """Window loops in time outside a column, along it and inside."""
    extents = dict.fromkeys("NGKCPQRS", 1)
    for dim in rng.sample("PQRSPQRSKCG", rng.randint(2, 5)):
        extents[dim] *= rng.choice((2, 3, 3, 5))
    pair = (rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2)))
    layer = replace(LAYER, bounds=LoopBounds(**extents), strides=pair, dilations=pair[::-1])
    loops = [
        Loop(LoopDim(dim), prime, level, axis)
        for dim, extent in extents.items()
        for prime in (2, 3, 5)
        for _ in range(exponent(extent, prime))
        for level, axis in [rng.choice((("main", None), ("main", "y"), ("local", None)))]
    ]
    rng.shuffle(loops)
    loops.sort(key=lambda loop: loop.spatial is not None)
    everything = frozenset(Operand)
    keep = (Keep("main", everything), Keep("local", everything))
    return build_nest(
        layer, machine(memory("main", fanout_y=4096), memory("local")), Mapping(tuple(loops), keep)
    )


def exponent(number: int, prime: int) -> int:
    return 0 if number % prime else 1 + exponent(number // prime, prime)
