"""The first layer where the C and the reference, or integers and float, part."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qmc import cli
from qmc.bisect import bisect, print_bisect
from qmc.codegen import emit, golden_files
from qmc.codegen.build import write_files
from qmc.errors import DataError
from tests.codegen.networks import every_op

Json = dict[str, Any]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of every operator on two inputs, with a report of made-up SQNR."""
    folder = tmp_path_factory.mktemp("bisect")
    builder = every_op()
    network = builder.network()
    write_files(emit(network, {}) + golden_files(network, builder.codes(2)), folder)
    layers = [
        {"name": layer.layer.name, "sqnr_db": None if index == 0 else 40.0 - 5 * index}
        for index, layer in enumerate(network.layers)
    ]
    report = {"network": {}, "target": {}, "layers": layers}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def broken(clean: Path, tmp_path: Path) -> Path:
    """The same with one more added to every code that layer 3 writes."""
    for path in clean.rglob("*"):
        place = tmp_path / path.relative_to(clean)
        if path.is_dir():
            place.mkdir()
        else:
            place.write_bytes(path.read_bytes())
    kernel = next((tmp_path / "kernels").glob("*l003_*.c"))
    changed, count = re.subn(r"qmc_clamp\(code, ", "qmc_clamp(code + 1, ", kernel.read_text())
    assert count
    kernel.write_text(changed)
    return tmp_path


def shown(data: Json) -> str:
    stream = io.StringIO()
    print_bisect(data, Console(file=stream, width=200))
    return stream.getvalue()


def test_equal_build_parts_nowhere_and_tells_the_first_noisy_layer(clean: Path) -> None:
    found = bisect(clean, limit_db=26)
    assert found["ok"]
    assert found["c"] is None
    assert found["float"]["first"] == {"index": 3, "name": "layer3", "sqnr_db": 25.0}
    assert found["float"]["worst"]["index"] == found["layers"] - 1
    text = shown(found)
    assert "equal in all" in text
    assert "layer 3 'layer3' with 25.0 dB" in text


def test_limit_that_all_meet_names_no_layer(clean: Path) -> None:
    found = bisect(clean, limit_db=-100)
    assert found["float"]["first"] is None
    assert "no layer is below -100 dB" in shown(found)


def test_wrong_kernel_is_named_with_its_first_element(broken: Path) -> None:
    found = bisect(broken)
    wrong = found["c"]
    assert not found["ok"]
    assert (wrong["index"], wrong["name"], wrong["case"]) == (3, "layer3", 0)
    assert wrong["inputs_equal"]
    assert wrong["got"] == wrong["expected"] + 1
    assert wrong["largest"] == 1
    assert 0 < wrong["differing"] <= wrong["elements"]
    assert "the fault is its own" in shown(found)


def test_flags_of_bisect_need_it(
    clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["qmc", "verify", str(clean), "--sqnr", "12"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "belong to --bisect" in capsys.readouterr().err


def test_command_line_gives_one_object_and_the_exit_code(
    broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["qmc", "verify", str(broken), "--bisect", "--sqnr", "26", "--json"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    found = json.loads(capsys.readouterr().out)
    assert found["c"]["name"] == "layer3"
    assert found["float"]["limit_db"] == 26


def test_report_without_sqnr_asks_for_the_model(clean: Path, broken: Path) -> None:
    report = json.loads((broken / "report.json").read_text())
    del report["layers"][2]["sqnr_db"]
    (broken / "report.json").write_text(json.dumps(report))
    with pytest.raises(DataError, match="--model"):
        bisect(broken)


def test_other_model_is_refused(broken: Path) -> None:
    model = broken / "other.onnx"
    model.write_bytes(b"x")
    plan = (
        f"schema_version: 1\nmodel: {{file: net.onnx, sha256: '{'0' * 64}'}}\n"
        "options: {equalize: false}\n"
    )
    (broken / "plan.yaml").write_text(plan)
    with pytest.raises(DataError, match=r"allowed: net\.onnx with SHA-256 000000000000"):
        bisect(broken, model=model)
