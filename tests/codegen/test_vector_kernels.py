"""Kernels for vector units equal the reference bit for bit and read nothing beyond buffers."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmc.arithmetic import Rounding
from qmc.codegen import emit, make_program
from qmc.codegen.build import compile_folder, run_codes, write_files
from qmc.layer import Op
from qmc.reference import run_network
from tests.codegen.networks import Builder, every_format, every_op
from tests.codegen.unity import emulation_flags, family_of, first_difference

TARGETS = ("x86-avx512vnni", "x86-avx2", "c99", "x86-amx")
#: Channels around the widths of vectors and blocks.
CHANNELS = (1, 3, 4, 7, 8, 15, 16, 17, 24, 31, 32, 40, 47, 48, 63, 64, 65, 80, 100)

slow = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    family_of(request.param)
    return str(request.param)


def test_vector_number_formats_equal_reference(target: str, tmp_path: Path) -> None:
    """Layers whose weights are no integers keep the loops of their mapping."""
    net = every_format(5)
    assert first_difference(net.network(), net.codes(), family_of(target), tmp_path) is None


@st.composite
def networks(draw: Any) -> Builder:
    """Chains of convolutions of every kind, never square, with remainders in every direction."""
    size = (draw(st.integers(3, 9)), draw(st.integers(5, 14)))
    bits = draw(st.sampled_from((8, 8, 2, 5)))
    net = Builder((1, draw(st.sampled_from(CHANNELS)), *size), bits, draw(st.integers(0, 99)))
    at = net.input
    for _ in range(draw(st.integers(3, 6))):
        at = draw_layer(draw, net, at)
    return net


def draw_layer(draw: Any, net: Builder, source: str) -> str:
    _, channels, height, width = net.tensors[source].shape
    widths = (draw(st.integers(2, 8)), draw(st.sampled_from((8, 8, 8, 1, 3, 4, 7))))
    kind = draw(st.sampled_from(("pointwise", "depthwise", "window", "groups")))
    rounding = draw(st.sampled_from((Rounding.HALF_UP,) * 7 + (Rounding.FLOOR,)))
    if kind == "pointwise":
        return net.conv(source, draw(st.sampled_from(CHANNELS)), bits=widths, rounding=rounding)
    window = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilations = tuple(draw(st.sampled_from((1, 1, 1, 2))) for _ in range(2))
    reach = [(extent - 1) * step for extent, step in zip(window, dilations, strict=True)]
    pads = [draw(st.integers(0, reach[axis])) for axis in (0, 1, 0, 1)]
    for axis, extent in enumerate((height, width)):  # the window must fit
        pads[axis] = max(pads[axis], reach[axis] + 1 - extent - pads[axis + 2])
    strides = tuple(draw(st.sampled_from((1, 1, 2, 3))) for _ in range(2))
    if kind == "depthwise":
        outputs, groups = channels, channels
    elif kind == "groups" and channels % 4 == 0:
        outputs, groups = draw(st.sampled_from((8, 20, 40))), 4
    else:
        outputs, groups = draw(st.sampled_from(CHANNELS)), 1
    return net.conv(
        source,
        outputs,
        window,
        widths,
        groups,
        strides,
        dilations,
        tuple(pads),
        rounding,
    )


@slow
@given(networks())
def test_random_convolutions_equal_the_reference(target: str, net: Builder) -> None:
    with tempfile.TemporaryDirectory() as folder:
        difference = first_difference(net.network(), net.codes(), family_of(target), Path(folder))
    assert difference is None


def test_every_op_equals_the_reference(target: str, tmp_path: Path) -> None:
    net = every_op()
    assert first_difference(net.network(), net.codes(), family_of(target), tmp_path) is None


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_pair_of_widths_equals_the_reference(target: str, tmp_path: Path, bits: int) -> None:
    """One chain for each width of the activations, with all widths of weights in it."""
    if target != TARGETS[0] and bits % 4:
        pytest.skip("the packing is the same for all units; 4 and 8 bits stand for the others")
    net = Builder((1, 37, 5, 7), bits, seed=bits)
    at = net.input
    for weight_bits in range(1, 9):
        at = net.conv(at, 37, (3, 3), (weight_bits, bits), groups=37, pads=(1, 1, 1, 1))
        at = net.conv(at, 37, bits=(weight_bits, bits))
    net.dense(net.reshape(at, (1, 37 * 35)), 70, (3, 16))
    assert first_difference(net.network(), net.codes(), family_of(target), tmp_path) is None


@pytest.mark.parametrize("channels", [3, 32, 90])
def test_other_layers_equal_the_reference(target: str, tmp_path: Path, channels: int) -> None:
    net = Builder((1, channels, 9, 6), 8, seed=channels)
    a = net.conv(net.input, channels)
    b = net.add(net.input, a, shift=24)
    c = net.pool(b, Op.MAX_POOL, (3, 2), (2, 1), (1, 0, 1, 1))
    d = net.pool(b, Op.AVERAGE_POOL, (3, 2), (2, 1), (1, 0, 1, 1))
    e = net.lookup(net.concat((c, d)))
    f = net.pool(e, Op.AVERAGE_POOL, net.tensors[e].shape[2:])
    net.dense(net.reshape(f, (1, 2 * channels)), 11, (8, 16))
    assert first_difference(net.network(), net.codes(), family_of(target), tmp_path) is None


def test_common_layers_have_a_vector_form(target: str) -> None:
    """What falls back to plain loops is known: nothing here may silently do so."""
    family = family_of(target)
    net = every_op()
    a = net.conv(net.input, 5)
    net.add(net.input, a, bits=5, shift=24)
    plain = [
        kernel.integer.layer
        for kernel in make_program(net.network(), {}, family).kernels
        if family.header not in kernel.text
    ]
    assert {layer.op for layer in plain} == {Op.ADD, Op.MUL, Op.RESHAPE, Op.SLICE, Op.SOFTMAX}
    assert sum(layer.op is Op.ADD for layer in plain) == 1  # its factors exceed 24 bits


def test_layers_on_the_callers_buffers_read_nothing_beyond(target: str, tmp_path: Path) -> None:
    for channels in (5, 21, 33):
        for groups in (1, channels):
            net = Builder((1, channels, 3, 4), 8, seed=channels)
            net.conv(net.input, channels, groups=groups)
            folder = tmp_path / f"{channels}-{groups}"
            folder.mkdir()
            assert first_difference(net.network(), net.codes(), family_of(target), folder) is None


def test_program_refuses_a_processor_that_lacks_instructions(target: str, tmp_path: Path) -> None:
    family = family_of(target)
    if not family.cpu_flags:
        pytest.skip("these kernels run anywhere")
    if emulation_flags(family):
        pytest.skip("test_tiles.py has the program without the emulation")
    assert "__builtin_cpu_supports" in family.check
    net = Builder((1, 5, 3, 4), 8)
    net.conv(net.input, 6)
    statuses = []
    for name, check in (("here", family.check), ("elsewhere", "0")):
        folder = tmp_path / name
        write_files(emit(net.network(), {}, replace(family, check=check)), folder)
        program = compile_folder(folder, folder / "run", ("-O1",))
        done = subprocess.run(
            [program, "--bench", "1"], capture_output=True, text=True, check=False
        )
        statuses.append(done.returncode)
    assert statuses == [0, 3]
    (line,) = done.stderr.splitlines()
    assert "this processor lacks instructions" in line
    assert ", ".join(family.cpu_flags) in line


def test_sanitizers_find_nothing(target: str, tmp_path: Path) -> None:
    compiler = "clang" if target in ("x86-avx2", "c99") else "gcc"
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    net = every_op(3)
    network, codes = net.network(), net.codes(2)
    family = family_of(target)
    write_files(emit(network, {}, family), tmp_path)
    flags = (*flags, *emulation_flags(family))
    program = compile_folder(tmp_path, tmp_path / "run", flags, compiler)
    widths = [network.quantization[name].bits for name in (network.input, network.output)]
    shape = network.tensors[network.output].shape
    got = run_codes(program, codes, widths[0], widths[1], shape)
    assert np.array_equal(got, run_network(network, codes)[network.output])
