"""A little fuzzing in every run, always the same cases; benchmarks/fuzz.py goes on for hours.

The budget: 40 commands on damaged files and 8 random networks, about a minute; each case has 60 s
and 2 GiB.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.fuzz.commands import COMMANDS, describe, judge, try_network, try_one, write_inputs
from tests.fuzz.sandbox import BYTES, Outcome, run_apart, run_command

FILES, NETWORKS = 40, 8


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "inputs"
    write_inputs(folder)
    return folder


def test_commands_work_on_whole_files(inputs: Path, tmp_path: Path) -> None:
    """Else the damage would never be reached."""
    for number, (_, command) in enumerate(dict.fromkeys(COMMANDS)):
        folder = tmp_path / str(number)
        shutil.copytree(inputs, folder)
        outcome = run_command(command, folder)
        assert outcome.status == 0, (command, outcome.told)


def test_damaged_files_end_in_one_line_or_work(inputs: Path, tmp_path: Path) -> None:
    dice = random.Random("files")
    tried = [try_one(inputs, tmp_path / str(number), dice) for number in range(FILES)]
    assert not any(tried), describe([found for found in tried if found])


def test_random_networks_are_exact(inputs: Path, tmp_path: Path) -> None:
    del inputs  # made first: kernels are compiled by then
    dice = random.Random("networks")
    tried = [try_network(tmp_path / str(number), dice) for number in range(NETWORKS)]
    assert not any(tried), describe([found for found in tried if found])


def test_judge_sees_every_broken_rule(tmp_path: Path) -> None:
    """Work that breaks a rule on purpose is found out."""

    def greedy() -> None:
        bytearray(BYTES + (100 << 20))[::4096] = b"x" * -(-(BYTES + (100 << 20)) // 4096)

    def wrong() -> None:
        raise KeyError("bits")

    assert "took" in judge(run_apart(greedy, tmp_path), set())
    assert judge(run_apart(wrong, tmp_path), set()) == "ended with 1"
    fine = Outcome(2, 0.1, 1 << 20, "qmc: error: no such file [E140]\n")
    assert judge(fine, set()) == ""
    assert judge(fine, {"out"}) == "failed and left out"
    assert judge(fine, {"tmp/x"}) == "left tmp/x"
    assert "ran longer" in judge(Outcome(-9, 60.0, 0, ""), set())
