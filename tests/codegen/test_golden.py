"""Emitted C as text: a change of the printer shows in the difference of these files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qmc.codegen import make_program
from qmc.layer import LoopDim, Op, Operand
from qmc.mapping import Keep, Loop, Mapping
from tests.codegen.networks import Builder

Golden = Callable[[str, str], None]
KEEP = (
    Keep("memory", frozenset(Operand)),
    Keep("buffer", frozenset({Operand.I, Operand.O})),
    Keep("register", frozenset({Operand.W})),
)


def conv_4_bits() -> tuple[Builder, dict[str, Mapping]]:
    """A strided, padded convolution on a machine of three memories and 2 x 4 PEs."""
    net = Builder((1, 4, 7, 9), 8, seed=7)
    net.conv("input", 8, (3, 5), (4, 6), strides=(2, 1), pads=(0, 2, 1, 2), name="conv1")
    loops = (
        Loop(LoopDim.K, 2, "memory"),
        Loop(LoopDim.C, 2, "memory"),
        Loop(LoopDim.P, 3, "buffer"),
        Loop(LoopDim.K, 4, "buffer", "x"),
        Loop(LoopDim.C, 2, "buffer", "y"),
        Loop(LoopDim.R, 3, "register"),
        Loop(LoopDim.S, 5, "register"),
        Loop(LoopDim.Q, 9, "register"),
    )
    return net, {"conv1": Mapping(loops, KEEP)}


def depthwise_8_bits() -> tuple[Builder, dict[str, Mapping]]:
    """A depthwise convolution with its own natural nest."""
    net = Builder((1, 6, 5, 7), 8, seed=8)
    net.conv("input", 6, (3, 1), groups=6, pads=(1, 0, 1, 0), name="dw")
    return net, {}


def average_pool_3_bits() -> tuple[Builder, dict[str, Mapping]]:
    """A pool whose windows count different numbers of elements."""
    net = Builder((1, 5, 4, 3), 3, seed=9)
    net.pool("input", Op.AVERAGE_POOL, (2, 2), (2, 1), (0, 0, 0, 1), bits=3)
    return net, {}


@pytest.mark.parametrize("make", [conv_4_bits, depthwise_8_bits, average_pool_3_bits])
def test_kernel_text_is_as_reviewed(
    golden: Golden, make: Callable[[], tuple[Builder, dict[str, Mapping]]]
) -> None:
    net, mappings = make()
    kernel = make_program(net.network(), mappings).kernels[0]
    golden(f"codegen/{make.__name__}.c", kernel.text)
