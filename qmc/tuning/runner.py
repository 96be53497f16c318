"""Where trial programs run: in a process of their own on this computer, or on a board."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qmc.codegen.build import find_compiler, run_command, write_files
from qmc.codegen.trial import TrialProgram
from qmc.errors import BuildError
from qmc.targets import Target
from qmc.tuning.timing import Timing, read_timings

_CPU_INFO = Path("/proc/cpuinfo")
_FLAGS = ("-std=c99", "-O3")


class Runner(Protocol):
    """Something that runs an executable and gives back what it printed."""

    def describe(self) -> str:
        """What kind of processor it is, as text."""

    def run(self, program: Path, constants: bytes, arguments: tuple[str, ...]) -> str:
        """Run ``program FILE arguments`` with a file of these constants.

        Raises:
            BuildError: it failed.
        """


class LocalRunner:
    """This computer."""

    def describe(self) -> str:
        """The processor's name as Linux tells it; empty where it does not."""
        try:
            text = _CPU_INFO.read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""
        names = re.findall(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
        return names[0] if names else ""

    def run(self, program: Path, constants: bytes, arguments: tuple[str, ...]) -> str:
        """See :class:`Runner`."""
        file = program.with_suffix(".bin")
        file.write_bytes(constants)
        return run_command([str(program), str(file), *arguments], program.parent)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        turns: each kernel of a program has so many.
        slot_us: of calls in a turn.
    """

    turns: int
    slot_us: int


#: Of a search, and of what decides at its end.
SEARCH_EFFORT = Effort(turns=7, slot_us=400)
FINAL_EFFORT = Effort(turns=21, slot_us=1000)


def build_trial(program: TrialProgram, folder: Path) -> Path:
    """Compile a trial program in an empty folder.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    write_files(program.files, folder)
    executable = folder / "trial"
    sources = [file.name for file in program.files if file.name.endswith(".c")]
    run_command([find_compiler(), *_FLAGS, *sources, "-o", str(executable)], folder)
    return executable


def measure(
    program: TrialProgram, executable: Path, runner: Runner, sweep_bytes: int, effort: Effort
) -> list[Timing]:
    """Figures of every kernel of a built program.

    Raises:
        BuildError: it fails, or its kernels differ in what they compute.
    """
    found = measure_sides(program, executable, runner, sweep_bytes, effort)
    if len({timing.checksum for timing in found}) > 1:
        raise BuildError("kernels of one layer differ in what they compute; please report it")
    return found


def measure_sides(
    program: TrialProgram, executable: Path, runner: Runner, sweep_bytes: int, effort: Effort
) -> list[Timing]:
    """As :func:`measure`, for kernels that need not compute the same.

    Raises:
        BuildError: the program fails.
    """
    arguments = (str(effort.turns), str(1000 * effort.slot_us), str(sweep_bytes))
    printed = runner.run(executable, program.constants, arguments)
    try:
        return read_timings(printed, program.sides)
    except ValueError as error:
        raise BuildError(f"a trial program printed nonsense: {error}") from error


def machine_key(target: Target, runner: Runner) -> str:
    """Hash of everything that times depend on besides the layer and the choice."""
    version = run_command([find_compiler(), "--version"], Path(tempfile.gettempdir()))
    texts = [target.sha256, runner.describe(), version.splitlines()[0], *_FLAGS]
    if target.kernels is not None:
        texts += [header.text for header in target.kernels.headers]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
