"""Mappings whose loops do not divide their dims: the emitted C computes and counts the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.codegen.counting import ElementCount
from qmc.cost_models.nest import build_nest
from qmc.cost_models.remainders import average, check_windows, cut_traffic
from qmc.cost_models.traffic import FirstFill
from qmc.errors import MappingError
from qmc.integer import IntegerNetwork
from qmc.layer import Layer, Operand
from qmc.mapping import Mapping
from tests.codegen.mappings import random_cut_mapping
from tests.codegen.networks import Builder
from tests.codegen.test_count import count, machine
from tests.codegen.test_emit import check


def cut_mappings(network: IntegerNetwork, rng: np.random.Generator) -> dict[str, Mapping]:
    """One for every layer with weights, such that the model prices it."""
    found = {}
    for integer in network.layers:
        while integer.weight_bits is not None:
            mapping = random_cut_mapping(integer.layer, rng)
            if is_priced(integer.layer, mapping):
                found[integer.layer.name] = mapping
                break
    return found


def is_priced(layer: Layer, mapping: Mapping) -> bool:
    try:
        check_windows(build_nest(layer, machine(), mapping))
    except MappingError:
        return False
    return True


def odd_layers(seed: int) -> Builder:
    """Sizes that few numbers divide; widths, pads, strides, dilations and groups that differ."""
    rng = np.random.default_rng(seed)
    bits = [(int(w), int(o)) for w, o in rng.integers(2, 9, (6, 2))]
    net = Builder((1, 5, 9, 7), int(rng.integers(2, 9)), seed)
    source = net.conv("input", 10, (3, 2), bits[0], pads=(1, 0, 1, 1))
    source = net.conv(source, 10, (3, 5), bits[1], groups=10, pads=(1, 2, 1, 2))
    source = net.conv(source, 5, (1, 1), bits[2], strides=(2, 1))
    source = net.conv(source, 15, (2, 3), bits[3], groups=5, pads=(0, 1, 1, 1))
    source = net.conv(source, 7, (3, 3), bits[4], dilations=(1, 2), pads=(1, 2, 1, 2))
    net.conv(source, 11, (1, 1), (8, 8))
    return net


@settings(max_examples=5)
@given(st.integers(0, 1 << 30))
def test_cut_layers_equal_reference(seed: int) -> None:
    builder = odd_layers(seed)
    network = builder.network()
    mappings = cut_mappings(network, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        check(network, builder.codes(2), Path(folder), mappings)


def model(layer: Layer, index: int, mapping: Mapping) -> set[ElementCount]:
    nest = build_nest(layer, machine(), mapping)
    found = set()
    for operand in Operand:
        for level, (_, total) in cut_traffic(nest, operand, FirstFill.ELIDED).items():
            many = nest.used_instances(level)
            mean = average(total, many)
            counts = mean.reads, mean.fills, mean.updates, mean.updates - mean.final_updates
            found.add(ElementCount(index, level, operand, *counts, many))
    return found


@settings(max_examples=5)
@given(st.integers(0, 1 << 30))
def test_cut_counted_accesses_equal_model(seed: int) -> None:
    network = odd_layers(seed).network()
    mappings = cut_mappings(network, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        counted = set(count(network, mappings, Path(folder)))
    for i, integer in enumerate(network.layers):
        mapping = mappings[integer.layer.name]
        found = {entry for entry in counted if entry.layer == i}
        assert found == model(integer.layer, i, mapping), mapping.loops
