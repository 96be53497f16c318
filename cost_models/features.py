"""Features of a mapping for the learned cost model, and the cheap estimate that it corrects.

The *cheap estimate* knows tile sizes, fan-outs and widths only: every step of the loops outside a
tile brings a whole tile, words and rows are full, no port is ever too slow. Features tell what it
leaves out, bit-aware and without the names of anything: under how many steps the loop order keeps a
tile, what slides, how full memories are, how narrow elements share words, how near a port is to its
limit, and the machine as seen from its MACs. Machines with any number of memories have vectors of
one length: an operand's way to the MACs has a first memory (``main``), a last (``inner``) and
perhaps some between (``middle``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.feature_kernel import COUNT, OVERLAP, SINGLES, describe_all
from qmc.errors import MappingError
from qmc.layer import Layer, LoopDim, Operand, Precision
from qmc.mapping import Mapping
from qmc.nest_arrays import build_problem
from qmc.nest_kernel import Ints, empty_nest
from qmc.targets.target import Target

#: Raise with every change of the list or of what a column means: older models are refused.
VERSION = 1
_PLACES = ("main", "middle", "inner")
_BY_PLACE = (
    "energy_share",  # of the cheap estimate
    "kept_steps",  # log2 of the steps right outside the next memory inward that keep its tile
    "spread",  # log2 of the instances that share one element
    "reuse",  # log2 of multiply-accumulates per word moved, by the cheap estimate
    "held",  # share of the memory's words that the tile takes; -1 where it is unlimited
    "per_word",  # log2 of the elements in a word
    "pressure",  # cycles of its port over those of the MACs, by the cheap estimate
)
_SINGLE = (
    "mac_share",
    "leakage_share",
    "instances",  # log2 of the MACs in use
    "array_use",  # log2 of multiply-accumulates per step and used MAC
    "fill_drain",  # first tiles over all tiles that come, in bits
    "unpack_W",  # elements taken out of shared words for each multiply-accumulate
    "unpack_I",
    "diagonal",  # log2 of the instances along both P and R, or Q and S
    "bits_W",
    "bits_I",
    "bits_O",
    "bits_psum",
    "mac_cycles",
    "stride_area",  # log2
    "filter_area",  # log2
    "groups",  # log2
    "macs",  # log2
    "inner_pj_W",  # log2 of the energy of a bit over that of a multiply-accumulate
    "inner_pj_I",
    "inner_pj_O",
    "inner_bits_W",  # log2 of the capacity
    "inner_bits_I",
    "inner_bits_O",
    "main_pj",
    "memories",
)
#: Names of the columns.
FEATURES = (
    *(f"{what}_{x}_{place}" for what in _BY_PLACE for x in Operand for place in _PLACES),
    *(f"{what}_{place}" for place in _PLACES for what in ("slide", "slide_steps")),
    *_SINGLE,
)
assert len(FEATURES) == COUNT
assert FEATURES[OVERLAP] == "slide_main"
assert FEATURES[SINGLES] == _SINGLE[0]

_DIMS = tuple(LoopDim)
_AXES = (None, "x", "y")


def describe_mappings(
    layer: Layer, precision: Precision, target: Target, mappings: Sequence[Mapping]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features and cheap estimates of legal mappings of one layer.

    Returns:
        (count, len(FEATURES)) features and (count, 2) energy in pJ and cycles; NaN where the tiles
        do not fit.
    """
    rows = np.full((len(mappings), COUNT), np.nan, np.float32)
    estimates = np.full((len(mappings), 2), np.nan)
    for index, mapping in enumerate(mappings):
        if mapping.is_cut(layer.bounds):
            reason = "extents that do not divide a bound have no features; allowed: perfect factors"
            raise MappingError(layer.name, "all levels", reason)
        problem = build_problem(layer, precision, target, mapping.keep, AnalyticalModel())
        factors, orders = mapping_arrays(target, mapping)
        nest = empty_nest(problem["bounds"])
        row, estimate = describe_all(problem, nest, factors[None], orders[None])
        rows[index], estimates[index] = row[0], estimate[0]
    return rows, estimates


def mapping_arrays(target: Target, mapping: Mapping) -> tuple[Ints, Ints]:
    """Factors (L, 3, 8) and orders (L, 8), innermost first, of a mapping."""
    levels = [memory.name for memory in target.memories]
    factors = np.ones((len(levels), 3, 8), np.int64)
    orders = np.zeros((len(levels), 8), np.int64)
    for level, name in enumerate(levels):
        looped: list[int] = []
        for loop in mapping.loops:
            if loop.level == name:
                dim = _DIMS.index(loop.dim)
                factors[level, _AXES.index(loop.spatial), dim] *= loop.extent
                if loop.spatial is None and dim not in looped:
                    looped.insert(0, dim)
        orders[level] = [*looped, *(dim for dim in range(8) if dim not in looped)]
    return factors, orders
