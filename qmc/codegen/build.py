"""Compile an emitted folder with the C compiler of this computer, and run the program."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.cfile import CFile
from qmc.codegen.linker_map import OBJECTS
from qmc.codegen.toolchain_file import load_toolchain
from qmc.errors import BuildError, OutputError
from qmc.packing import pack_activation, storage_bytes, unpack_activation

#: Dialect and warnings that every emitted file must pass.
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 600


def find_compiler() -> str:
    """Path of ``$CC`` or else of the first of cc, gcc, clang.

    Raises:
        BuildError: there is none.
    """
    wanted = os.environ.get("CC", "")
    for name in (wanted,) if wanted else _COMPILERS:
        path = shutil.which(name)
        if path:
            return path
    if wanted:
        raise BuildError(
            f"C compiler: $CC is '{wanted}', which is not found; allowed: a C99 compiler"
        )
    raise BuildError(
        f"C compiler: none of {', '.join(_COMPILERS)} found; install one or set $CC to its path"
    )


def write_files(files: Iterable[CFile], folder: Path) -> None:
    """Write emitted files below ``folder``.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        for file in files:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write: {error.strerror}; choose another folder"
        ) from error


def compile_folder(
    folder: Path,
    program: Path,
    flags: Sequence[str] = ("-O3",),
    compiler: str | None = None,
    jobs: int | None = None,
    together: int = 1,
) -> Path:
    """Compile all C files of an emitted folder into ``program``.

    Args:
        folder: where :func:`write_files` put them; nothing is written there but ``program``.
        program: path of the executable.
        flags: optimization, sanitizers, ``-DQMC_TRACE`` and the like.
        compiler: path or name; None takes that of the folder's toolchain, or finds one.
        jobs: compilers to run side by side; None takes one for each core.
        together: kernels that one compiler reads at once, where they include the same headers and
            no toolchain is given. Those of vector units take longer to read than a kernel, so this
            saves half the time; a compiler may then choose otherwise what it puts into callers.

    Returns:
        ``program``.

    Raises:
        BuildError: no compiler, or it reports an error or a warning.
    """
    chain = None if compiler else load_toolchain(folder)
    command = [compiler or (chain.compiler() if chain else find_compiler()), *flags]
    linker = command
    libraries: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()
    if chain:
        linker = [chain.linker, *flags] if chain.linker else [*command, *chain.flags]
        command = [*command, *chain.flags]
        libraries, runner = (*chain.link_flags, f"-Wl,-Map={map_of(program)}"), chain.runner
    sources = sorted(path for part in ("", "kernels") for path in (folder / part).glob("*.c"))
    with tempfile.TemporaryDirectory(prefix="qmc-build-") as name:
        place = Path(name) / OBJECTS
        place.mkdir()
        if together > 1 and not chain:
            sources = _join(sources, together, Path(name))
        objects = [str(place / f"{source.stem}.o") for source in sources]

        def compile_one(source: Path, target: str) -> None:
            text = str(source.relative_to(folder) if folder in source.parents else source)
            run_command([*command, *STRICT, "-iquote.", "-c", text, "-o", target], folder)

        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            list(pool.map(compile_one, sources, objects))
        linked = program.with_name(f"{program.name}.elf") if runner else program
        run_command([*linker, *objects, *libraries, "-o", str(linked.resolve())], folder)
    if runner:
        _write_script(program, runner)
    return program


def _join(sources: Sequence[Path], together: int, place: Path) -> list[Path]:
    """Files in ``place`` that include up to ``together`` kernels each; other files as they are."""
    alike: dict[tuple[str, ...], list[Path]] = {}
    for source in sources:
        if source.parent.name == "kernels":
            lines = source.read_text(encoding="ascii").splitlines()
            directives = tuple(line for line in lines if line.startswith("#"))
            alike.setdefault(directives, []).append(source)
    joined = [source for source in sources if source.parent.name != "kernels"]
    for kernels in alike.values():
        for first in range(0, len(kernels), together):
            file = place / f"kernels{len(joined)}.c"
            members = kernels[first : first + together]
            text = "".join(f'#include "kernels/{member.name}"\n' for member in members)
            file.write_text(text, encoding="ascii")
            joined.append(file)
    return joined


def map_of(program: Path) -> Path:
    """Where the linker's map of a program lies that was built by a toolchain."""
    return program.resolve().with_name(f"{program.name}.map")


def _write_script(program: Path, runner: Sequence[str]) -> None:
    """A script in the program's place that has ``runner`` run it."""
    program.write_text(f'#!/bin/sh\nexec {" ".join(runner)} "$0.elf" "$@"\n', encoding="ascii")
    program.chmod(0o755)


def run_command(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run ``command`` in ``folder``, with more variables in its environment.

    Returns:
        What it printed.

    Raises:
        BuildError: it failed; the message holds the first line it complained with.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        raise BuildError(f"{Path(command[0]).name}: status {done.returncode}: {errors[0]}")
    return done.stdout


def run_program(
    program: Path,
    data: bytes,
    folder: Path,
    count: int = 1,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Feed ``data`` to a compiled program.

    Args:
        program: from :func:`compile_folder`.
        data: one or more inputs, packed integers or float32 in C, H, W order.
        folder: where the input and output files go.
        count: number of inputs in ``data``.
        environment: more variables of the program's environment.

    Returns:
        The outputs, one after another.

    Raises:
        BuildError: the program failed.
    """
    source, target = folder / "input.bin", folder / "output.bin"
    source.write_bytes(data)
    arguments = ["--batch", str(count)] if count > 1 else []
    command = [str(program.resolve()), *arguments, str(source), str(target)]
    run_command(command, folder, environment)
    return target.read_bytes()


def run_codes(
    program: Path,
    codes: NDArray[np.integer],
    input_bits: int,
    output_bits: int,
    output_shape: tuple[int, ...],
) -> NDArray[np.int32]:
    """Feed input codes to a compiled program, packed as its memory wants them.

    Args:
        program: from :func:`compile_folder`.
        codes: (n, ...) for the network's input (1, ...).
        input_bits: width of the input.
        output_bits: width of the output.
        output_shape: of one output, (1, ...).

    Returns:
        Output codes, (n, ...).

    Raises:
        BuildError: the program failed.
    """
    data = b"".join(pack_activation(one[None], input_bits).tobytes() for one in codes)
    with tempfile.TemporaryDirectory(prefix="qmc-run-") as folder:
        printed = run_program(program, data, Path(folder), len(codes))
    packed = np.frombuffer(printed, np.uint8).reshape(len(codes), -1)
    assert packed.shape[1] == storage_bytes(output_shape, output_bits)
    return np.concatenate([unpack_activation(one, output_bits, output_shape) for one in packed])


def bench_program(program: Path, count: int) -> NDArray[np.float64]:
    """Milliseconds of ``count`` inferences after a warm-up."""
    printed = run_command([str(program.resolve()), "--bench", str(count)], program.parent)
    return np.array([float(line) for line in printed.split()])
