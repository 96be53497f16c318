"""How extents are cut into blocks, beside all ways to cut them."""

from __future__ import annotations

import pytest

from qmc.codegen.vector.blocks import block_count, block_size, channel_blocks, vectors_of_blocks
from qmc.targets import load_target

EXTENTS = range(1, 60)


@pytest.mark.parametrize("extent", EXTENTS)
def test_size_of_blocks_is_the_cheapest(extent: int) -> None:
    for most in (1, 6, 12):
        for cost in (0.5, 4):
            size = block_size(extent, most, cost)
            assert 1 <= size <= min(extent, most)
            costs = [
                block_count(extent, one) * (one + cost) for one in range(1, min(extent, most) + 1)
            ]
            assert block_count(extent, size) * (size + cost) == min(costs)


@pytest.mark.parametrize("name", ["x86-avx512vnni", "x86-avx2", "armv8-dotprod"])
def test_fewer_vectors_compute_fewer_pixels_twice(name: str) -> None:
    """Blocks of fewer vectors than there may be never issue more products, and often fewer."""
    family = load_target(name).kernels
    assert family is not None

    def products(channels: int, extent: int, vectors: int) -> int:
        total = 0
        for block in channel_blocks(channels, family.lanes, vectors):
            size = block_size(extent, family.pixels[block.vectors - 1])
            total += block.repeat * block.vectors * block_count(extent, size) * size
        return total

    saved = 0
    for extent in EXTENTS:
        for channels in (16, 64, 96, 512):
            chosen = vectors_of_blocks(family, channels, extent)
            most = len(family.pixels)
            less = products(channels, extent, most) - products(channels, extent, chosen)
            assert less >= 0 if chosen < most else less == 0
            saved += less
    assert saved > 0


@pytest.mark.parametrize("name", ["x86-amx", "c99"])
def test_tiles_and_rows_keep_their_vectors(name: str) -> None:
    family = load_target(name).kernels
    assert family is not None
    most = len(family.pixels)
    assert {vectors_of_blocks(family, 512, extent) for extent in EXTENTS} == {most}
