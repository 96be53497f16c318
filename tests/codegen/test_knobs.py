"""However a kernel is built, it computes the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmc.codegen.vector.candidates import block_sizes, candidate_knobs
from qmc.codegen.vector.knobs import MOST_PIXELS, NO_KNOBS, Knobs
from qmc.codegen.vector.sources import VectorLayer
from qmc.codegen.writer import Writer
from qmc.integer import IntegerNetwork
from qmc.targets import KernelFamily, load_target
from tests.codegen.networks import Builder
from tests.codegen.unity import family_of, first_difference

TARGETS = ("x86-avx512vnni", "x86-avx2")


def network(bits: int = 8) -> Builder:
    """Every form of kernel, none of them square, with remainders in all directions."""
    net = Builder((1, 5, 11, 13), 8, seed=bits)
    at = net.conv(net.input, 21, (3, 3), (bits, 8), pads=(1, 1, 1, 1))
    at = net.conv(at, 70, bits=(bits, 8))
    at = net.conv(at, 70, (3, 3), (bits, 8), groups=70, pads=(1, 0, 1, 2))
    at = net.conv(at, 36, (3, 1), (bits, 8), strides=(2, 1), pads=(1, 0, 0, 0))
    at = net.conv(at, 40, (1, 1), (bits, 8), groups=4)
    at = net.conv(at, 100, (2, 3), (bits, 8), strides=(2, 2))
    net.dense(net.reshape(at, (1, int(np.prod(net.tensors[at].shape)))), 67, (bits, 8))
    return net


def candidates(net: IntegerNetwork, index: int, family: KernelFamily) -> tuple[Knobs, ...]:
    return candidate_knobs(VectorLayer(net, net.layers[index], family, "l", Writer()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("bits", "draws"), [(8, 3), (3, 2)])
def test_drawn_knobs_equal_the_reference(
    target: str, bits: int, draws: int, tmp_path: Path
) -> None:
    family, net = family_of(target), network(bits)
    integer, random = net.network(), np.random.default_rng(bits)
    for draw in range(draws):
        knobs = {}
        for index, layer in enumerate(integer.layers):
            found = candidates(integer, index, family)
            knobs[layer.layer.name] = found[random.integers(len(found))]
        folder = tmp_path / str(draw)
        folder.mkdir()
        assert first_difference(integer, net.codes(), family, folder, knobs=knobs) is None, knobs


@pytest.mark.parametrize("target", TARGETS)
def test_candidates_are_distinct_and_begin_with_the_defaults(target: str) -> None:
    family = load_target(target).kernels
    assert family is not None
    integer = network().network()
    for index in range(len(integer.layers)):
        found = candidates(integer, index, family)
        assert found[0] == NO_KNOBS
        assert len(set(found)) == len(found)
    assert len(candidates(integer, 0, family)) > 20


def test_block_sizes_cut_a_line_in_different_numbers_of_blocks() -> None:
    family = load_target("x86-avx512vnni").kernels
    assert family is not None
    for vectors in (1, 2, 3, 4):
        sizes = block_sizes(family, vectors, 100)
        assert sizes[0] <= MOST_PIXELS
        assert all(vectors * size + vectors + 1 <= 32 for size in sizes)
        assert len({-(-100 // size) for size in sizes}) >= len(sizes) - 1
    assert block_sizes(family, 1, 3) == [3, 2, 1]
