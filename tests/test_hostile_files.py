"""Text files that nobody vouches for: deep nesting and aliases are refused in one line, at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qmc.cost_models.calibrated_model import load_calibration
from qmc.encodings import read_encodings
from qmc.errors import DataError, QmcError
from qmc.golden_index import load_index
from qmc.html.front_files import load_front
from qmc.plan import load_plan, load_report
from qmc.preprocess import load_preprocess
from qmc.yaml_input import read_yaml

DEEP = "[" * 100_000
#: Nine lists of nine of the list before: 387 million elements if they were copied.
BOMB = "\n".join(
    ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
)


Read = Callable[[Path], object]


def refuse(read: Read, path: Path, text: str, given: Path | None = None) -> None:
    """``read`` of a file with ``text`` raises one line that names the file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="ascii")
    with pytest.raises(QmcError) as caught:
        read(given or path)
    told = " ".join(str(caught.value).split())  # as the command line prints it
    assert path.name in told
    assert len(told) < 600


@pytest.mark.parametrize(
    ("name", "read"),
    [("report.json", load_report), ("golden/index.json", load_index), ("front.json", load_front)],
)
def test_json_of_a_folder_nested_deeply_is_refused(tmp_path: Path, name: str, read: Read) -> None:
    refuse(read, tmp_path / name, DEEP, tmp_path)


@pytest.mark.parametrize("read", [read_encodings, load_calibration])
def test_json_nested_deeply_is_refused(tmp_path: Path, read: Read) -> None:
    refuse(read, tmp_path / "file.json", DEEP)


@pytest.mark.parametrize("text", [DEEP, BOMB], ids=["deep", "aliases"])
def test_yaml_bomb_is_refused(tmp_path: Path, text: str) -> None:
    refuse(lambda path: read_yaml(path, DataError), tmp_path / "scheme.yaml", text)
    refuse(load_plan, tmp_path / "plan.yaml", text, tmp_path)
    preprocess = tmp_path / "preprocess.yaml"
    refuse(lambda path: load_preprocess(tmp_path / "model.onnx", path), preprocess, text)


@pytest.mark.parametrize("number", ["1" * 400, "-9223372036854775808", "1e400", "NaN"])
def test_number_beyond_64_bits_in_a_report_is_refused(tmp_path: Path, number: str) -> None:
    text = f'{{"network": {{}}, "layers": [], "target": {number}}}'
    refuse(load_report, tmp_path / "report.json", text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"cases": 1, "layers": []}',
        '{"cases": 1, "input": {"file": "x", "shape": [1], "bits": 99}, "layers": []}',
    ],
)
def test_incomplete_index_of_golden_vectors_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "golden").mkdir()
    refuse(load_index, tmp_path / "golden" / "index.json", text, tmp_path)
