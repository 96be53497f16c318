"""Programs for other machines, run under qemu: the reference's bits, sizes, instructions."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmc.calibrate import calibrate
from qmc.codegen import emit, golden_files, make_program, print_program
from qmc.codegen.build import write_files
from qmc.codegen.cfile import CFile
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.quantize import quantize
from qmc.targets import KernelFamily, load_target
from qmc.verify import MachineFigures, verify_build
from qmc.widths import parse_widths
from tests.codegen.networks import Builder, every_format, every_op

TARGETS = ("armv8-dotprod", "armv8-neon", "cortex-m4", "cortex-m0", "riscv64-v", "riscv32")
NETWORKS = ("resnet8_cifar10", "dscnn_kws", "mobilenetv1_025_vww")


@pytest.fixture(params=TARGETS)
def family(request: pytest.FixtureRequest) -> KernelFamily:
    """Its compiler and emulator are installed, or the test is skipped; .ci/run allows no skip."""
    found = load_target(request.param).kernels
    assert found is not None
    assert found.toolchain is not None
    missing = found.toolchain.missing()
    if missing:
        assert not os.environ.get("QMC_REQUIRE_CROSS"), missing
        pytest.skip(missing)
    return found


def check(
    network: IntegerNetwork, codes: np.ndarray, family: KernelFamily, folder: Path
) -> MachineFigures:
    """Verify under qemu; the arena of the report is all the RAM of the linked network."""
    program = make_program(network, {}, family)
    write_files(print_program(program), folder)
    write_files(golden_files(network, codes), folder)
    result = verify_build(folder)
    assert result.ok, result.first_difference
    assert result.machine is not None
    assert result.machine.sizes.ram == -(-program.ram_peak_bytes // 4) * 4
    assert program.flash_bytes * 0.99 <= result.machine.sizes.constants  # unused ones are left out
    return result.machine


def check_small(net: Builder, family: KernelFamily, folder: Path) -> None:
    """The same, compiled quickly: one file with all kernels, little optimization."""
    assert family.toolchain is not None
    quick = replace(family, toolchain=replace(family.toolchain, optimize="-O1"))
    network = net.network()
    files = {file.name: file for file in emit(network, {}, quick)}
    kernels = [name for name in files if name.startswith("kernels/") and name.endswith(".c")]
    text = b"".join(files.pop(name).content for name in kernels)
    write_files([*files.values(), CFile("kernels/all.c", text)], folder)
    write_files(golden_files(network, net.codes()), folder)
    result = verify_build(folder)
    assert result.ok, result.first_difference


@pytest.mark.parametrize("name", NETWORKS)
def test_network_under_qemu_equals_the_reference(
    family: KernelFamily, shared: Path, tmp_path: Path, name: str
) -> None:
    _, network = load_network(shared / "data" / "models" / f"{name}.onnx")
    rng = np.random.default_rng(5)
    shape = network.tensors[network.input].shape[1:]
    inputs = rng.uniform(-1, 1, (2, *shape)).astype(np.float32)
    integer = quantize(network, calibrate(network, [inputs], parse_widths("w8a8", network)))
    high = integer.quantization[integer.input].high
    codes = rng.integers(0, high + 1, (1, *shape)).astype(np.int32)
    machine = check(integer, codes, family, tmp_path)
    assert machine.instructions is not None
    assert all(machine.instructions)
    assert 1000 < machine.sizes.code < 200_000


def test_every_op_under_qemu_equals_the_reference(family: KernelFamily, tmp_path: Path) -> None:
    net = every_op(2)
    check_small(net, family, tmp_path)


def test_number_formats_under_qemu_equal_the_reference(
    family: KernelFamily, tmp_path: Path
) -> None:
    net = every_format(3)
    check_small(net, family, tmp_path)


def test_pairs_of_widths_under_qemu_equal_the_reference(
    family: KernelFamily, tmp_path: Path
) -> None:
    """Every width of weights with every one of inputs; depthwise every ninth."""
    net = Builder((1, 13, 3, 5), 8, seed=1)
    at = net.input
    for index in range(65):
        widths = (index % 8 + 1, (index + 1) // 8 % 8 + 1)
        if index % 9 == 8:
            at = net.conv(at, 13, (3, 2), widths, groups=13, pads=(1, 0, 1, 1))
        at = net.conv(at, 13, (1, 1), widths)
    check_small(net, family, tmp_path)


def test_awkward_convolutions_under_qemu_equal_the_reference(
    family: KernelFamily, tmp_path: Path
) -> None:
    net = Builder((1, 5, 13, 11), 8, seed=4)
    at = net.conv(net.input, 37, (3, 5), (8, 8), strides=(2, 1), pads=(0, 2, 1, 2))
    at = net.conv(at, 37, (5, 5), (7, 8), groups=37, strides=(1, 2), pads=(2, 1, 2, 3))
    at = net.conv(at, 64, (2, 3), (8, 8), dilations=(1, 2), pads=(1, 0, 0, 1))
    at = net.conv(at, 64, (1, 3), (8, 8), groups=4, strides=(2, 1), pads=(0, 2, 0, 2))
    at = net.conv(at, 64, (6, 3), (8, 8), groups=64, pads=(2, 1, 3, 1), dilations=(1, 2))
    shape = net.tensors[at].shape
    net.dense(net.reshape(at, (1, shape[1] * shape[2] * shape[3])), 10, (8, 16))
    check_small(net, family, tmp_path)


def test_folder_without_toolchain_is_built_as_here(tmp_path: Path) -> None:
    net = Builder((1, 3, 4, 5), 8)
    net.conv(net.input, 4)
    write_files(emit(net.network(), {}, load_target("c99").kernels), tmp_path)
    assert not (tmp_path / "toolchain.json").exists()
    assert "CC = cc" in (tmp_path / "Makefile").read_text(encoding="ascii")
