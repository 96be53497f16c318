"""The blocks of docs/tvm.md are one program that runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tvm.md"


def run_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch, torch: bool) -> dict[str, Any]:
    """Run the blocks that import torch, or the others; gives their variables."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    chosen = [block for block in blocks if ("import torch" in block) == torch]
    assert chosen
    (folder / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "tutorial"}
    for block in chosen:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_tutorial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_blocks(tmp_path, monkeypatch, torch=False)
    chosen, label = capsys.readouterr().out.split()[:2]
    assert chosen == label
    assert np.isfinite(names["logits"]).all()
    assert (tmp_path / "fashion.so").is_file()
