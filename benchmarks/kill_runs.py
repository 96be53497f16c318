"""Kill ``qmc explore`` and ``qmc compile`` at random moments, again and again: is anything lost?

Usage::

    python benchmarks/kill_runs.py [--kills N] [--seed N] [--generations N]

A small network is explored once without a disturbance. Then the same command runs with an empty
cache and is killed with SIGKILL ``--kills`` times, in turn after a random number of trials and
after a random share of that time, and at last runs to its end. Each time: the output folder is
absent or whole; the store of trials passes SQLite's own check, and still has every row that it had
before. At the end every file of the front has the same bytes as without a kill, and the store has
the same rows. Then the same with compile.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from small_classifier import write_classifier

from qmc.cache import cache_folder

#: Files of a build that tell when it was made or how long something took.
_TIMED = {"report.json", "report.csv"}


def run(
    command: list[str], cache: Path, seconds: float = math.inf, trials: float = math.inf
) -> bool:
    """Run to the end, or kill it and all it started; whether it came to its end.

    Args:
        command: with arguments.
        cache: folder of the cache.
        seconds: after which it is killed.
        trials: that are stored when it is killed.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, "QMC_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end or (trials < math.inf and len(rows(cache)) >= trials):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
        time.sleep(0.01)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: status {process.returncode}")
    return True


def rows(cache: Path) -> dict[str, str]:
    """All stored trials; SQLite's own check has to pass."""
    path = cache / "trials.sqlite"
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        (told,) = database.execute("PRAGMA integrity_check").fetchone()
        assert told == "ok", told
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if "evaluations" not in tables:
            return {}
        return dict(database.execute("SELECT key, result FROM evaluations"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder that has to be the same in each run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in _TIMED
    }


def torment(command: list[str], name: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Run one command undisturbed and killed, and compare."""
    rng = random.Random(arguments.seed)
    output = folder / "out"
    full = [*command, "-o", str(output)]
    undisturbed, killed = fresh_cache(folder / "undisturbed"), fresh_cache(folder / "killed")
    began = time.monotonic()
    run(full, undisturbed)
    whole, expected, trials = time.monotonic() - began, contents(output), rows(undisturbed)
    move_away(output)
    known: dict[str, str] = {}
    kills = 0
    for number in range(arguments.kills):
        if number % 2 == 0 and len(known) < len(trials):
            ended = run(full, killed, trials=rng.randint(len(known) + 1, len(trials)))
        else:
            ended = run(full, killed, rng.uniform(0.05, 1.0) * whole)
        kills += not ended
        now = rows(killed)
        assert known.items() <= now.items(), "a finished trial was lost"
        known = now
        if output.exists():
            assert contents(output) == expected, "a part of an output folder"
            move_away(output)
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        print(
            f"  {name}: {'ended' if ended else 'killed'}, {len(known)} of {len(trials)} trials "
            f"kept{', left behind: ' + ', '.join(left) if left else ''}",
            flush=True,
        )
    run(full, killed)
    assert contents(output) == expected, "another result"
    assert rows(killed) == trials, "other trials"
    move_away(output)
    print(
        f"{name}: {kills} kills within {whole:.0f} s each, {len(expected)} files equal, "
        f"{len(trials)} trials the same, nothing lost",
        flush=True,
    )


def fresh_cache(cache: Path) -> Path:
    """An empty cache but for the machine code, a minute of compilation, that the user's has."""
    known = cache_folder()
    cache.mkdir()
    if known is not None:
        (known / "machine-code").mkdir(parents=True, exist_ok=True)
        (cache / "machine-code").symlink_to(known / "machine-code")
    return cache


def move_away(folder: Path) -> None:
    """Make room for the next run; kept for nobody."""
    folder.rename(Path(tempfile.mkdtemp(dir=folder.parent, prefix="old-")) / "out")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generations", type=int, default=6)
    arguments = parser.parse_args()
    for name, extra in (
        ("explore", ["--generations", str(arguments.generations), "--plans", "4"]),
        ("compile", ["--scheme", "auto", "--max-drop", "5"]),
    ):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            model, data = write_classifier(folder, 96)
            command = [sys.executable, "-m", "qmc.cli", name, str(model), "--target", "eyeriss"]
            command += ["--calib", str(data), "--eval", str(data), "--jobs", "2", *extra]
            torment(command, name, arguments, folder)


if __name__ == "__main__":
    main()
