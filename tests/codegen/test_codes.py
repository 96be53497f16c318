"""One pixel and weights of 4, 2 and 1 bits that are unpacked in registers."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmc.arithmetic import Rounding
from qmc.codegen import make_program
from qmc.codegen.vector.knobs import Knobs, Unpack
from tests.codegen.networks import Builder
from tests.codegen.unity import family_of, first_difference

TARGETS = ("x86-avx512vnni", "x86-avx2", "x86-amx")
CALL = "qmc_matrix_of_codes"


def chain(bits: int) -> Builder:
    """Dense layers of every number of vectors, with remainders; one rounds down (raw sums)."""
    net = Builder((1, 53, 1, 1), 8, seed=bits)
    at = net.conv(net.input, 64, bits=(bits, 8))
    for channels in (17, 32, 96, 33, 130, 8):
        rounding = Rounding.FLOOR if channels == 96 else Rounding.HALF_UP
        at = net.conv(at, channels, bits=(bits, 8), rounding=rounding)
    net.dense(at, 40, (bits, 16))
    return net


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("target", TARGETS)
def test_every_width_equals_the_reference(target: str, bits: int, tmp_path: Path) -> None:
    net, family = chain(bits), family_of(target)
    network = net.network()
    knobs = {layer.layer.name: Knobs(prefetch_kib=4) for layer in network.layers}
    assert first_difference(network, net.codes(), family, tmp_path, knobs=knobs) is None
    kernels = make_program(network, {}, family).kernels
    for kernel in kernels:
        quads = -(-kernel.integer.layer.bounds.C // 4)
        assert (CALL in kernel.text) == (quads % (8 // bits) == 0), kernel.integer.layer
    assert any(CALL in kernel.text for kernel in kernels)


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_other_widths_are_unpacked_to_memory(bits: int) -> None:
    net = chain(bits)
    for kernel in make_program(net.network(), {}, family_of(TARGETS[0])).kernels:
        assert CALL not in kernel.text


def test_it_is_a_choice_for_tuning() -> None:
    net, family = chain(4), family_of(TARGETS[0])
    network = net.network()
    knobs = {layer.layer.name: Knobs(unpack=Unpack.EACH) for layer in network.layers}
    for kernel in make_program(network, {}, family, knobs).kernels:
        assert CALL not in kernel.text


def test_images_of_several_pixels_unpack_once(tmp_path: Path) -> None:
    net = Builder((1, 64, 1, 2), 8)
    net.conv(net.input, 64, bits=(4, 8))
    family = family_of(TARGETS[0])
    (kernel,) = make_program(net.network(), {}, family).kernels
    assert CALL not in kernel.text
    assert "qmc_unpack_planes" in kernel.text
    assert first_difference(net.network(), net.codes(), family, tmp_path) is None
