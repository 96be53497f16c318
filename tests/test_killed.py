"""Killed with SIGKILL while writing: what was finished is there, nothing is half there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from qmc.evaluation_store import EvaluationStore
from qmc.output_folder import MARK, whole_folder

ROOT = Path(__file__).parent.parent
#: Puts one result after another and says so, until it is killed.
STORING = """
import itertools, sys
from pathlib import Path
from qmc.evaluation_store import EvaluationStore
store = EvaluationStore(Path(sys.argv[1]))
for step in itertools.count():
    store.put(f"{sys.argv[2]}-{step}", {"step": step, "text": "x" * 500})
    print(step, flush=True)
"""
#: Replaces a folder of twenty files by the next generation of it, until it is killed.
PUBLISHING = """
import itertools, sys
from pathlib import Path
from qmc.output_folder import MARK, whole_folder
for generation in itertools.count():
    with whole_folder(Path(sys.argv[1])) as work:
        for name in [MARK, *(f"{index}.c" for index in range(20))]:
            (work / name).write_text(str(generation))
    print(generation, flush=True)
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after(process: subprocess.Popen[str], lines: int) -> list[int]:
    """Numbers that the process printed until it was killed, some lines after the first."""
    assert process.stdout is not None
    early = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    late, _ = process.communicate()
    return [int(line) for line in "".join([*early, late]).splitlines()]


def test_store_of_two_killed_processes_has_all_that_was_finished(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    processes = [start(STORING, path, name) for name in ("a", "b")]
    finished = [
        kill_after(process, lines) for process, lines in zip(processes, (7, 40), strict=True)
    ]
    store = EvaluationStore(path)
    for name, steps in zip(("a", "b"), finished, strict=True):
        assert [store.get(f"{name}-{step}")["step"] for step in steps] == steps
    store.put("after", 1)
    store.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


@pytest.mark.parametrize("lines", [1, 2, 5, 9])
def test_folder_of_a_killed_process_is_whole_or_absent(tmp_path: Path, lines: int) -> None:
    folder = tmp_path / "build"
    generations = kill_after(start(PUBLISHING, folder), lines)
    if folder.exists():
        found = [path.read_text() for path in folder.iterdir()]
        assert len(found) == 21
        assert set(found) in ({str(generations[-1])}, {str(generations[-1] + 1)})
    with whole_folder(folder) as work:
        (work / MARK).write_text("next")
    assert [path.name for path in folder.iterdir()] == [MARK]
