"""The smallest published example of the mixed-precision Timeloop fork, from its printed results.

Source: honzastor/accelergy-timeloop-infrastructure-quantization-feature commit 9523ce7 (MIT),
quantization-exercises, simple_2d_conv: one channel, 6 x 6 input, 3 x 3 filter, one buffer of 64
words of 8 bits at 0.42018 pJ per access, MACs at 0.5608 pJ.
"""

from __future__ import annotations

import pytest

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import Packing
from tests.cost_models.machines import machine, memory

LAYER = Layer("simple", Op.CONV, ("x",), "y", LoopBounds(P=4, Q=4, R=3, S=3))
BUFFER = memory(
    "buffer",
    word_bits=8,
    depth_words=64,
    packing=Packing.WORDS,
    read_pj=0.42018,
    fill_pj=0.42018,
    update_pj=0.42018,
)
NEST = tuple(
    Loop(dim, LAYER.bounds[dim], "buffer") for dim in (LoopDim.R, LoopDim.S, LoopDim.Q, LoopDim.P)
)


@pytest.mark.parametrize(
    ("bits", "weights", "inputs", "outputs", "energy_pj"),
    [
        ((8, 8, 8), (9, 144), (36, 144), (16, 128, 144), 316.07),
        ((4, 4, 4), (5, 72), (18, 72), (8, 64, 72), 198.40),
        ((3, 8, 8), (5, 72), (36, 144), (16, 128, 144), 285.81),
    ],
)
def test_published_words_and_energy_are_reproduced(
    bits: tuple[int, int, int],
    weights: tuple[int, int],
    inputs: tuple[int, int],
    outputs: tuple[int, int, int],
    energy_pj: float,
) -> None:
    cost = AnalyticalModel(psum=PsumRule.OUTPUT).evaluate(
        LAYER,
        Precision(*bits),
        machine(BUFFER, mac_pj=0.5608),
        Mapping(NEST, (Keep("buffer", frozenset(Operand)),)),
    )
    w, i, o = (cost.accesses["buffer"][operand] for operand in Operand)
    assert (w.utilized_words, w.reads) == weights
    assert (i.utilized_words, i.reads) == inputs
    assert (o.utilized_words, o.reads, o.updates) == outputs
    # The results print energies per operand and access with two decimals.
    assert cost.energy_pj == pytest.approx(energy_pj, abs=0.02)
    assert cost.cycles == 144
