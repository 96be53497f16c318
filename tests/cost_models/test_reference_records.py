"""Every number of the reference records of other mappers is reproduced."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.base import Accesses, Cost
from qmc.cost_models.nest import build_nest
from qmc.cost_models.receivers import distinct_along
from qmc.cost_models.traffic import FirstFill
from qmc.layer import Layer, Operand, Precision
from qmc.targets import Target, load_target
from qmc.timeloop import read_bitwidths, read_mapping, read_problem
from tests.cost_models.machines import word_variant

OPERANDS = {"Weights": Operand.W, "Inputs": Operand.I, "Outputs": Operand.O}
MACHINES = {
    "eyeriss_mq": "eyeriss",
    "simba_mq": "simba",
    "eyeriss_ex": "eyeriss-8b",
    "simba_ex": "simba-8b",
}


def cost(
    record: dict[str, Any], layer: Layer, precision: Precision, target: Target, fill: FirstFill
) -> Cost:
    mapping = read_mapping(record["mapping"], layer, target)
    return AnalyticalModel(fill, PsumRule.OUTPUT).evaluate(layer, precision, target, mapping)


def check_energy(found: float, printed: float, instances: int = 1) -> None:
    # The records print two decimals per instance.
    assert found == pytest.approx(printed, rel=1e-6, abs=0.006 * instances)


@pytest.mark.parametrize("machine", MACHINES)
def test_fixed_mappings_are_reproduced(shared: Path, machine: str) -> None:
    path = shared / "data" / "golden" / "timeloop" / f"fixed_mappings_{machine}.json"
    records = json.loads(path.read_text())
    target = load_target(MACHINES[machine])
    assert records
    for record in records:
        layer = read_problem(record["problem"], record["depthwise_shape"], record["name"])
        precision = read_bitwidths(record["problem"])
        found = cost(record, layer, precision, target, FirstFill.ELIDED)
        assert found.cycles == record["cycles"], record["name"]
        assert 100 * found.utilization == pytest.approx(record["utilization_pct"], abs=0.0051)
        check_energy(found.energy_pj, record["energy_pj"])
        for level in record["levels"]:
            for name, printed in level.get("tensors", {}).items():
                check_fixed(found.accesses[level["level"]][OPERANDS[name]], printed)


def check_fixed(found: Accesses, printed: dict[str, Any]) -> None:
    assert found.reads == printed["reads_per_instance"]
    assert found.fills == printed["fills_per_instance"]
    assert found.updates == printed["updates_per_instance"]
    assert found.utilized_words == printed["utilized_capacity_words"]
    assert found.instances == printed["utilized_instances_max"]
    check_energy(found.energy_pj, printed["energy_total_pj"], found.instances)


#: Timeloop's levels above a fan-out, and where that fan-out is here.
FAN_OUTS = {
    "shared_glb": ("shared_glb", "x"),
    "inter_PE_column_spatial": ("shared_glb", "x"),
    "DummyBuffer": ("shared_glb", "y"),
    "GlobalBuffer": ("GlobalBuffer", "x"),
    "PEInputBuffer": ("PEInputBuffer", "y"),
    "inter_distributed_buffers_spatial": ("PEInputBuffer", "y"),
    "PEAccuBuffer": ("PEAccuBuffer", "y"),
    "inter_reg_mac_spatial": ("PEAccuBuffer", "y"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_multicast_of_the_records_is_reproduced(shared: Path, machine: str) -> None:
    """How many instances want different data, and how many share: what networks are charged by."""
    path = shared / "data" / "golden" / "timeloop" / f"fixed_mappings_{machine}.json"
    target = load_target(MACHINES[machine])
    names = [level.name for level in target.memories]
    # One name stands for either axis.
    places = FAN_OUTS | {
        "inter_PE_spatial": ("shared_glb", "y") if "eye" in machine else ("GlobalBuffer", "x")
    }
    compared = 0
    for record in json.loads(path.read_text()):
        layer = read_problem(record["problem"], record["depthwise_shape"], record["name"])
        nest = build_nest(layer, target, read_mapping(record["mapping"], layer, target))
        for network in record["networks"]:
            level, axis = places.get(network["network"].split(" <==> ")[0], ("", ""))
            for name, printed in network["tensors"].items():
                if not level or printed["fanout"] == 1 or printed["link_transfers"]:
                    continue
                distinct = distinct_along(nest, OPERANDS[name], names.index(level))[axis]
                shared_by = printed["fanout"] // distinct
                factors = f"multicast{shared_by}/scatter{distinct}"
                assert list(printed["by_multicast_scatter"]) == [factors], record["name"]
                compared += 1
    assert compared > 20


def test_mixed_precision_records_are_reproduced(shared: Path) -> None:
    path = shared / "data" / "golden" / "timeloop-quant-mobilenet-dev.json.gz"
    records = json.loads(gzip.decompress(path.read_bytes()))
    keys = {(record["machine"].removesuffix("-like"), record["arch"]) for record in records}
    targets = {key: word_variant(*key) for key in sorted(keys)}
    assert len(targets) == 6
    for record in records:
        target = targets[record["machine"].removesuffix("-like"), record["arch"]]
        layer = read_problem(record["problem"])
        precision = read_bitwidths(record["problem"])
        found = cost(record, layer, precision, target, FirstFill.COUNTED)
        assert found.cycles == int(record["summary"]["cycles"])
        check_energy(found.energy_by_memory_pj["mac"], mac_energy(record))
        for name, level in record["levels"].items():
            for operand, printed in level.get("operands", {}).items():
                check_mixed(found.accesses[name][OPERANDS[operand]], printed)


def mac_energy(record: dict[str, Any]) -> float:
    return float(
        next(
            level["Energy (total)"]
            for level in record["levels"].values()
            if "Energy (total)" in level
        )
    )


def check_mixed(found: Accesses, printed: dict[str, Any]) -> None:
    assert found.reads == printed["reads"]
    assert found.fills == printed["fills"]
    assert found.updates == printed["updates"]
    assert found.utilized_words == printed["utilized_words"]
    assert found.instances == printed["instances"]
    check_energy(found.energy_pj, printed["energy_total_pJ"], found.instances)
