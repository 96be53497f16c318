"""docs/python.md: its blocks run as one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.small_build import small_images, small_model

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def test_blocks_of_the_page_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_model(tmp_path) == tmp_path / "model.onnx"
    assert small_images(tmp_path) == tmp_path / "images.npz"
    monkeypatch.chdir(tmp_path)
    values: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M):
        exec(block, values)
    printed = capsys.readouterr().out
    assert "w4a4o4" in printed
    assert "stem" in printed
    assert "E120 " in printed
    assert (tmp_path / "build" / "report.json").is_file()
