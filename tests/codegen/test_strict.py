"""The emitted program under other compilers, optimizations, sanitizers and build tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from qmc.arithmetic import Rounding
from qmc.codegen import emit, golden_files
from qmc.codegen.build import (
    bench_program,
    compile_folder,
    find_compiler,
    run_command,
    run_program,
    write_files,
)
from qmc.errors import BuildError, CodegenError
from qmc.integer import IntegerNetwork
from qmc.mapping import Mapping
from qmc.packing import pack_activation, unpack_activation
from qmc.reference import run_network
from qmc.verify import verify_build
from tests.codegen.mappings import random_mapping
from tests.codegen.networks import Builder, every_op


def mapped_network() -> tuple[Builder, IntegerNetwork, dict[str, Mapping]]:
    """Every op; every other MAC layer with a random mapping."""
    builder = every_op(3)
    network = builder.network()
    rng = np.random.default_rng(5)
    mappings = {
        layer.layer.name: random_mapping(layer.layer, rng)
        for layer in network.layers[::2]
        if layer.layer.has_weights
    }
    return builder, network, mappings


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """An emitted folder, packed inputs and the outputs expected."""
    folder = tmp_path_factory.mktemp("emitted")
    builder, network, mappings = mapped_network()
    codes = builder.codes(3)
    write_files(emit(network, mappings) + golden_files(network, codes), folder)
    values = run_network(network, codes)

    def packed(name: str) -> bytes:
        bits = network.quantization[name].bits
        return b"".join(pack_activation(one[None], bits).tobytes() for one in values[name])

    return folder, packed(network.input), packed(network.output)


SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ("-O0",)),
        ("gcc", ("-O3", "-march=native")),
        ("gcc", SANITIZE),
        ("clang", ("-O2",)),
        ("clang", (*SANITIZE, "-DQMC_TRACE")),
        ("clang", (*SANITIZE, "-DQMC_COUNT")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_program_every_compiler_and_flag_gives_the_same_bytes(
    emitted: tuple[Path, bytes, bytes], tmp_path: Path, compiler: str, flags: tuple[str, ...]
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    folder, data, expected = emitted
    program = compile_folder(folder, tmp_path / "run", flags, compiler)
    assert run_program(program, data, tmp_path, 3) == expected


def test_verify_mapped_network_is_ok(emitted: tuple[Path, bytes, bytes]) -> None:
    assert verify_build(emitted[0]).ok


@pytest.mark.parametrize("tool", ["make", "cmake"])
def test_build_files_make_a_program_that_runs(
    emitted: tuple[Path, bytes, bytes], tmp_path: Path, tool: str
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    folder, data, expected = emitted
    work = tmp_path / "copy"
    shutil.copytree(folder, work)
    commands = {
        "make": [["make", "CFLAGS=-O1"]],
        "cmake": [
            ["cmake", "-S", ".", "-B", ".", "-DCMAKE_BUILD_TYPE=Debug"],
            ["cmake", "--build", "."],
        ],
    }
    for command in commands[tool]:
        run_command(command, work)
    assert run_program(work / "run", data, tmp_path, 3) == expected
    times = bench_program(work / "run", 4)
    assert times.shape == (4,)
    assert np.all(times >= 0)


def test_program_float_input_is_quantized_like_numpy(tmp_path: Path) -> None:
    net = Builder((1, 3, 5, 4), 6)
    net.lookup("input", 6)
    network = net.network()
    write_files(emit(network, {}), tmp_path)
    program = compile_folder(tmp_path, tmp_path / "run", ("-O1",))
    quant = network.quantization["input"]
    real = net.rng.uniform(-9, 9, (1, 3, 5, 4)).astype(np.float32)
    real[0, 0, 0] = np.float32([1e30, -1e30, 0.5 * quant.scale, -0.5 * quant.scale])
    expected = run_network(network, quant.quantize(real))[network.output]
    printed = run_program(program, real.tobytes(), tmp_path)
    codes = unpack_activation(np.frombuffer(printed, np.uint8), 6, (1, 3, 5, 4))
    np.testing.assert_array_equal(codes, expected)


def test_program_wrong_input_size_says_what_is_allowed(
    emitted: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    program = compile_folder(emitted[0], tmp_path / "run", ("-O0",))
    with pytest.raises(BuildError, match="status 1"):
        run_program(program, b"abc", tmp_path)
    done = subprocess.run(
        [program, tmp_path / "input.bin", tmp_path / "o"], capture_output=True, text=True
    )
    assert "3 bytes; allowed: 308 (packed) or 1540 (float32)" in done.stderr


def test_network_has_no_heap_no_stdio_and_no_globals_but_the_arena(
    emitted: tuple[Path, bytes, bytes],
) -> None:
    folder = emitted[0]
    for path in [*folder.glob("kernels/*.[ch]"), folder / "net.c", folder / "net.h"]:
        text = path.read_text()
        assert not re.search(r"\b(malloc|calloc|realloc|free|alloca)\b|stdio|stdlib|printf", text)
    statics = re.findall(r"^static .*", (folder / "net.c").read_text(), re.MULTILINE)
    assert len(statics) == 1
    assert re.fullmatch(r"static int32_t arena\[\d+\];", statics[0])


def test_emit_twice_gives_the_same_bytes() -> None:
    (_, a, mappings), (_, b, _) = mapped_network(), mapped_network()
    assert emit(a, mappings) == emit(b, mappings)


def test_find_compiler_missing_cc_raises_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BuildError, match=r"\$CC is 'no-such-compiler'"):
        find_compiler()


def test_find_compiler_none_installed_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="none of cc, gcc, clang"):
        find_compiler()


def test_compile_broken_source_raises_its_first_error(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "a.c").write_text("int main(void) { return x; }\n")
    with pytest.raises(BuildError, match=r"error: .*x"):
        compile_folder(tmp_path, tmp_path / "run")


def test_emit_mapping_that_misses_a_loop_raises() -> None:
    net = Builder((1, 4, 3, 5), 8)
    net.conv("input", 6, name="c1")
    with pytest.raises(CodegenError, match="loops of K multiply to 1; the layer has K=6"):
        emit(net.network(), {"c1": Mapping((), ())})


@pytest.mark.parametrize("rounding", list(Rounding))
def test_program_extreme_accumulators_equal_reference(tmp_path: Path, rounding: Rounding) -> None:
    net = Builder((1, 40, 2, 3), 8)
    net.conv("input", 7, bits=(8, 16), rounding=rounding)
    network = net.network()
    write_files(emit(network, {}), tmp_path)
    program = compile_folder(tmp_path, tmp_path / "run", ("-O1",))
    codes = np.stack([np.zeros((40, 2, 3)), np.full((40, 2, 3), 255)]).astype(np.int32)
    for one in codes:
        packed = pack_activation(one[None], 8).tobytes()
        expected = run_network(network, one[None])[network.output]
        printed = run_program(program, packed, tmp_path)
        assert printed == pack_activation(expected, 16).tobytes()


def test_network_objects_need_only_memcpy_and_memset(
    emitted: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    folder = emitted[0]
    sources = [folder / "net.c", folder / "weights.c", *sorted(folder.glob("kernels/*.c"))]
    library = tmp_path / "net.so"
    shared = ["-O1", "-fPIC", "-shared", "-nostdlib", "-fno-stack-protector"]
    run_command([find_compiler(), *shared, *map(str, sources), "-o", str(library)], folder)
    printed = run_command(["nm", "-D", "-u", str(library)], folder)
    assert {line.split()[-1].split("@")[0] for line in printed.splitlines()} <= {"memcpy", "memset"}
