"""Shells complete commands, flags and names of machines."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "import sys; sys.argv = ['qmc']; from qmc.cli import main; main()"


def ask(**variables: str) -> str:
    """What a shell gets from ``qmc`` with these variables."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("qmc ver", {"verify"}),
        ("qmc report --js", {"--json"}),
        ("qmc compile net.onnx --target eyeriss", {"eyeriss", "eyeriss-8b"}),
        ("qmc map --optimize e", {"edp", "energy"}),
    ],
)
def test_bash_completes(typed: str, expected: set[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    assert set(ask(_QMC_COMPLETE="complete_bash", **words).split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_gets_a_script_that_asks_qmc(shell: str) -> None:
    script = ask(_QMC_COMPLETE=f"source_{shell}")
    assert f"_QMC_COMPLETE=complete_{shell}" in script
