"""Two builds or plans side by side."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from qmc.diff import diff, mapping_changes
from qmc.diff_view import differs, print_diff
from qmc.errors import DataError

Json = dict[str, Any]

MAPPING = [
    {"level": "DRAM", "keep": ["W", "I", "O"], "temporal": [["P", 9]], "spatial": []},
    {"level": "glb", "keep": ["I"], "temporal": [["K", 8]], "spatial": [["C", 4, "x"]]},
]


def a_report() -> Json:
    layer = {
        **{"w_bits": 8, "a_bits": 8, "o_bits": 8, "energy_pj": 2e6, "cycles": 1000},
        **{"sqnr_db": 30.5, "mapping": MAPPING},
    }
    layers = [copy.deepcopy(layer) | {"name": name} for name in ("first", "second")]
    network = {"name": "net", "energy_uj": 4.0, "cycles": 2000, "top1": 90.0, "flash_bytes": 2048}
    target = {"name": "eyeriss", "sha256": "a" * 64}
    return {"network": network, "layers": layers, "target": target, "versions": {"qmc": "0.1.0"}}


def save(folder: Path, report: Json) -> Path:
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder


def narrower() -> Json:
    report = copy.deepcopy(a_report())
    report["network"] |= {"energy_uj": 3.0, "top1": 88.5, "flash_bytes": 1024}
    report["layers"][1] |= {"w_bits": 4, "energy_pj": 1e6, "sqnr_db": 20.25}
    report["layers"][1]["mapping"][1] |= {"temporal": [["K", 4], ["S", 2]], "keep": ["I", "O"]}
    report["layers"].append(a_report()["layers"][0] | {"name": "third"})
    return report


@pytest.fixture
def found(tmp_path: Path) -> Json:
    return diff(save(tmp_path / "a", a_report()), save(tmp_path / "b", narrower()))


def test_diff_of_builds_tells_figures_and_changes(found: Json) -> None:
    assert found["network"]["energy_uj"] == {"a": 4.0, "b": 3.0, "change": -1.0, "relative": -0.25}
    assert found["network"]["top1"]["change"] == -1.5
    first, second, third = found["layers"]
    assert not differs(first)
    assert (second["w_bits"]["a"], second["w_bits"]["b"]) == (8, 4)
    assert second["energy_pj"]["relative"] == -0.5
    assert second["sqnr_db"]["change"] == -10.25
    assert second["mapping_changes"] == [
        "glb: keeps I; K8; parallel C4x -> keeps I O; K4 S2; parallel C4x"
    ]
    assert third["in"] == "b"
    assert found["notes"] == []


def test_diff_is_shown_with_the_layers_that_differ(found: Json) -> None:
    stream = io.StringIO()
    print_diff(found, Console(file=stream, width=140))
    text = stream.getvalue()
    assert "-25.0 %" in text
    assert "-1.50 points" in text
    assert "8/8/8 4/8/8" in text
    assert "absent" in text
    assert "1 layers are the same" in text
    assert "first " not in text


def test_diff_of_a_build_with_itself_is_empty(tmp_path: Path) -> None:
    build = save(tmp_path / "a", a_report())
    found = diff(build, build)
    assert not any(differs(layer) for layer in found["layers"])
    assert all(one["change"] == 0 for one in found["network"].values())


def test_diff_of_different_targets_says_so(tmp_path: Path) -> None:
    other = a_report()
    other["target"] = {"name": "simba", "sha256": "b" * 64}
    found = diff(save(tmp_path / "a", a_report()), save(tmp_path / "b", other))
    assert found["notes"] == ["different targets: aaaaaaaaaaaa and bbbbbbbbbbbb"]


def test_diff_of_a_plan_and_a_build(tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.mkdir()
    data = {
        **{"schema_version": 1, "qmc": "0.1.0", "mappings": {"first": MAPPING}},
        **{"target": {"name": "eyeriss", "sha256": "a" * 64}, "model": {"sha256": "c" * 64}},
    }
    (plan / "plan.yaml").write_text(yaml.safe_dump(data))
    (plan / "scheme.yaml").write_text(yaml.safe_dump({"weights": {"first": {"bits": 5}}}))
    found = diff(plan / "plan.yaml", save(tmp_path / "b", a_report()))
    first, second = found["layers"]
    assert (first["w_bits"]["a"], first["w_bits"]["b"]) == (5, 8)
    assert first["mapping_changes"] == []
    assert first["energy_pj"]["relative"] is None
    assert second["in"] == "b"
    assert found["network"]["top1"] == {"a": None, "b": 90.0, "change": None, "relative": None}
    print_diff(found, Console(file=io.StringIO()))


def test_diff_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="allowed: a build or a plan"):
        diff(tmp_path, tmp_path)
    (tmp_path / "plan.yaml").write_text("schema_version: 1\n")
    with pytest.raises(DataError, match="not a plan"):
        diff(tmp_path, tmp_path)


def test_mapping_changes_name_levels_of_one_side() -> None:
    assert mapping_changes(MAPPING, MAPPING) == []
    assert mapping_changes(None, MAPPING) == ["no mapping on one side"]
    assert mapping_changes(MAPPING, MAPPING[:1]) == ["glb: in one mapping only"]
