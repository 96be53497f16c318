"""The flat arrays of the compiled code: a layer on a machine, and a mapping under construction.

Dims are indexed as in ``tuple(LoopDim)``, operands as in ``tuple(Operand)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

W, I, O = 0, 1, 2  # noqa: E741 - operands
N, G, K, C, P, Q, R, S = range(8)
WORDS, SINGLE, DENSE, PLANES = range(4)
READ, FILL, UPDATE = range(3)


#: Most memories of a machine.
MAX_LEVELS = 16
#: A row of loops for every dim of every memory, and one that is written before it is counted.
_MAX_LOOPS = 8 * MAX_LEVELS + 1
#: Columns of ``Nest.loops``.
DIM, EXTENT, REACH, OUTSIDE = range(4)

#: A layer at its widths on a machine. Fields:
#: levels: L, the number of memories; index L stands for the MACs.
#: bounds: loop bounds. relevant: whether a dim indexes an operand. reduction: whether it is summed.
#: window: stride and dilation of the height, stride and dilation of the width. slide: rows and
#: columns that I's box moves when a dim steps by one.
#: bits: of W, I, a finished O, a partial sum, as the layer has them.
#: stored_bits: the same as a memory stores them.
#: pack: how elements of each become words of a memory: ``pack[1]`` words for every ``pack[0]``
#: units begun, of which an element has ``pack[2]``. per_pack: just below 1 / ``pack[0]``; per_row:
#: just below 1 / row_words (:func:`qmc.nest_kernel.ceil_quotient`).
#: first_fill_counted: 1 when filling an accumulator with zeros is charged.
#: parent: nearest level outside that keeps the operand, -1 when the level itself does not; the MACs
#: keep everything. holder: the level itself or the nearest outside that keeps the operand.
#: depth: words, 0 is unlimited. clusters: groups of instances that share row accesses.
#: access_pj: energy of a row read, fill, update. leakage_pj: per cycle and used instance.
#: bandwidth: words per cycle read and written, inf is unlimited.
#: networks: number of levels with wires below them that cost energy. bus: whether those of a level
#: are buses; -1 where there are none. fan_out: instances along x, y below one of a level.
#: hop_pj: to move a bit one hop along x, y. receiver_pj: per bit and receiver; add_pj: to add two
#: outputs.
#: mac_pj: energy of all multiply-accumulates. mac_cycles: cycles of one on its unit.
#: element_pj, psum_pj: energy of one access of one element by operand and action, rows and words
#: being full and shared in clusters; of O at the narrower of its widths, and as partial sums.
PROBLEM = np.dtype(
    [
        ("levels", np.int64),
        ("bounds", np.int64, (8,)),
        ("relevant", np.int8, (3, 8)),
        ("reduction", np.int8, (8,)),
        ("window", np.int64, (4,)),
        ("slide", np.int64, (8, 2)),
        ("bits", np.int64, (4,)),
        ("first_fill_counted", np.int64),
        ("parent", np.int64, (MAX_LEVELS + 1, 3)),
        ("holder", np.int64, (MAX_LEVELS + 1, 3)),
        ("word_bits", np.int64, (MAX_LEVELS,)),
        ("row_words", np.int64, (MAX_LEVELS,)),
        ("depth", np.int64, (MAX_LEVELS,)),
        ("packing", np.int64, (MAX_LEVELS,)),
        ("stored_bits", np.int64, (MAX_LEVELS, 4)),
        ("pack", np.int64, (MAX_LEVELS, 4, 3)),
        ("per_pack", np.float64, (MAX_LEVELS, 4)),
        ("per_row", np.float64, (MAX_LEVELS,)),
        ("clusters", np.int64, (MAX_LEVELS,)),
        ("access_pj", np.float64, (MAX_LEVELS, 3)),
        ("leakage_pj", np.float64, (MAX_LEVELS + 1,)),
        ("bandwidth", np.float64, (MAX_LEVELS, 2)),
        ("networks", np.int64),
        ("bus", np.int64, (MAX_LEVELS,)),
        ("fan_out", np.int64, (MAX_LEVELS, 2)),
        ("hop_pj", np.float64, (MAX_LEVELS, 2)),
        ("receiver_pj", np.float64, (MAX_LEVELS,)),
        ("add_pj", np.float64, (MAX_LEVELS,)),
        ("mac_pj", np.float64),
        ("mac_cycles", np.float64),
        ("element_pj", np.float64, (MAX_LEVELS, 3, 3)),
        ("psum_pj", np.float64, (MAX_LEVELS, 3)),
    ],
    align=True,
)

#: A mapping under construction; what is known of level l depends on the loops outside it only.
#: factors: temporal, x and y factors of the blocks of a level. order: of its loops in time,
#: innermost first, where a whole mapping is priced. tile: extents of the tile it holds. inside: of
#: what its loops in time leave of it.
#: loops: loops in time, outermost first: dim, extent, extent of that dim inside it, product of the
#: extents outside it.
#: loop_count: rows of loops outside a level. steps: their product. instances: loops in space
#: outside. spread: of them, those right below a level that need different data at once, by operand.
#: outputs: different outputs that one instance of a level holds over the run. summed: whether loops
#: outside a level add up the same outputs, in time and in space.
#: served: elements exchanged between an instance of a level and its parent.
#: energy: of the memories whose inner traffic is known, pJ; port_words and held_words: words they
#: read and write, and words of the tiles they hold.
NEST = np.dtype(
    [
        ("factors", np.int64, (MAX_LEVELS, 3, 8)),
        ("order", np.int64, (MAX_LEVELS, 8)),
        ("tile", np.int64, (MAX_LEVELS + 1, 8)),
        ("inside", np.int64, (MAX_LEVELS, 8)),
        ("loops", np.int64, (_MAX_LOOPS, 4)),
        ("loop_count", np.int64, (MAX_LEVELS + 1,)),
        ("steps", np.int64, (MAX_LEVELS + 1,)),
        ("instances", np.int64, (MAX_LEVELS + 1,)),
        ("spread", np.int64, (MAX_LEVELS, 3)),
        ("outputs", np.int64, (MAX_LEVELS + 1,)),
        ("summed", np.int8, (MAX_LEVELS + 1, 2)),
        ("served", np.int64, (MAX_LEVELS + 1, 3)),
        ("energy", np.float64, (MAX_LEVELS + 1,)),
        ("port_words", np.int64, (MAX_LEVELS + 1, MAX_LEVELS, 2)),
        ("held_words", np.int64, (MAX_LEVELS + 1, MAX_LEVELS)),
    ],
    align=True,
)

#: One element of a structured array; the compiled code sees its fields by name.
Problem = Any
Nest = Any


def empty_nest(bounds: Ints) -> Nest:
    """A nest without loops."""
    nest = np.zeros(1, NEST)[0]
    for field in ("factors", "tile", "inside", "loops", "steps", "instances", "spread"):
        nest[field] = 1
    nest["tile"][0] = bounds
    nest["outputs"][0] = np.prod([bounds[dim] for dim in (N, G, K, P, Q)])
    return nest
