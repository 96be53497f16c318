"""Cutting extents into blocks of constant size."""

from __future__ import annotations

from dataclasses import dataclass


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
