"""Rebuild an emitted folder and compare every layer with its golden vectors, bit for bit."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmc.codegen.build import compile_folder, run_program
from qmc.codegen.golden import INDEX
from qmc.errors import DataError
from qmc.packing import storage_bytes

if TYPE_CHECKING:
    from rich.console import Console

#: Verification looks for wrong bits, not speed: little optimization compiles fastest.
_FLAGS = ("-O1", "-DQMC_TRACE")


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a check found.

    Attributes:
        ok: everything is equal.
        cases: inputs that were run.
        layers: layers of the network.
        bytes_compared: over all inputs and layers.
        first_difference: case, layer and byte of the first difference; None when ok.
    """

    ok: bool
    cases: int
    layers: int
    bytes_compared: int
    first_difference: str | None = None

    def data(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def verify_build(folder: Path, compiler: str | None = None) -> VerifyResult:
    """Compile ``folder`` with warnings as errors and run its golden inputs.

    Args:
        folder: written by ``qmc compile``; it is not changed.
        compiler: path or name of a C compiler; None finds one.

    Raises:
        DataError: the folder or its golden vectors are missing or damaged.
        BuildError: the C does not compile, or its program fails.
    """
    index = _load_index(folder)
    with tempfile.TemporaryDirectory(prefix="qmc-verify-") as name:
        work = Path(name)
        _copy_sources(folder, work)
        program = compile_folder(work, work / "run", _FLAGS, compiler)
        return _compare(folder, index, program, work)


def print_result(data: dict[str, Any], console: Console) -> None:
    """Print a result for people."""
    if data["ok"]:
        console.print(
            f"verified: {data['layers']} layers x {data['cases']} inputs equal the reference, "
            f"{data['bytes_compared']} bytes compared"
        )
    else:
        console.print(f"NOT verified: {data['first_difference']}", markup=False, style="bold red")


def _load_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="ascii"))
        complete = {"cases", "input", "layers"} <= index.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: cannot read the golden vectors: {error}") from error
    if not complete:
        raise DataError(f"{path}: not an index of golden vectors")
    return dict(index)


def _copy_sources(folder: Path, work: Path) -> None:
    (work / "kernels").mkdir()
    for path in sorted([*folder.glob("*.[ch]"), *(folder / "kernels").glob("*.[ch]")]):
        shutil.copyfile(path, work / path.relative_to(folder))


def _compare(folder: Path, index: dict[str, Any], program: Path, work: Path) -> VerifyResult:
    layers, compared = index["layers"], 0
    for case in range(index["cases"]):
        source = _vector(folder, case, index["input"])
        run_program(program, source, work)
        trace = (work / "output.bin.trace").read_bytes()
        sizes = sum(_size(layer) for layer in layers)
        if len(trace) != sizes:
            difference = f"case {case}: layers hold {len(trace)} bytes, {sizes} expected"
            return VerifyResult(False, case, len(layers), compared, difference)
        for i, layer in enumerate(layers):
            expected = _vector(folder, case, layer)
            got, trace = trace[: len(expected)], trace[len(expected) :]
            compared += len(expected)
            if got != expected:
                difference = f"case {case}: layer {i} '{layer['name']}' {_where(got, expected)}"
                return VerifyResult(False, case, len(layers), compared, difference)
        if (work / "output.bin").read_bytes() != _vector(folder, case, layers[-1]):
            difference = f"case {case}: the output file differs from the last layer"
            return VerifyResult(False, case, len(layers), compared, difference)
    return VerifyResult(True, index["cases"], len(layers), compared)


def _size(tensor: dict[str, Any]) -> int:
    return storage_bytes(tuple(tensor["shape"]), tensor["bits"])


def _vector(folder: Path, case: int, tensor: dict[str, Any]) -> bytes:
    path = folder / "golden" / str(case) / Path(tensor["file"]).name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from error
    if len(data) != _size(tensor):
        raise DataError(
            f"{path}: {len(data)} bytes; {tensor['shape']} of {tensor['bits']} bits packs to "
            f"{_size(tensor)}"
        )
    return data


def _where(got: bytes, expected: bytes) -> str:
    byte = next(i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b)
    return f"differs first at byte {byte}: got {got[byte]}, expected {expected[byte]}"
