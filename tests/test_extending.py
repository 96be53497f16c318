"""docs/extending.md: its diffs apply to the source and bring tests that pass; its commands run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmc import cli

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
#: What the diffs change, and what that needs to run.
TREES = ("qmc", "passes", "targets", "cost_models", "third_party", "tests", "docs")
#: Tests of the source that cover what the diffs added to tables.
TABLE_TESTS = (
    "tests/codegen/test_emit.py::test_weights_of_every_number_format_equal_reference",
    "tests/test_docs.py::test_architecture_page_names_every_source_file",
)


def blocks(language: str) -> list[str]:
    """The page's blocks of code in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def hunks(diff: str) -> Iterator[tuple[str, str, str]]:
    """File, text before and text after of every hunk of a unified diff."""
    for part in re.split(r"^--- .*\n", diff, flags=re.MULTILINE)[1:]:
        head, *bodies = re.split(r"^@@ .*\n", part, flags=re.MULTILINE)
        name = head.strip().removeprefix("+++ b/")
        for body in bodies:
            lines = body.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] != "+")
            yield name, old, "".join(line[1:] for line in lines if line[0] != "-")


def apply(diff: str, root: Path) -> list[str]:
    """Change the files below ``root`` as a diff says; names of the test files in it."""
    changed = []
    for name, old, new in hunks(diff):
        path = root / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        assert text.count(old) == 1 or not text, f"docs/extending.md no longer fits {name}:\n{old}"
        path.write_text(text.replace(old, new) if text else new, encoding="utf-8")
        changed.append(name)
    return [name for name in changed if Path(name).name.startswith("test_")]


def test_diffs_apply_and_bring_tests_that_pass(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", "*.so")
    for name in TREES:
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tests = [name for diff in blocks("diff") for name in apply(diff, tmp_path)]
    assert len(tests) == 3
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *TABLE_TESTS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_commands_on_the_machine_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine,), (commands,) = blocks("yaml"), blocks("bash")
    (tmp_path / "eyeriss-half.yaml").write_text(machine, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 0, line
    printed = capsys.readouterr().out
    assert "eyeriss-half" in printed
    assert "shared_glb" in printed


def test_passes_run_in_a_sequential(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = blocks("python")
    monkeypatch.chdir(ROOT)
    values: dict[str, object] = {}
    exec(program, values)
    assert "nn.batch_norm" not in str(values["module"])
