"""The emitted program counts its accesses; the analytical model must predict the same numbers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.codegen import emit
from qmc.codegen.build import compile_folder, run_command, write_files
from qmc.codegen.counting import ElementCount, parse_counts
from qmc.codegen.kernel import tensor_bytes
from qmc.cost_models.nest import build_nest
from qmc.cost_models.traffic import FirstFill, operand_traffic
from qmc.integer import IntegerNetwork
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import LoopConstraint, MacArray, MemoryLevel, Packing, Target
from tests.codegen.mappings import LEVELS, random_mapping
from tests.codegen.networks import Builder

FREE = LoopConstraint({}, {})


def machine() -> Target:
    """Four levels, every fan-out huge: any mapping is legal."""
    memories = tuple(
        MemoryLevel(
            name, 1, 16, 1, None, 1 << 20, 1 << 20, frozenset(), frozenset(), Packing.WORDS,
            1.0, 1.0, 1.0, 0.0, None, None, 1, FREE, FREE, FREE,
        )
        for name in LEVELS
    )  # fmt: skip
    mac = MacArray("mac", 1 << 30, 1.0, 0.0, (1, 16), (1, 16))
    return Target("test", "", memories, mac, 1e9, 32, LoopDim.K, {}, "")


def count(
    network: IntegerNetwork, mappings: dict[str, Mapping], folder: Path
) -> tuple[ElementCount, ...]:
    """Emit, build with -DQMC_COUNT, run once."""
    write_files(emit(network, mappings), folder)
    program = compile_folder(folder, folder / "run", ("-O1", "-DQMC_COUNT"))
    source = folder / "input.bin"
    source.write_bytes(bytes(tensor_bytes(network, network.input)))
    return parse_counts(run_command([str(program), str(source), str(folder / "o")], folder))


def model(layer: Layer, index: int, mapping: Mapping) -> set[ElementCount]:
    nest = build_nest(layer, machine(), mapping)
    return {
        ElementCount(
            index,
            level,
            operand,
            traffic.reads,
            traffic.fills,
            traffic.updates,
            traffic.updates - traffic.final_updates,
            nest.used_instances(level),
        )
        for operand in Operand
        for level, traffic in operand_traffic(nest, operand, FirstFill.ELIDED).items()
    }


@settings(max_examples=4)
@given(st.integers(0, 1 << 30))
def test_count_random_mappings_equal_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Builder((1, 6, 8, 6), 8, seed)
    source = net.conv("input", 8, (3, 2), pads=(1, 0, 1, 1))
    source = net.conv(source, 8, (3, 3), groups=8, pads=(1, 1, 1, 1))
    source = net.conv(source, 4, (1, 1), strides=(2, 1))
    source = net.conv(source, 12, (2, 3), groups=2, pads=(0, 1, 1, 1))
    network = net.network()
    mappings = {x.layer.name: random_mapping(x.layer, rng) for x in network.layers}
    with tempfile.TemporaryDirectory() as folder:
        counted = set(count(network, mappings, Path(folder)))
    for i, integer in enumerate(network.layers):
        mapping = mappings[integer.layer.name]
        found = {entry for entry in counted if entry.layer == i}
        assert found == model(integer.layer, i, mapping), mapping.loops


def test_count_small_layer_equals_numbers_worked_by_hand(tmp_path: Path) -> None:
    """K=4, C=1, Q=4, S=3 on three memories and two PEs side by side in K.

    ::

        dram      for K in 0..2                      keeps W I O
        buffer    for Q in 0..4, K in space 0..2     keeps I O
        register  for S in 0..3                      keeps I
                  24 steps of 2 multiply-accumulates
    """
    net = Builder((1, 1, 1, 6), 8)
    net.conv("input", 4, (1, 3), name="conv")
    loops = (
        Loop(LoopDim.K, 2, "dram"),
        Loop(LoopDim.Q, 4, "buffer"),
        Loop(LoopDim.K, 2, "buffer", "x"),
        Loop(LoopDim.S, 3, "register"),
    )
    keep = (
        Keep("dram", frozenset(Operand)),
        Keep("buffer", frozenset({Operand.I, Operand.O})),
        Keep("register", frozenset({Operand.I})),
    )
    counted = count(net.network(), {"conv": Mapping(loops, keep)}, tmp_path)
    found = {
        (x.level, x.operand): (x.reads, x.fills, x.updates, x.partial_updates, x.instances)
        for x in counted
    }
    assert found == {
        # 24 steps, a weight for each of 2 PEs
        (0, Operand.W): (24 * 2, 0, 0, 0, 1),
        # the buffer's 6 columns serve both rounds of K
        (0, Operand.I): (6, 0, 0, 0, 1),
        # a window of 3 columns, then 3 slides of one; both again when K steps; one read feeds 2 PEs
        (1, Operand.I): (2 * (3 + 3), 6, 0, 0, 1),
        (2, Operand.I): (24, 2 * (3 + 3), 0, 0, 2),
        # 16 finished outputs
        (0, Operand.O): (0, 0, 16, 0, 1),
        # 2 sums a step; those of s=0 start from nothing, those of s=2 are finished
        (1, Operand.O): (16 * 2, 0, 24 * 2, 16 * 2, 1),
    }
