"""The flat arrays of the search among loops that do not divide their dims.

Dims and operands are indexed as in :mod:`qmc.nest_records`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qmc.nest_bounds import MAX_STEPS
from qmc.nest_records import MAX_LEVELS

#: Most tile sizes of a dim; a dim that has more keeps to its divisors.
MAX_TILES = 1024

#: A mapping under construction; what is known of level l depends on the loops outside it only.
#: factors: temporal, x and y extents of the blocks of a level. inside: extents of the tiles that
#: each of these loops steps over. tile: extents of a full tile of a level. Fields of the same names
#: mean the same in :data:`qmc.nest_records.NEST`, but for:
#: loops: dim, extent and size of the tiles inside, of the loops in time.
#: arriving: elements that come to the first and to all instances of a level, by operand.
#: port_words: of the busiest instances.
CUT_NEST = np.dtype(
    [
        ("factors", np.int64, (MAX_LEVELS, 3, 8)),
        ("inside", np.int64, (MAX_LEVELS, 3, 8)),
        ("tile", np.int64, (MAX_LEVELS + 1, 8)),
        ("loops", np.int64, (8 * MAX_LEVELS + 1, 3)),
        ("loop_count", np.int64, (MAX_LEVELS + 1,)),
        ("instances", np.int64, (MAX_LEVELS + 1,)),
        ("arriving", np.int64, (MAX_LEVELS + 1, 3, 2)),
        ("energy", np.float64, (MAX_LEVELS + 1,)),
        ("port_words", np.int64, (MAX_LEVELS + 1, MAX_LEVELS, 2)),
        ("held_words", np.int64, (MAX_LEVELS + 1, MAX_LEVELS)),
    ],
    align=True,
)

#: Where the search stands. Fields as in :data:`qmc.branch_and_bound.STATE`, but for:
#: node: number of the tile size of every dim before a step.
#: found: whether a mapping better than the first best was found.
CUT_STATE = np.dtype(
    [
        ("depth", np.int64),
        ("choice", np.int64, (MAX_STEPS + 1,)),
        ("node", np.int64, (MAX_STEPS + 1, 8)),
        ("used", np.int64, (MAX_STEPS + 1,)),
        ("best", np.float64, (2,)),
        ("best_factors", np.int64, (MAX_LEVELS, 3, 8)),
        ("best_orders", np.int64, (MAX_LEVELS, 8)),
        ("order", np.int64, (MAX_LEVELS, 8)),
        ("most_cycles", np.float64),
        ("counts", np.int64, (7,)),
        ("found", np.int64),
    ],
    align=True,
)

#: One element of a structured array.
CutNest = Any
CutState = Any


def new_cut_nest(bounds: list[int]) -> CutNest:
    """A nest without loops."""
    nest = np.zeros(1, CUT_NEST)[0]
    for name in ("factors", "inside", "tile", "instances"):
        nest[name] = 1
    nest["tile"][0] = bounds
    return nest


def new_cut_state(nodes: list[int], most_cycles: float) -> CutState:
    """A search that has not begun; ``nodes`` are the numbers of the bounds among the sizes."""
    state = np.zeros(1, CUT_STATE)[0]
    state["choice"] = -1
    state["used"] = 1
    state["best"] = np.inf
    state["most_cycles"] = most_cycles
    state["order"] = np.arange(8)
    state["node"][0] = nodes
    return state
