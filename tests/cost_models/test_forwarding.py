"""Neighbours that pass inputs on, under the compatibility rules only."""

from __future__ import annotations

from dataclasses import replace

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from tests.cost_models.machines import machine, memory

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
