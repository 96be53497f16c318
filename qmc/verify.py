"""Rebuild an emitted folder and compare every layer with its golden vectors, bit for bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmc.codegen.build import compile_folder, map_of, run_command, run_program
from qmc.codegen.instructions import counting_environment, read_counts
from qmc.codegen.linker_map import Sizes, read_sizes
from qmc.codegen.toolchain_file import TOOLCHAIN_FILE, load_toolchain
from qmc.golden_index import golden_vector, load_index, vector_size

if TYPE_CHECKING:
    from rich.console import Console

#: Verification looks for wrong bits, not speed: little optimization compiles fastest.
_TRACE = "-DQMC_TRACE"
_FLAGS = ("-O1", _TRACE)


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """What a program for another machine takes, as its toolchain builds it.

    Attributes:
        compiler: and its flags.
        sizes: of the network, from the linker's map.
        instructions: of each layer for one input, as qemu counts them; None where it cannot.
    """

    compiler: str
    sizes: Sizes
    instructions: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a check found.

    Attributes:
        ok: everything is equal.
        cases: inputs that were run.
        layers: layers of the network.
        bytes_compared: over all inputs and layers.
        first_difference: case, layer and byte of the first difference; None when ok.
        machine: sizes and instructions on a machine that is not this computer.
        variants: those that ran, where the program has several.
    """

    ok: bool
    cases: int
    layers: int
    bytes_compared: int
    first_difference: str | None = None
    machine: MachineFigures | None = None
    variants: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """As a JSON object."""
        data = asdict(self)
        if self.machine is None:
            del data["machine"]
        if not self.variants:
            del data["variants"]
        return data


def verify_build(folder: Path, compiler: str | None = None) -> VerifyResult:
    """Compile ``folder`` with warnings as errors and run its golden inputs.

    Args:
        folder: written by ``qmc compile``; it is not changed.
        compiler: path or name of a C compiler; None finds one.

    Raises:
        DataError: the folder or its golden vectors are missing or damaged.
        BuildError: the C does not compile, or its program fails.
    """
    index = load_index(folder)
    with tempfile.TemporaryDirectory(prefix="qmc-verify-") as name:
        work = Path(name)
        program = traced_program(folder, work, compiler)
        chain = None if compiler else load_toolchain(folder)
        if chain is None:
            return _compare_variants(folder, index, program, work)
        environment = counting_environment(_network_name(folder), work) if chain.runner else {}
        result = _compare(folder, index, program, work, environment)
        command = " ".join((Path(chain.compiler()).name, chain.optimize, *chain.flags))
        counts = read_counts(work, len(index["layers"]))
        figures = MachineFigures(command, read_sizes(map_of(program)), counts)
        return replace(result, machine=figures)


def _compare_variants(
    folder: Path, index: dict[str, Any], program: Path, work: Path
) -> VerifyResult:
    """Every variant of the program that this computer runs; the first difference ends it."""
    if not _has_variants(folder):
        return _compare(folder, index, program, work)
    names = run_command([str(program.resolve()), "--variants"], work).split()
    compared = 0
    for name in names:
        result = _compare(folder, index, program, work, {"QMC_VARIANT": name})
        compared += result.bytes_compared
        if not result.ok:
            difference = f"{name}: {result.first_difference}"
            return replace(result, first_difference=difference, variants=(name,))
    return replace(result, bytes_compared=compared, variants=tuple(names))


def _has_variants(folder: Path) -> bool:
    name = _network_name(folder)
    header = (folder / f"{name}.h").read_text(encoding="ascii")
    return f"#define {name.upper()}_VARIANTS" in header


def _network_name(folder: Path) -> str:
    """The prefix of an emitted network's C names: the header beside ``count.h``."""
    return next(path.stem for path in sorted(folder.glob("*.h")) if path.name != "count.h")


def traced_program(folder: Path, work: Path, compiler: str | None = None) -> Path:
    """Compile ``folder`` in ``work``: a program that also writes every layer's output."""
    _copy_sources(folder, work)
    chain = None if compiler else load_toolchain(folder)
    flags = (chain.optimize, _TRACE) if chain else _FLAGS
    return compile_folder(work, work / "run", flags, compiler, together=8)


def layer_traces(
    folder: Path,
    index: dict[str, Any],
    program: Path,
    work: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[bytes]]:
    """For each golden input the packed output of every layer; short where the program is wrong."""
    for case in range(index["cases"]):
        data = golden_vector(folder, case, index["input"])
        run_program(program, data, work, environment=environment)
        trace = (work / "output.bin.trace").read_bytes()
        outputs = []
        for layer in index["layers"]:
            size = vector_size(layer)
            outputs.append(trace[:size])
            trace = trace[size:]
        if trace:  # more than the layers hold: the last one shows it
            outputs[-1] += trace
        yield outputs


def print_result(data: dict[str, Any], console: Console) -> None:
    """Print a result for people."""
    if data["ok"]:
        console.print(
            f"verified: {data['layers']} layers x {data['cases']} inputs equal the reference, "
            f"{data['bytes_compared']} bytes compared"
        )
    else:
        console.print(f"NOT verified: {data['first_difference']}", markup=False, style="bold red")


def _copy_sources(folder: Path, work: Path) -> None:
    (work / "kernels").mkdir()
    others = [path for path in folder.glob("*.ld")] + [folder / TOOLCHAIN_FILE]
    sources = [*folder.glob("*.[ch]"), *(folder / "kernels").glob("*.[ch]"), *others]
    for path in sorted(path for path in sources if path.is_file()):
        shutil.copyfile(path, work / path.relative_to(folder))


def _compare(
    folder: Path,
    index: dict[str, Any],
    program: Path,
    work: Path,
    environment: Mapping[str, str] | None = None,
) -> VerifyResult:
    layers, compared = index["layers"], 0
    for case, trace in enumerate(layer_traces(folder, index, program, work, environment)):
        size, sizes = sum(map(len, trace)), sum(vector_size(layer) for layer in layers)
        if size != sizes:
            difference = f"case {case}: layers hold {size} bytes, {sizes} expected"
            return VerifyResult(False, case, len(layers), compared, difference)
        for i, (layer, got) in enumerate(zip(layers, trace, strict=True)):
            expected = golden_vector(folder, case, layer)
            compared += len(expected)
            if got != expected:
                difference = f"case {case}: layer {i} '{layer['name']}' {_where(got, expected)}"
                return VerifyResult(False, case, len(layers), compared, difference)
        if (work / "output.bin").read_bytes() != golden_vector(folder, case, layers[-1]):
            difference = f"case {case}: the output file differs from the last layer"
            return VerifyResult(False, case, len(layers), compared, difference)
    return VerifyResult(True, index["cases"], len(layers), compared)


def _where(got: bytes, expected: bytes) -> str:
    byte = next(i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b)
    return f"differs first at byte {byte}: got {got[byte]}, expected {expected[byte]}"
