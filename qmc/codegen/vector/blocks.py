"""Cutting extents into blocks of constant size."""

from __future__ import annotations

from dataclasses import dataclass

from qmc.targets import KernelFamily

#: Blocks of fewer vectors are narrowed to bytes at more cost: they must save something elsewhere.
_WORTH_IT = 0.9


@dataclass(frozen=True, slots=True)
class ChannelBlocks:
    """Equal blocks of output channels, one after another.

    Attributes:
        vectors: of sums in a block.
        first: channel of the first block.
        count: channels that a block stores.
        repeat: number of blocks.
    """

    vectors: int
    first: int
    count: int
    repeat: int


def channel_blocks(channels: int, lanes: int, most: int) -> tuple[ChannelBlocks, ...]:
    """Blocks of ``most`` vectors, then what remains."""
    full = channels // (most * lanes)
    rest = channels - full * most * lanes
    blocks = [ChannelBlocks(most, 0, most * lanes, full)] if full else []
    if rest:
        blocks.append(ChannelBlocks(-(-rest // lanes), full * most * lanes, rest, 1))
    return tuple(blocks)


def block_size(extent: int, most: int, cost: float = 0.5) -> int:
    """Size of the blocks that cover ``extent`` at least cost; the last may overlap the one before.

    Overlapping pixels are computed twice, to the same bytes: one size of block is enough.

    Args:
        extent: pixels.
        most: in a block.
        cost: of a block besides its pixels, in pixels: loop, constants, weights of a short block.
    """
    sizes = range(1, min(extent, most) + 1)
    return min(sizes, key=lambda size: (-(-extent // size) * (size + cost), -size))


def block_count(extent: int, size: int) -> int:
    """Number of blocks."""
    return -(-extent // size)


def block_start(index: str, extent: int, size: int) -> str:
    """C expression of where block ``index`` starts."""
    if extent % size == 0:
        return f"{index}*{size}"
    last = extent - size
    return f"({index}*{size} < {last} ? {index}*{size} : {last})"


def vectors_of_blocks(family: KernelFamily, channels: int, extent: int) -> int:
    """Vectors of output channels in the blocks of a matrix product: as many as a block may have.

    Fewer, and so more pixels, where that saves a tenth: four vectors by seven pixels of a line are
    two blocks of four, three vectors one of seven. Tiles and rows do not unroll their pixels.

    Args:
        family: the vector unit.
        channels: of the output.
        extent: pixels of a line.
    """
    most = len(family.pixels)
    if family.tile_bytes or family.panels != "quads":
        return most
    costs = {count: _block_costs(family, channels, extent, count) for count in range(1, most + 1)}
    best = min(costs, key=lambda count: (costs[count], -count))
    return best if costs[best] < _WORTH_IT * costs[most] else most


def _block_costs(family: KernelFamily, channels: int, extent: int, most: int) -> float:
    """Products of all blocks, and half a product for each pixel that is loaded."""
    total = 0.0
    for block in channel_blocks(channels, family.lanes, most):
        size = block_size(extent, family.pixels[block.vectors - 1], family.block_cost)
        products = (size + family.block_cost) * block.vectors
        total += block.repeat * block_count(extent, size) * (products + size / 2)
    return total
