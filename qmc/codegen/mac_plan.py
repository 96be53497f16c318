"""Where the operands of a CONV or DENSE kernel lie in scratch memory, and which loop is innermost.

The temporal loops are the mapping's, in its order. What the array does in one step (the spatial
loops of all levels) runs innermost. The layouts of the scratch tiles are free, so each loop gets
the strides that make the innermost loop walk through memory one element at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from qmc.codegen.input_tile import InputTile, plan_input
from qmc.codegen.nest import Nest, NestLoop
from qmc.integer import IntegerLayer
from qmc.layer import REDUCTION, RELEVANT, LoopDim, Operand
from qmc.network import Tensor

#: Bytes of the unpacked weight tile: it should stay in a first-level cache.
WEIGHT_TILE_LIMIT = 32 * 1024
#: Reduction loops up to this many steps are left to the compiler to unroll inside the vector loop.
_UNROLLED = 8
#: How well a dim suits the innermost loop: whole vectors of outputs, or a sum across a vector.
_VECTOR_WORTH = {LoopDim.K: 1.0, LoopDim.G: 1.0, LoopDim.C: 0.6}
_LANES = 16


@dataclass(frozen=True, slots=True)
class MacPlan:
    """Layout of one kernel.

    Attributes:
        nest: the loops.
        cut: temporal loops before this one step over output tiles; the rest, with the spatial
            loops, accumulate into one tile.
        fetch: temporal loops before this one step over weight tiles.
        outer, vector, inner: the spatial loops in printing order.
        acc, w: strides of the loops by variable, in elements; ``w`` inside a weight tile.
        weight_tile: strides of the loops by variable, in weight tiles.
        weight_order: all loops that index W, in the order of the packed array.
        input: the input tile.
        acc_count, weight_count: elements of an output tile and of a weight tile.
        unpack_weights: whether weight tiles are unpacked to scratch (else read in place).
    """

    nest: Nest
    cut: int
    fetch: int
    outer: tuple[NestLoop, ...]
    vector: tuple[NestLoop, ...]
    inner: tuple[NestLoop, ...]
    acc: dict[str, int]
    w: dict[str, int]
    weight_tile: dict[str, int]
    weight_order: tuple[NestLoop, ...]
    input: InputTile
    acc_count: int
    weight_count: int
    unpack_weights: bool


def plan_mac(integer: IntegerLayer, nest: Nest, source: Tensor) -> MacPlan:
    """Choose the layouts of ``integer``'s kernel.

    Args:
        integer: the layer.
        nest: its loops.
        source: its input tensor.
    """
    outer, vector, inner = _order_spatial(nest.spatial)
    body = outer + inner + vector
    cut = _first_reduction(nest.temporal)
    unpack = integer.weight_bits != 8 or integer.weight_format is not None
    fetch = _fetch_depth(nest) if unpack else 0
    weight_order = _of(Operand.W, nest.temporal + body)
    in_tile = _of(Operand.W, nest.temporal[fetch:] + body)
    tiles = _of(Operand.W, nest.temporal[:fetch])
    acc_loops = _of(Operand.O, nest.temporal[cut:] + body)
    return MacPlan(
        nest=nest,
        cut=cut,
        fetch=fetch,
        outer=outer,
        vector=vector,
        inner=inner,
        acc=_dense_strides(acc_loops),
        w=_dense_strides(in_tile),
        weight_tile=_dense_strides(tiles),
        weight_order=weight_order,
        input=plan_input(integer, nest, body, vector, source),
        acc_count=_count(acc_loops),
        weight_count=_count(in_tile),
        unpack_weights=unpack,
    )


def _of(operand: Operand, loops: tuple[NestLoop, ...]) -> tuple[NestLoop, ...]:
    return tuple(loop for loop in loops if loop.dim in RELEVANT[operand])


def _count(loops: tuple[NestLoop, ...]) -> int:
    return prod(loop.extent for loop in loops)


def _dense_strides(loops: tuple[NestLoop, ...]) -> dict[str, int]:
    """Strides of a dense array whose axes are ``loops``, the last one contiguous."""
    strides: dict[str, int] = {}
    stride = 1
    for loop in reversed(loops):
        strides[loop.index] = stride
        stride *= loop.extent
    return strides


def _first_reduction(temporal: tuple[NestLoop, ...]) -> int:
    return next((i for i, loop in enumerate(temporal) if loop.dim in REDUCTION), len(temporal))


def _fetch_depth(nest: Nest) -> int:
    """Outermost place at which the weights used inside fit the tile: least unpacking."""
    for depth in range(len(nest.temporal)):
        if _count(_of(Operand.W, nest.temporal[depth:] + nest.spatial)) <= WEIGHT_TILE_LIMIT:
            return depth
    return len(nest.temporal)


def _order_spatial(
    spatial: tuple[NestLoop, ...],
) -> tuple[tuple[NestLoop, ...], tuple[NestLoop, ...], tuple[NestLoop, ...]]:
    """Split the spatial loops: outside, the vector loop, and short sums inside it."""
    vector = _of_dim(spatial, _vector_dim(spatial))
    rest = tuple(loop for loop in spatial if loop not in vector)
    sums = tuple(loop for loop in rest if loop.dim in REDUCTION)
    is_sum = bool(vector) and vector[0].dim in REDUCTION
    inner = () if is_sum or _count(sums) > _UNROLLED else sums
    return tuple(loop for loop in rest if loop not in inner), vector, inner


def _vector_dim(spatial: tuple[NestLoop, ...]) -> LoopDim:
    def worth(dim: LoopDim) -> float:
        return min(_count(_of_dim(spatial, dim)), _LANES) * _VECTOR_WORTH[dim]

    return max(_VECTOR_WORTH, key=worth)


def _of_dim(loops: tuple[NestLoop, ...], dim: LoopDim) -> tuple[NestLoop, ...]:
    return tuple(loop for loop in loops if loop.dim is dim)
