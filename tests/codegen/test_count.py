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
from qmc.cost_models.nest import build_nest
from qmc.cost_models.traffic import FirstFill, operand_traffic
from qmc.integer import IntegerNetwork
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Mapping
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
    write_files(emit(network, mappings), folder)
    program = compile_folder(folder, folder / "run", ("-O1", "-DQMC_COUNT"))
    builder_bytes = (folder / "input.bin", folder / "output.bin")
    from qmc.codegen.kernel import tensor_bytes

    builder_bytes[0].write_bytes(bytes(tensor_bytes(network, network.input)))
    printed = run_command([str(program), *map(str, builder_bytes)], folder)
    return parse_counts(printed)


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


@settings(max_examples=8)
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
