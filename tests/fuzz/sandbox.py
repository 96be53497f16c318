"""A command of qmc in a process of its own, with limits, and what it may leave behind."""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import qmc

#: Limits of one command: seconds, and bytes of resident memory.
SECONDS = 60
BYTES = 2 << 30


def import_all() -> None:
    """Import every module of qmc, but what needs torch: forked commands have them then."""
    for module in pkgutil.walk_packages(qmc.__path__, "qmc."):
        if not module.name.startswith("qmc.train") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: exit code, -9 where it was killed for its time.
        seconds: it took.
        peak_bytes: largest resident set.
        told: its stderr.
    """

    status: int
    seconds: float
    peak_bytes: int
    told: str


def run_command(arguments: Sequence[str], folder: Path) -> Outcome:
    """``qmc ARGUMENTS`` in ``folder``."""

    def work() -> None:
        from qmc.cli import main

        sys.argv = ["qmc", *arguments]
        main()

    return run_apart(work, folder)


def run_apart(work: Callable[[], None], folder: Path, seconds: float = SECONDS) -> Outcome:
    """Call ``work`` in a forked process; its temporary files go to ``folder/tmp``.

    What is imported before stays imported: a command starts at once.
    """
    (folder / "tmp").mkdir(exist_ok=True)
    log = folder.parent / f"{folder.name}.log"
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(work, folder, log)
    status, usage = _wait(child, start + seconds)
    taken = time.monotonic() - start
    told = log.read_text("utf-8", "replace")
    log.unlink()
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code, taken, usage.ru_maxrss * 1024, told)


def _be_child(work: Callable[[], None], folder: Path, log: Path) -> None:
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["TMPDIR"] = str(folder / "tmp")
        tempfile.tempdir = None
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")
        # Twice the limit that is judged: what runs away ends before the computer suffers.
        resource.setrlimit(resource.RLIMIT_DATA, (2 * BYTES, 2 * BYTES))
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int, end: float) -> tuple[int, resource.struct_rusage]:
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return status, usage
        time.sleep(0.005)
