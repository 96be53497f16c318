"""Mappings that Timeloop found or was given, beside what the exact search finds.

Timeloop itself is not run (no package of it installs with pip): what it found and how it was
priced is in records of its runs. The search gets the machine, the dataflow constraints, the widths
and the rules of the record (partial sums of the output's width, first fill charged or not, a
depthwise layer as the dense one of the record), and both mappings are priced by one model, which
reproduces every count of every record (``tests/cost_models/test_reference_records.py``).
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.traffic import FirstFill
from qmc.layer import Layer, Precision
from qmc.search import search
from qmc.targets import Target, load_target
from qmc.timeloop import read_bitwidths, read_mapping, read_problem

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for the machines of the tests
from tests.cost_models.machines import word_variant

#: Most that two sums of the same energies may differ, relative.
ROUNDING = 1e-9
FIXED_MACHINES = {
    "eyeriss_mq": "eyeriss",
    "simba_mq": "simba",
    "eyeriss_ex": "eyeriss-8b",
    "simba_ex": "simba-8b",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One mapping of a record, on the machine and under the rules of the record."""

    group: str
    record: dict[str, Any]
    layer: Layer
    precision: Precision
    target: Target
    model: AnalyticalModel


@dataclass(frozen=True, slots=True)
class Found:
    """EDP of the search's mapping over that of the record's, and how the search ended."""

    case: Case
    ratio: float
    proved: bool
    seconds: float


def searched_records(golden: Path) -> Iterator[Case]:
    """Runs of the mixed-precision fork: the best mapping of its random search for every layer."""
    path = golden / "timeloop-quant-mobilenet-dev.json.gz"
    model = AnalyticalModel(FirstFill.COUNTED, PsumRule.OUTPUT)
    for record in json.loads(gzip.decompress(path.read_bytes())):
        machine, arch = record["machine"].removesuffix("-like"), record["arch"]
        layer, precision = read_problem(record["problem"]), read_bitwidths(record["problem"])
        target = word_variant(machine, arch)
        yield Case(f"{machine} {arch}", record, layer, precision, target, model)


def fixed_records(golden: Path) -> Iterator[Case]:
    """Mappings written by hand or drawn at random, priced by Timeloop."""
    model = AnalyticalModel(FirstFill.ELIDED, PsumRule.OUTPUT)
    for name, machine in FIXED_MACHINES.items():
        target = load_target(machine)
        path = golden / "timeloop" / f"fixed_mappings_{name}.json"
        for record in json.loads(path.read_text()):
            layer = read_problem(record["problem"], record["depthwise_shape"], record["name"])
            precision = read_bitwidths(record["problem"])
            yield Case(f"{machine} fixed", record, layer, precision, target, model)


def compare(case: Case) -> Found:
    theirs = read_mapping(case.record["mapping"], case.layer, case.target)
    problem = (case.layer, case.precision, case.target)
    result = search(*problem, case.model)
    ours = case.model.evaluate(*problem, result.mapping).edp_pj_cycles
    ratio = ours / case.model.evaluate(*problem, theirs).edp_pj_cycles
    return Found(case, ratio, result.certificate.proved, result.certificate.seconds)


def report(cases: Iterator[Case]) -> bool:
    """Print one row for every group; whether the search is never above a record."""
    groups: dict[str, list[Found]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(compare(case))
    for group, found in groups.items():
        ratios = [entry.ratio for entry in found]
        above = [entry for entry in found if entry.ratio > 1 + ROUNDING]
        print(
            f"{group:<30} {len(found):>4} {min(ratios):>8.4f} {statistics.median(ratios):>8.4f} "
            f"{max(ratios):>8.4f} {sum(ratio < 1 - ROUNDING for ratio in ratios):>6} "
            f"{len(above):>6} {sum(entry.proved for entry in found):>6} "
            f"{sum(entry.seconds for entry in found):>8.1f}"
        )
        for entry in above:
            print(f"  above: {entry.case.layer} {entry.case.precision} ratio {entry.ratio!r}")
    return not any(x.ratio > 1 + ROUNDING for found in groups.values() for x in found)


def compare_timeloop(golden: Path) -> bool:
    """Compare with all records; whether the search is never above one."""
    print("Timeloop: EDP of the exact search over EDP of the record's mapping, both in one model")
    columns = "n min median max better above proved seconds".split()
    widths = (4, 8, 8, 8, 6, 6, 6, 8)
    head = " ".join(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True))
    print(f"{'machine':<30} {head}")
    searched, fixed = report(searched_records(golden)), report(fixed_records(golden))
    return searched and fixed
