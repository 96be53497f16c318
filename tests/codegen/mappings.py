"""Random legal mappings for tests of the printer; no machine stands behind them."""

from __future__ import annotations

import numpy as np

from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping

LEVELS = ("dram", "buffer", "array", "register")


def random_mapping(layer: Layer, rng: np.random.Generator) -> Mapping:
    """Every prime factor of every bound goes to a random level, in time or in space."""
    blocks: dict[tuple[str, str | None], dict[LoopDim, int]] = {}
    for dim in LoopDim:
        for factor in prime_factors(layer.bounds[dim]):
            level = LEVELS[rng.integers(len(LEVELS))]
            axis = (None, None, "x", "y")[rng.integers(4)]
            block = blocks.setdefault((level, axis), {})
            block[dim] = block.get(dim, 1) * factor
    loops = []
    for level in LEVELS:
        for axis in (None, "x", "y"):
            entries = list(blocks.get((level, axis), {}).items())
            order = rng.permutation(len(entries))
            loops += [Loop(*entries[i], level, axis) for i in order]
    keep = [Keep(LEVELS[0], frozenset(Operand))]
    for level in LEVELS[1:]:
        kept = frozenset(operand for operand in Operand if rng.integers(2))
        keep.append(Keep(level, kept))
    return Mapping(tuple(loops), tuple(keep))


def random_cut_mapping(layer: Layer, rng: np.random.Generator) -> Mapping:
    """Loops of any extents, inside out; the last tiles of their dims are short."""
    keep = random_mapping(layer, rng).keep
    left = {dim: layer.bounds[dim] for dim in LoopDim}
    loops = []
    for level in reversed(LEVELS):
        for axis in ("y", "x", None):
            for i in rng.permutation(len(LoopDim)):
                dim = list(LoopDim)[i]
                extent = min(int(rng.integers(1, 5)), left[dim])
                if extent > 1 and rng.integers(3) == 0:
                    loops.append(Loop(dim, extent, level, axis))
                    left[dim] = -(-left[dim] // extent)
    rest = [Loop(dim, extent, LEVELS[0]) for dim, extent in left.items() if extent > 1]
    return Mapping((*rest, *reversed(loops)), keep)


def prime_factors(number: int) -> list[int]:
    """With repetition, ascending."""
    factors = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
