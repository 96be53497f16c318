"""docs/tutorial.md: its commands run one after another and print what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"Write this to `(.+?)`")


def words(text: str) -> str:
    """``text`` with every run of spaces and line ends as one space."""
    return " ".join(text.split())


def run(commands: str, folder: Path) -> str:
    """What a block of shell commands prints on stdout and stderr."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=os.environ | {"PATH": paths, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}"
    return done.stdout


def test_commands_run_and_print_what_the_page_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    blocks = BLOCK.findall(PAGE)
    (file,) = FILE.findall(PAGE)
    printed = ""
    for language, text in blocks:
        match language:
            case "bash":
                printed = words(run(text, tmp_path))
            case "text":
                missing = [line for line in text.splitlines() if words(line) not in printed]
                assert not missing, f"docs/tutorial.md shows what is not printed:\n{missing}"
            case "yaml":
                (tmp_path / file).write_text(text, encoding="utf-8")
    assert [language for language, _ in blocks].count("bash") == 7
    assert (tmp_path / "front" / "front.png").stat().st_size > 1000
