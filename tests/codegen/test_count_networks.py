"""The accesses that the emitted C makes are those that the analytical model charges.

On every layer of two real networks, at the mappings the scheduler chose, in words, and packed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmc.calibrate import calibrate
from qmc.codegen.counting import ElementCount
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.words import mixed_words, packed_words
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.layer import Operand, Precision
from qmc.quantize import quantize
from qmc.schedule import schedule_network
from qmc.targets import load_target
from qmc.targets.target import MemoryLevel
from qmc.widths import parse_widths
from tests.codegen.test_count import count

Words = tuple[int, int, int, int]


@pytest.fixture(scope="module", params=["mobilenetv1_025_vww", "resnet8_cifar10"])
def network(request: pytest.FixtureRequest, shared: Path) -> IntegerNetwork:
    """Quantized to w4a8 on random inputs: ranges do not matter here."""
    _, floats = load_network(shared / "data" / "models" / f"{request.param}.onnx")
    shape = floats.tensors[floats.input].shape
    inputs = np.random.default_rng(0).uniform(0, 1, (1, *shape[1:])).astype(np.float32)
    return quantize(floats, calibrate(floats, [inputs], parse_widths("w4a8", floats)))


@pytest.mark.parametrize("machine", ["eyeriss", "simba"])
def test_counted_words_equal_the_model(
    network: IntegerNetwork, machine: str, tmp_path: Path
) -> None:
    target = load_target(machine)
    weighted = {x.layer.name: x for x in network.layers if x.weight_bits is not None}
    precisions = {
        name: Precision(x.weight_bits, x.inputs[0].bits, x.output.bits, target.psum_bits)
        for name, x in weighted.items()
    }
    work = [(x.layer, precisions[name]) for name, x in weighted.items()]
    found = schedule_network(work, target, AnalyticalModel())
    mappings = {name: result.mapping for name, result in found.items()}
    expected = {
        (name, memory, operand): (words.reads, words.fills, words.updates, words.instances)
        for name, result in found.items()
        for memory, entries in result.cost.accesses.items()
        for operand, words in entries.items()
    }
    counted = {}
    for entry in count(network, mappings, tmp_path):
        name = network.layers[entry.layer].layer.name
        memory = target.memories[entry.level]
        counted[name, memory.name, entry.operand] = in_words(entry, precisions[name], memory)
    assert len(counted) >= 80
    assert counted == expected


def in_words(entry: ElementCount, precision: Precision, memory: MemoryLevel) -> Words:
    """Reads, fills, updates in words of ``memory``, and its instances."""
    bits = precision.bits(entry.operand)
    partial_bits = precision.psum_bits if entry.operand is Operand.O else bits
    final = entry.updates - entry.partial_updates
    return (
        packed_words(entry.reads, partial_bits, memory),
        packed_words(entry.fills, partial_bits, memory),
        mixed_words(entry.partial_updates, final, partial_bits, bits, memory),
        entry.instances,
    )
