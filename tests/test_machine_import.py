"""Machines of other tools: they cost what our hand-written ones cost, and notes tell the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.errors import TargetError
from qmc.layer import LoopDim, Operand
from qmc.machine_import import Imported, import_machine
from qmc.targets import ALL_REMAINING, Packing, Target, load_target
from qmc.timeloop import read_bitwidths, read_mapping, read_problem

MACHINES = {
    "eyeriss_mq": "eyeriss",
    "simba_mq": "simba",
    "eyeriss_ex": "eyeriss-8b",
    "simba_ex": "simba-8b",
}


def golden_files(shared: Path, machine: str) -> list[Path]:
    folder = shared / "data" / "golden" / "timeloop" / "arch"
    return [file for file in sorted(folder.glob(f"{machine}.*")) if ".ART." not in file.name]


def without_orders(target: Target) -> tuple[Any, ...]:
    """Memories and MACs; an order of loops that a block cannot have means nothing."""
    memories = tuple(
        replace(level, temporal=replace(level.temporal, order=())) for level in target.memories
    )
    return memories, target.mac, target.clock_hz, target.psum_bits, target.groups_follow


@pytest.mark.parametrize("machine", MACHINES)
def test_imported_machine_is_the_hand_written_one(
    shared: Path, tmp_path: Path, machine: str
) -> None:
    found = import_machine(golden_files(shared, machine), tmp_path / "machine.yaml").target
    assert without_orders(found) == without_orders(load_target(MACHINES[machine]))


@pytest.mark.parametrize("machine", MACHINES)
def test_imported_machine_costs_the_same_on_fixed_mappings(
    shared: Path, tmp_path: Path, machine: str
) -> None:
    imported = import_machine(golden_files(shared, machine), tmp_path / "machine.yaml").target
    ours = load_target(MACHINES[machine])
    path = shared / "data" / "golden" / "timeloop" / f"fixed_mappings_{machine}.json"
    records = json.loads(path.read_text())
    assert records
    for record in records:
        layer = read_problem(record["problem"], record["depthwise_shape"], record["name"])
        precision = read_bitwidths(record["problem"])
        found, expected = (
            AnalyticalModel(psum=PsumRule.OUTPUT).evaluate(
                layer, precision, target, read_mapping(record["mapping"], layer, target)
            )
            for target in (imported, ours)
        )
        assert found == expected
        assert found.cycles == record["cycles"]


NODES = """
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {global_cycle_seconds: 2e-9}
  - !Component
    name: main
    class: DRAM
    attributes: {width: 64, datawidth: 8, shared_bandwidth: 4}
    constraints: {temporal: {permutation: [P, Q]}}
  - !Component
    name: buffer
    class: SRAM
    attributes: {width: 32, depth: 100, datawidth: 8, multiple_buffering: 2}
    constraints:
      dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}
  - !Container
    name: lane
    spatial: {meshX: 4, meshY: 3}
    constraints:
      spatial: {permutation: [M, C], split: 1, factors: [R=1, S=1, P=1, Q=1, N=1]}
  - !Parallel
    nodes:
    - !Component
      name: weights
      class: regfile
      attributes: {entries: 9, datawidth: 8}
      constraints:
        dataspace: {keep: [Weights]}
    - !Component
      name: registers
      class: regfile
      attributes: {entries: 6, datawidth: 16, read_bandwidth: 2}
      constraints:
        dataspace: {keep: [Outputs]}
        temporal: {factors: [R=0, M<=3, C=1]}
  - !Component
    name: mac
    class: intmac
    attributes: {multiplier_width: 8}
