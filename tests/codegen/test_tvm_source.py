"""The C of a region: clean C99 and C++, and particular about the tensors it is called with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm_ffi import libinfo

from qmc.codegen import make_program
from qmc.codegen.build import run_command
from qmc.codegen.tvm_source import print_tvm_source
from qmc.integer import IntegerNetwork
from qmc.targets import load_target
from tests.codegen.networks import every_format, every_op
from tests.tvm_run import reference

INCLUDES = [f"-I{path()}" for path in (libinfo.find_include_path, libinfo.find_dlpack_include_path)]
#: No warning at all, unused functions of headers aside, which every program has. GCC 12 warns of
#: its own AVX-512 header in C++ (GCC bug 105593).
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
HEADER_BUG = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]


def source_of(network: IntegerNetwork, target: str) -> str:
    program = make_program(network, {}, load_target(target).kernels)
    return print_tvm_source(program, "region_0")


def library(network: IntegerNetwork, target: str, folder: Path) -> Any:
    """The function of a region, compiled as TVM would."""
    (folder / "region.c").write_text(source_of(network, target), encoding="ascii")
    flags = ["-shared", "-fPIC", "-O1", *INCLUDES]
    run_command(["g++", *flags, "region.c", "-o", "region.so"], folder)
    return tvm.runtime.load_module(str(folder / "region.so"))["region_0"]


@pytest.mark.parametrize("target", ["eyeriss", "host"])
@pytest.mark.parametrize(
    "compiler", ["gcc -std=c99", "g++ -x c++", "clang -std=c99", "clang++ -x c++"]
)
def test_source_is_c_and_cpp_without_warnings(compiler: str, target: str, tmp_path: Path) -> None:
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    (tmp_path / "region.c").write_text(source_of(every_op().network(), target), encoding="ascii")
    flags = WARNINGS + (HEADER_BUG if command[0] == "g++" else [])
    run_command([*command, *flags, *INCLUDES, "-c", "region.c", "-o", "region.o"], tmp_path)


def noise(network: IntegerNetwork, seed: int) -> NDArray[np.float32]:
    """Numbers all over the input's range, and beyond it."""
    quant, shape = network.quantization[network.input], network.tensors[network.input].shape
    codes = np.random.default_rng(seed).uniform(-0.2, 1.2, shape) * quant.high - quant.zero_point
    return (codes * quant.scale).astype(np.float32)


@pytest.mark.parametrize("target", ["eyeriss", "host"])
def test_function_gives_the_numbers_of_the_reference(target: str, tmp_path: Path) -> None:
    network = every_op().network()
    function = library(network, target, tmp_path)
    for seed in range(3):
        data = noise(network, seed)
        output = tvm.runtime.empty(network.tensors[network.output].shape, "float32")
        function(tvm.runtime.tensor(data), output)
        np.testing.assert_array_equal(output.numpy(), reference(network, data))


def test_weights_in_number_formats_are_right(tmp_path: Path) -> None:
    network = every_format(2).network()
    function, data = library(network, "host", tmp_path), noise(network, 5)
    output = tvm.runtime.empty(network.tensors[network.output].shape, "float32")
    function(tvm.runtime.tensor(data), output)
    np.testing.assert_array_equal(output.numpy(), reference(network, data))


def test_tensor_of_another_kind_raises(tmp_path: Path) -> None:
    network = every_op().network()
    function = library(network, "eyeriss", tmp_path)
    shape, result = network.tensors[network.input].shape, network.tensors[network.output].shape
    good, output = np.zeros(shape, np.float32), tvm.runtime.empty(result, "float32")
    function(tvm.runtime.tensor(good.reshape(-1)), output)  # the same bytes
    wrong = [
        tvm.runtime.tensor(good.astype(np.float64)),
        tvm.runtime.tensor(good.astype(np.int32)),
        tvm.runtime.tensor(good[:, 1:]),
        3,
    ]
    for one in wrong:
        with pytest.raises(ValueError, match="two compact float32 tensors on the CPU"):
            function(one, output)
    for arguments in ((tvm.runtime.tensor(good),), (tvm.runtime.tensor(good), output, output)):
        with pytest.raises(ValueError, match="compact float32"):
            function(*arguments)
