"""Counts side by side with another tool's: equal ones are equal, others are marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qmc import mapping_command
from qmc.compare_counts import compare, read_record
from qmc.errors import DataError
from qmc.layer_view import print_layer

LAYER = "C=16 K=16 P=7 Q=7"


def golden_layer(problem: dict[str, Any], depthwise: bool) -> str:
    """A record's problem as the command line takes it."""
    channels = problem["C"] if depthwise else problem["M"]
    return (
        f"C={problem['C']} K={channels} P={problem['Q']} Q={problem['P']} "
        f"R={problem['S']} S={problem['R']} groups={problem['C'] if depthwise else 1} "
        f"stride={problem['Hstride']},{problem['Wstride']}"
    )


def test_reference_record_has_no_differences(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "golden" / "timeloop" / "fixed_mappings_eyeriss_mq.json"
    for record in json.loads(path.read_text()):
        file = tmp_path / "mapping.json"
        file.write_text(json.dumps(record["mapping"]))
        entry = mapping_command.evaluate_mapping(
            golden_layer(record["problem"], record["depthwise_shape"]),
            "w{Weights}a{Inputs}o{Outputs}".format(**record["bits"]),
            "eyeriss",
            file,
            "timeloop",
            mapping_command.cost_rules("output", "elided"),
        )
        result = compare(entry, read_record(f"{path}#{record['name']}"))
        assert len(result["rows"]) > 20
        assert result["differences"] == 0


ENTRY: dict[str, Any] = {
    "cycles": 10,
    "energy_pj": 100.0,
    "accesses": {
        "main": {
            "W": {
                "reads": 5,
                "fills": 0,
                "updates": 0,
                "instances": 1,
                "utilized_words": 4,
                "energy_pj": 60.0,
            }
        }
    },
}


def record(**counts: object) -> dict[str, Any]:
    levels = [{"level": "mac"}, {"level": "main", "tensors": {"Weights": counts}}]
    return {"levels": levels, "cycles": 10}


def different(result: dict[str, Any]) -> list[tuple[object, ...]]:
    keys = ("memory", "operand", "quantity", "here", "there")
    return [tuple(row[key] for key in keys) for row in result["rows"] if not row["same"]]


def test_only_what_differs_is_marked() -> None:
    counts = {"reads_per_instance": 6, "fills_per_instance": 0, "energy_total_pj": 60.0005}
    result = compare(ENTRY, record(**counts))
    assert different(result) == [("main", "W", "reads", 5, 6)]
    assert (len(result["rows"]), result["differences"]) == (4, 1)
    assert different(compare(ENTRY, record(energy_total_pj=60.05))) == [
        ("main", "W", "energy_pj", 60.0, 60.05)
    ]


def test_parts_that_one_side_lacks_differ() -> None:
    other = {"levels": {"cache": {"operands": {"Inputs": {"reads": 3}}}}}
    result = compare(ENTRY, other)
    assert ("cache", "I", "reads", None, 3) in different(result)
    assert ("main", "W", "reads", 5, None) in different(result)
    assert result["differences"] == 7


def test_table_marks_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = mapping_command.cost_rules("honest", "elided")
    mapping = tmp_path / "mapping.json"
    levels = [{"target": "DRAM", "type": "temporal", "factors": "C16 M16 P7 Q7"}]
    mapping.write_text(json.dumps(levels))
    entry = mapping_command.evaluate_mapping(LAYER, "w8a8", "simba", mapping, "timeloop", rules)
    reads = entry["accesses"]["DRAM"]["W"]["reads"]
    other = {"levels": [{"level": "DRAM", "tensors": {"Weights": {"reads": 2 * reads}}}]}
    entry["against"] = compare(entry, other)
    print_layer(entry, Console(width=120))
    assert f"DRAM W reads {reads:,} {2 * reads:,} <> -50 %" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ([{"name": "a", "levels": []}, {"name": "b", "levels": []}], "", "2 records.*NAME of a, b"),
        ([{"name": "a", "levels": []}, {"name": "b", "levels": []}], "#c", "2 records"),
        ([], "", "found 0 records"),
        ({"cycles": 3}, "", "levels: found nothing; allowed: counts by level"),
    ],
)
def test_file_that_is_no_record_is_refused(
    tmp_path: Path, content: object, name: str, message: str
) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_record(f"{file}{name}")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (record(reads_per_instance="many"), "main W reads: found 'many'; allowed: a number"),
        ({"levels": [{"level": "a", "tensors": {"X": {}}}]}, "a: found 'X'; allowed: counts of"),
    ],
)
def test_record_without_numbers_is_refused(other: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(ENTRY, other)