"""


def imported(folder: Path, text: str, *more: str) -> Imported:
    files = []
    for index, content in enumerate((text, *more)):
        files.append(folder / f"file{index}.yaml")
        files[-1].write_text(content, encoding="utf-8")
    return import_machine(files, folder / "machine.yaml")


def test_nodes_of_version_4_are_read(tmp_path: Path) -> None:
    result = imported(tmp_path, NODES)
    main, buffer, weights, registers = result.target.memories
    assert (main.row_words, main.depth_words) == (8, None)
    assert main.keep == frozenset(Operand)
    assert main.temporal.order == (LoopDim.Q, LoopDim.P)
    assert (buffer.row_words, buffer.buffering) == (4, 2)
    assert buffer.depth_words == 200  # half of 100 rows of 4 words
    assert (buffer.fanout_x, buffer.fanout_y) == (4, 3)
    assert buffer.bypass == {Operand.W}
    outside = {LoopDim.N, LoopDim.P, LoopDim.Q, LoopDim.R, LoopDim.S}
    assert {dim for dim, factor in buffer.spatial_x.factors.items() if factor == 1} == {
        *outside,
        LoopDim.C,
    }
    assert {dim for dim, factor in buffer.spatial_y.factors.items() if factor == 1} == {
        *outside,
        LoopDim.K,
    }
    assert weights.bypass == {Operand.I, Operand.O}
    assert (weights.instances, weights.fanout_x, weights.fanout_y) == (12, 1, 1)
    assert (registers.instances, registers.depth_words) == (12, 6)
    assert (registers.word_bits, registers.packing) == (16, Packing.SINGLE)
    assert (registers.read_bandwidth, registers.write_bandwidth) == (2, None)
    assert registers.temporal.factors == {LoopDim.S: ALL_REMAINING, LoopDim.C: 1}
    assert registers.temporal.maximum == {LoopDim.K: 3}
    assert result.target.mac.instances == 12
    assert result.target.mac.weight_bits == (1, 8)
    assert result.target.clock_hz == pytest.approx(500e6)


def test_notes_tell_what_was_not_translated_and_stand_in_the_file(tmp_path: Path) -> None:
    result = imported(tmp_path, NODES)
    for note in (
        "main: attribute shared_bandwidth = 4 is not translated",
        "registers: no energy in the files; 0 pJ. Give the ERT with --ert",
        "mac: no energy of a compute action in the files; 0 pJ",
        "groups_follow: not in the files; assumed: group loops run where M loops may",
    ):
        assert note in result.notes
        assert f"# - {note}\n" in result.path.read_text(encoding="utf-8")


def test_energy_table_gives_row_energies(tmp_path: Path) -> None:
    table = {
        "ERT": {
            "tables": [
                {
                    "name": "system.PE[0..3].registers[1..12]",
                    "actions": [
                        {"name": "read", "energy": 1.5},
                        {"name": "write", "energy": 2.5},
                        {"name": "leak", "energy": 0.25},
                    ],
                },
                {"name": "system.mac", "actions": [{"name": "compute", "energy": 0.75}]},
            ]
        }
    }
    target = imported(tmp_path, NODES, yaml.safe_dump(table)).target
    registers = target.memory("registers")
    assert (registers.read_pj, registers.fill_pj, registers.update_pj) == (1.5, 2.5, 2.5)
    assert (registers.leakage_pj, target.mac.energy_pj) == (0.25, 0.75)


ZIGZAG: dict[str, Any] = {
    "name": "small",
    "memories": {
        "rf": {
            "size": 64,
            "r_bw": 8,
            "w_bw": 8,
            "r_cost": 0.5,
            "w_cost": 0.25,
            "area": 0,
            "operands": ["I2"],
            "served_dimensions": [],
        },
        "unused": {"size": 8, "operands": ["S"], "served_dimensions": []},
        "column": {
            "size": 256,
            "r_bw": 16,
            "w_bw": 8,
            "r_cost": 1.0,
            "w_cost": 0.75,
            "rw_port": 1,
            "operands": ["O", "S"],
            "served_dimensions": ["D2"],
        },
        "dram": {
            "size": 1 << 30,
            "r_bw": 64,
            "w_bw": 64,
            "r_cost": 700,
            "w_cost": 750,
            "latency": 1,
            "min_r_granularity": 64,
            "operands": ["I1", "I2", "O", "S"],
            "served_dimensions": ["D1", "D2"],
        },
    },
    "operational_array": {"unit_energy": 0.04, "dimensions": ["D1", "D2"], "sizes": [6, 5]},
}


def test_zigzag_machine_is_read(tmp_path: Path) -> None:
    result = imported(tmp_path, yaml.safe_dump(ZIGZAG, sort_keys=False))
    dram, column, register = result.target.memories
    assert [level.name for level in result.target.memories] == ["dram", "column", "rf"]
    assert (dram.depth_words, dram.row_words, dram.read_pj, dram.fill_pj) == (None, 8, 700, 750)
    assert (dram.fanout_x, dram.fanout_y) == (6, 1)
    assert (column.instances, column.fanout_x, register.instances) == (6, 5, 30)
    assert (column.depth_words, column.row_words) == (32, 2)
    assert column.update_pj == 1.5  # 0.75 per 8 bits, rows of 16
    assert (column.read_bandwidth, column.write_bandwidth) == (2, 1)
    assert (column.keep, register.keep) == ({Operand.O}, {Operand.W})
    assert (result.target.mac.instances, result.target.mac.energy_pj) == (30, 0.04)
    for note in (
        "unused: keeps no operand; left out",
        "column: operand S is not translated",
        "column: a port shared by reads and writes counts as one for each",
        "dram: min_r_granularity = 64 is not translated",
        "clock_mhz: not in the file; assumed: 1000 MHz",
    ):
        assert note in result.notes


def test_zigzag_partial_sums_fit_the_smallest_memory_of_outputs(tmp_path: Path) -> None:
    data = json.loads(json.dumps(ZIGZAG))
    assert imported(tmp_path, yaml.safe_dump(data, sort_keys=False)).target.psum_bits == 32
    data["memories"]["column"]["size"] = 16
    result = imported(tmp_path, yaml.safe_dump(data, sort_keys=False))
    assert result.target.psum_bits == 16
    assert "psum_bits: not in the file; assumed: 16, which every memory of O holds" in result.notes


def test_zigzag_copies_that_do_not_nest_are_refused(tmp_path: Path) -> None:
    data = json.loads(json.dumps(ZIGZAG))
    data["memories"]["rf"]["served_dimensions"] = ["D1"]
    with pytest.raises(TargetError, match=r"memories\.\w+: found '.*'; allowed: memories whose"):
        imported(tmp_path, yaml.safe_dump(data, sort_keys=False))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mapping: []", "'architecture' .Timeloop. or 'operational_array' .ZigZag."),
        ("- 1", "found 'list'; allowed: a mapping"),
        ("architecture: {version: 0.4}", "at least two memories and a compute unit"),
        ("architecture: {subtree: [{name: 'a[3..1]', local: [{name: b}]}]}", "found 'b'; allowed"),
        ("architecture: {subtree: 7}", "found .TypeError.*Timeloop v0.3 or v0.4"),
        (NODES.replace("meshX: 4", "meshX: 0"), "allowed: Timeloop v0.3 or v0.4"),
        (NODES.replace("depth: 100", "depth: many"), "allowed: Timeloop v0.3 or v0.4"),
        (NODES.replace("datawidth: 16", "datawidth: 0"), "word_bits: found 0; allowed: at least 1"),
        ("operational_array: {dimensions: [D1], sizes: [2]}", "found \"KeyError 'memories'"),
        ("a: &x 1\nb: *x", "an alias"),
        ("!!python/object:os.system {}", "allowed: plain YAML"),
    ],
)
def test_file_that_is_no_machine_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        imported(tmp_path, text)


def test_output_must_be_yaml(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"--output: suffix: found '.txt'; allowed: .yaml, .yml"):
        import_machine([tmp_path / "a.yaml"], tmp_path / "b.txt")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"a.yaml: file: found 'No such file or directory'"):
        import_machine([tmp_path / "a.yaml"], tmp_path / "b.yaml")
