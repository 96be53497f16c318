"""Elements that every memory reads, is filled with and is updated with, per used instance.

Source: Timeloop's loop-nest semantics (A. Parashar et al., Timeloop, ISPASS 2019, section VI), read
off its outputs; docs/cost-model.md works one layer by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from qmc.cost_models.forwarding import forwarding
from qmc.cost_models.nest import Nest, product
from qmc.cost_models.receivers import distinct_receivers
from qmc.cost_models.tiles import moved_elements, tile_elements
from qmc.layer import REDUCTION, RELEVANT, Operand


class FirstFill(StrEnum):
    """Whether a holder of outputs is filled with zeros before the first sums."""

    ELIDED = "elided"  # the first update overwrites; Timeloop of 2024 and later
    COUNTED = "counted"  # the fill is charged; the Timeloop fork's records of 2023


@dataclass(frozen=True, slots=True)
class Traffic:
    """Element accesses of one operand at one instance of a memory.

    ``final_updates`` of the ``updates`` carry finished outputs; all ``reads`` and ``fills`` of
    outputs carry partial sums.

    Attributes:
        reads: to serve the next inner holder (outputs: to go on summing).
        fills: from the next outer holder.
        updates: results from the next inner holder.
        final_updates: updates at the output's own width.
        tile: elements held at once.
        holds_partial: whether any of the tile is a partial sum.
    """

    reads: int
    fills: int
    updates: int
    final_updates: int
    tile: int
    holds_partial: bool


def operand_traffic(
    nest: Nest, operand: Operand, first_fill: FirstFill, forward: bool = False
) -> dict[int, Traffic]:
    """Traffic by level index, for the memories that keep ``operand``.

    Args:
        nest: the mapping on the machine.
        operand: W, I or O.
        first_fill: counting rule.
        forward: neighbours pass inputs on (:mod:`qmc.cost_models.forwarding`).
    """
    holders = nest.holders(operand)
    result = {}
    for outer, inner in pairwise(holders):
        served = exchanged(nest, operand, inner) * distinct_receivers(nest, operand, outer, inner)
        arriving = 0 if outer == 0 else exchanged(nest, operand, outer)
        if operand is Operand.O:
            result[outer] = _output_traffic(nest, outer, served, arriving, first_fill)
        else:
            tile = tile_elements(nest.layer, operand, nest.tile(outer))
            result[outer] = Traffic(served, arriving, 0, 0, tile, False)
    return _forwarded(nest, result) if forward and operand is Operand.I else result


def _forwarded(nest: Nest, traffic: dict[int, Traffic]) -> dict[int, Traffic]:
    result = dict(traffic)
    for outer, inner in pairwise(sorted(traffic)):
        passed = forwarding(nest, outer, inner)
        if passed is not None:
            result[outer] = replace(result[outer], reads=result[outer].reads - passed.saved_reads)
            result[inner] = replace(
                result[inner],
                reads=result[inner].reads + passed.between_neighbours,
                fills=passed.from_outside + passed.between_neighbours,
            )
    return result


def exchanged(nest: Nest, operand: Operand, index: int) -> int:
    """Elements exchanged between one instance of level ``index`` and the holder outside it.

    A MAC takes one element each cycle, also when it is the one of the cycle before.
    """
    if index == nest.mac_index:
        return cycles_of_compute(nest)
    return moved_elements(nest.layer, operand, nest.tile(index), nest.outer_loops(index))


def cycles_of_compute(nest: Nest) -> int:
    """Steps of all loops in time: cycles of single-cycle MACs without bandwidth limits."""
    return product(loop for level in nest.temporal for loop in level)


def distinct_outputs(nest: Nest, index: int) -> int:
    """Output elements that one instance of level ``index`` ever sees."""
    return tile_elements(nest.layer, Operand.O, nest.tile(index)) * product(
        loop
        for loop in nest.outer_loops(index)
        if loop.spatial is None and loop.dim in RELEVANT[Operand.O]
    )


def _output_traffic(
    nest: Nest, index: int, updates: int, written_back: int, first_fill: FirstFill
) -> Traffic:
    outside = nest.outer_loops(index)
    tile = tile_elements(nest.layer, Operand.O, nest.tile(index))
    distinct = distinct_outputs(nest, index)
    reduced_outside = any(loop.dim in REDUCTION for loop in outside)
    across_instances = any(loop.dim in REDUCTION and loop.spatial for loop in outside)
    skipped = distinct if first_fill is FirstFill.ELIDED else 0
    return Traffic(
        reads=updates - distinct,
        fills=written_back - skipped if written_back else 0,
        updates=updates,
        final_updates=0 if across_instances else distinct,
        tile=tile,
        holds_partial=reduced_outside or updates > distinct,
    )
