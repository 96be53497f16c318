"""Print the sizes and times that qmc promises, each beside its bar; exit 1 when one is missed.

Usage::

    python benchmarks/size_and_time.py MODEL.onnx --calib IMAGES [--limit N] [--target simba]

1. weights in the binary at w4a8 over those at w8a8, by the symbols of the compiled ``weights.c``
2. time and memory of ``qmc compile`` without ``--eval``, with nothing cached from earlier runs
3. time of ``qmc --help``, best of five
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_WEIGHTS_RATIO = 0.52
MAX_COMPILE_SECONDS = 90.0
MAX_COMPILE_BYTES = 3 << 30
MAX_HELP_SECONDS = 0.5
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: wall-clock time.
        peak_bytes: largest sampled sum of the resident memory of all its processes; a page that
            several processes share counts in each, so this is an upper bound.
    """

    seconds: float
    peak_bytes: int


def run_measured(command: list[str], cache: Path | None = None) -> Usage:
    """Run ``command`` in a session of its own and watch its memory.

    Args:
        command: program and arguments.
        cache: folder of qmc's cache; None leaves the user's.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    began = time.monotonic()
    peak = 0
    environment = os.environ | ({"QMC_CACHE_DIR": str(cache)} if cache else {})
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    ) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(SAMPLE_SECONDS):
                peak = max(peak, sum(session_memory(process.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        seconds = time.monotonic() - began
        ended.set()
        watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Usage(seconds, peak)


def session_memory(session: int) -> Iterator[int]:
    """Resident bytes of every process of a session. Source: proc(5), /proc/pid/stat."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        if int(fields[3]) == session:
            yield int(fields[21]) * page_bytes


def compile_model(arguments: argparse.Namespace, scheme: str, output: Path) -> Usage:
    """Run ``qmc compile`` at ``scheme``."""
    command = [shutil.which("qmc") or "qmc", "compile", str(arguments.model)]
    command += ["--target", arguments.target, "--scheme", scheme, "-o", str(output)]
    command += ["--calib", str(arguments.calib)]
    if arguments.limit:
        command += ["--limit", str(arguments.limit)]
    return run_measured(command, cache=output.with_suffix(".cache"))


def weights_bytes(build: Path) -> int:
    """Bytes of all weights in the object of ``weights.c``: its symbols named ``*_weights``."""
    weights = build / "weights.o"
    command = ["gcc", "-std=c99", "-O2", "-I", str(build), "-c", str(build / "weights.c")]
    subprocess.run([*command, "-o", str(weights)], check=True)
    listing = subprocess.run(
        ["nm", "--print-size", "--radix=d", str(weights)],
        check=True,
        capture_output=True,
        text=True,
    )
    symbols = [line.split() for line in listing.stdout.splitlines()]
    return sum(int(fields[1]) for fields in symbols if fields[-1].endswith("_weights"))


def help_seconds() -> float:
    """Best of five runs of ``qmc --help``."""
    return min(run_measured([shutil.which("qmc") or "qmc", "--help"]).seconds for _ in range(5))


def report(title: str, found: float, bar: float, unit: str = "") -> bool:
    """Print one line; returns whether the bar is met."""
    met = found <= bar
    print(f"{title:<44} {found:8.3f} {unit:<4} (at most {bar:g}) {'ok' if met else 'MISSED'}")
    return met


def main() -> int:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description="Sizes and times of qmc beside their bars.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--calib", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--target", default="simba")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        usage = compile_model(arguments, "w8a8", Path(folder, "w8a8"))
        compile_model(arguments, "w4a8", Path(folder, "w4a8"))
        eight, four = (weights_bytes(Path(folder, name)) for name in ("w8a8", "w4a8"))
    print(f"{arguments.model.name} for {arguments.target}")
    print(f"weights: {eight:,} bytes at w8a8, {four:,} at w4a8")
    met = [
        report("weights, w4a8 / w8a8", four / eight, MAX_WEIGHTS_RATIO),
        report("qmc compile, w8a8", usage.seconds, MAX_COMPILE_SECONDS, "s"),
        report(
            "qmc compile, peak memory", usage.peak_bytes / 2**30, MAX_COMPILE_BYTES >> 30, "GiB"
        ),
        report("qmc --help", help_seconds(), MAX_HELP_SECONDS, "s"),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
