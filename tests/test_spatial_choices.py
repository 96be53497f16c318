"""Spreads over several fan-outs together."""

from __future__ import annotations

from itertools import product
from math import prod

from qmc.layer import Layer, LoopBounds, Op
from qmc.mapspace import map_space
from qmc.spatial_choices import spreads, together
from qmc.targets import load_target
from qmc.targets.unconstrained import unconstrained


def test_together_two_fan_outs_keeps_what_divides_the_bounds() -> None:
    layer = Layer("conv", Op.CONV, ("x",), "y", LoopBounds(K=12, C=6, P=7, Q=14))
    space = map_space(layer, unconstrained(load_target("simba")))
    levels = tuple(spreads(space, level) for level in range(len(space.target.memories)))
    expected = []
    for picked in product(*(range(len(found)) for found in levels)):
        ways = [found[at].factors.prod(axis=1) for found, at in zip(levels, picked, strict=True)]
        for chosen in product(*ways):
            extents = [prod(int(way[dim]) for way in chosen) for dim in range(8)]
            if all(b % e == 0 for b, e in zip(space.bounds, extents, strict=True)):
                expected.append(picked)
                break
    found = [tuple(row) for row in together(levels, space.bounds).tolist()]
    assert found == expected
    assert len(found) < prod(map(len, levels))
