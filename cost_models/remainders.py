"""Traffic of nests whose loops do not divide their dims: the last tile of a dim is cut short.

The extents of a dim multiply to more than its bound. Such a nest runs as the perfect nest of the
larger layer does, and every tile and every transfer is cut to what exists: which loops move a tile,
keep it or slide it is decided by the larger nest, how many elements a move brings by the points of
the layer. Instances without work are idle meanwhile, so instances differ: the *busiest* is the
first (its indices in space are all 0; it works whenever any does), and energy follows from the sum
over all.

Dims are independent, so counts are products over dims. All loops of a dim but the outermost make
full tiles, and of each size at most one tile is short: the residual form of Ruby (M. Horeni et al.,
Ruby: improving hardware efficiency for tensor algebra accelerators through imperfect factorization,
ISPASS 2022) with one residual, that of the bound.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from qmc.cost_models.cut_tiles import START, WINDOWS, CutTiles, cut_tiles
from qmc.cost_models.nest import Nest, extents
from qmc.cost_models.receivers import distinct_receivers
from qmc.cost_models.tiles import tile_steps
from qmc.cost_models.traffic import FirstFill, Traffic
from qmc.errors import MappingError
from qmc.layer import REDUCTION, RELEVANT, Operand
from qmc.mapping import Loop


def check_windows(nest: Nest) -> None:
    """Refuse cut windows that instances along one axis would share in part.

    Raises:
        MappingError: outputs and taps of a window lie along one axis and one of them is cut.
    """
    whole = extents(loop for level in (*nest.temporal, *nest.spatial) for loop in level)
    for pair in WINDOWS:
        if all(whole[dim] == nest.layer.bounds[dim] for dim in pair):
            continue
        for level, loops in zip(nest.target.memories, nest.spatial, strict=True):
            for axis in "xy":
                if {loop.dim for loop in loops if loop.spatial == axis}.issuperset(pair):
                    reason = (
                        f"{pair[0]} and {pair[1]} both along {axis}, one of them cut short; "
                        "allowed: one of the two there, or extents that divide their bounds"
                    )
                    raise MappingError(nest.layer.name, level.name, reason)


def compute_steps(nest: Nest) -> int:
    """Steps of all loops in time: those of the busiest instance."""
    return cut_tiles(nest, nest.mac_index, _none).visits()


def cut_traffic(
    nest: Nest, operand: Operand, first_fill: FirstFill
) -> dict[int, tuple[Traffic, Traffic]]:
    """Traffic of the busiest instance and of all of them together, by level index."""
    return {
        outer: (
            _traffic(nest, operand, (outer, inner), first_fill, everywhere=False),
            _traffic(nest, operand, (outer, inner), first_fill, everywhere=True),
        )
        for outer, inner in pairwise(nest.holders(operand))
    }


def average(total: Traffic, instances: int) -> Traffic:
    """Traffic of an average instance, rounded up to whole elements."""
    final = -(-total.final_updates // instances)
    partial = -(-(total.updates - total.final_updates) // instances)
    return Traffic(
        reads=-(-total.reads // instances),
        fills=-(-total.fills // instances),
        updates=partial + final,
        final_updates=final,
        tile=total.tile,
        holds_partial=total.holds_partial,
    )


def _none(level: int, loop: Loop) -> bool:
    return False


def _traffic(
    nest: Nest,
    operand: Operand,
    holders: tuple[int, int],
    first_fill: FirstFill,
    everywhere: bool,
) -> Traffic:
    """Traffic of the first instance of the outer of two holders, or of all of them together."""
    outer, inner = holders

    def served_apart(level: int, loop: Loop) -> bool:
        return everywhere if level < outer else loop.dim in RELEVANT[operand]

    served = _moved(nest, operand, inner, cut_tiles(nest, inner, served_apart))
    if operand is Operand.I:  # windows that meet along an axis are shared
        apart = [x.extent for x in nest.spatial_between(outer, inner) if x.dim in RELEVANT[operand]]
        served = served * distinct_receivers(nest, operand, outer, inner) // prod(apart)
    own = cut_tiles(nest, outer, lambda level, loop: everywhere)
    arriving = _moved(nest, operand, outer, own) if outer else 0
    tile = cut_tiles(nest, outer, _none).elements(operand, START)
    if operand is not Operand.O:
        return Traffic(served, arriving, 0, 0, tile, False)
    outside = nest.outer_loops(outer)
    distinct = own.distinct_outputs()
    skipped = distinct if first_fill is FirstFill.ELIDED else 0
    return Traffic(
        reads=served - distinct,
        fills=arriving - skipped if arriving else 0,
        updates=served,
        final_updates=0 if any(x.dim in REDUCTION and x.spatial for x in outside) else distinct,
        tile=tile,
        holds_partial=any(loop.dim in REDUCTION for loop in outside) or served > distinct,
    )


def _moved(nest: Nest, operand: Operand, level: int, tiles: CutTiles) -> int:
    """Elements that reach the tiles of ``level`` over the run, first tiles included."""
    if level == nest.mac_index:
        return tiles.visits()
    steps = tile_steps(nest.layer, operand, tiles.full, nest.outer_loops(level))
    return tiles.elements(operand, START) + sum(
        tiles.arriving(operand, step, moment) for moment, step in enumerate(reversed(steps))
    )
