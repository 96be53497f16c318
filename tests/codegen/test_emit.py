"""The emitted C against the NumPy reference."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.arithmetic import Rounding
from qmc.codegen import emit
from qmc.codegen.build import compile_folder, run_program, write_files
from qmc.integer import IntegerNetwork
from qmc.layer import LoopDim, Op, Operand
from qmc.mapping import Keep, Loop, Mapping
from qmc.packing import pack_activation
from qmc.reference import run_network
from tests.codegen.mappings import random_mapping
from tests.codegen.networks import Builder, every_format, every_op


def check(network: IntegerNetwork, codes: np.ndarray, folder: Path, mappings=None) -> None:
    write_files(emit(network, mappings or {}), folder)
    program = compile_folder(folder, folder / "run", ("-O1", "-DQMC_TRACE"))
    values = run_network(network, codes)
    for i in range(len(codes)):
        packed = pack_activation(codes[i : i + 1], network.quantization[network.input].bits)
        run_program(program, packed.tobytes(), folder)
        trace = (folder / "output.bin.trace").read_bytes()
        for layer in network.layers:
            name = layer.layer.output
            expected = pack_activation(
                values[name][i : i + 1], network.quantization[name].bits
            ).tobytes()
            got, trace = trace[: len(expected)], trace[len(expected) :]
            assert got == expected, layer.layer.name
        assert trace == b""


def test_every_op_equals_reference(tmp_path: Path) -> None:
    builder = every_op()
    check(builder.network(), builder.codes(3), tmp_path)


def test_one_output_channel_and_no_loop_around_it_equals_reference(tmp_path: Path) -> None:
    """Step and output tile share one block of C: their names must differ."""
    net = Builder((1, 3, 2, 5), 8, seed=3)
    net.conv("input", 1, (1, 1), (8, 8), name="mean")
    loops = (
        Loop(LoopDim.P, 2, "memory"),
        Loop(LoopDim.Q, 5, "memory"),
        Loop(LoopDim.C, 3, "memory", "x"),
    )
    mapping = Mapping(loops, (Keep("memory", frozenset(Operand)),))
    check(net.network(), net.codes(2), tmp_path, {"mean": mapping})


def random_layers(seed: int, count: int) -> Builder:
    """Convolutions and dense layers of random shape and width; each input is the one before."""
    rng = np.random.default_rng(seed)
    net = Builder((1, 6, 9, 7), int(rng.integers(2, 9)), seed)
    source = "input"
    for _ in range(count):
        source = random_conv(net, source, rng)
    net.dense(net.pool(source, Op.MAX_POOL, net.tensors[source].shape[2:], bits=4), 10, (3, 16))
    return net


def random_conv(net: Builder, source: str, rng: np.random.Generator) -> str:
    _, channels, height, _ = net.tensors[source].shape
    window = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    pads = tuple(int(n) for n in rng.integers(0, 3, 4))
    dilations = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    strides = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    if height < 6:
        strides, pads = (1, 1), (2, 2, 2, 2)
    groups = int(rng.choice([g for g in (1, 1, 2, 3, channels) if channels % g == 0]))
    return net.conv(
        source,
        groups * int(rng.integers(1, 7)) if groups < channels else channels,
        window,
        (int(rng.integers(2, 9)), int(rng.integers(2, 9))),
        groups,
        strides,
        dilations,
        pads,
        rng.choice(list(Rounding)),
    )


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_slices_equal_reference(tmp_path: Path, bits: int) -> None:
    """Channels that fill bytes or not, in order or in turn from several groups."""
    net = Builder((1, 12, 5, 6), bits, seed=bits)
    first = net.slice("input", (0, 0, 0), (12, 5, 6), groups=3)
    parts = (
        net.slice(first, (4, 0, 0), (8, 5, 6), groups=4),
        net.slice(first, (5, 0, 0), (3, 5, 6), groups=2),
        net.slice(first, (2, 0, 0), (6, 5, 6)),
    )
    at = net.slice(net.concat(parts, bits), (1, 1, 2), (13, 2, 2), 2)
    net.slice(net.reshape(at, (1, 52)), (7, 0, 0), (30, 1, 1), groups=4)
    check(net.network(), net.codes(2), tmp_path)


@settings(max_examples=5)
@given(st.integers(0, 1 << 30))
def test_random_layers_and_mappings_equal_reference(seed: int) -> None:
    builder = random_layers(seed, 8)
    network = builder.network()
    rng = np.random.default_rng(seed)
    mappings = {
        layer.layer.name: random_mapping(layer.layer, rng)
        for layer in network.layers
        if layer.layer.has_weights
    }
    with tempfile.TemporaryDirectory() as folder:
        check(network, builder.codes(2), Path(folder), mappings)


@settings(max_examples=3)
@given(st.integers(0, 1 << 30))
def test_weights_of_every_number_format_equal_reference(seed: int) -> None:
    """Weights are stored as codes and multiplied as numbers."""
    rng = np.random.default_rng(seed)
    net = every_format(seed)
    network = net.network()
    mappings = {x.layer.name: random_mapping(x.layer, rng) for x in network.layers[::2]}
    with tempfile.TemporaryDirectory() as folder:
        check(network, net.codes(2), Path(folder), mappings)


@settings(max_examples=2)
@given(st.integers(0, 1 << 30))
def test_all_width_pairs_equal_reference(seed: int) -> None:
    """49 layers in one program: weights of 2 to 8 bits on activations of 2 to 8 bits."""
    rng = np.random.default_rng(seed)
    pairs = [(w, a) for w in range(2, 9) for a in range(2, 9)]
    rng.shuffle(pairs)
    net = Builder((1, 6, 5, 3), int(pairs[0][1]), seed)
    source = "input"
    for i, (weight_bits, _) in enumerate(pairs):
        output_bits = int(pairs[(i + 1) % len(pairs)][1])
        groups = (1, 2, 6, 3)[i % 4]
        window = ((1, 1), (3, 2), (2, 3), (1, 3))[int(rng.integers(4))]
        pads = ((0, 0, 0, 0), (1, 0, 1, 1), (1, 1, 0, 1), (0, 2, 0, 0))
        pad = pads[((1, 1), (3, 2), (2, 3), (1, 3)).index(window)]
        bits = (int(weight_bits), output_bits)
        source = net.conv(source, 6, window, bits, groups, pads=pad)
    network = net.network()
    assert {(x.weight_bits, x.inputs[0].bits) for x in network.layers} == set(
        map(tuple, np.array(pairs).tolist())
    )
    mappings = {x.layer.name: random_mapping(x.layer, rng) for x in network.layers[::2]}
    with tempfile.TemporaryDirectory() as folder:
        check(network, net.codes(2), Path(folder), mappings)
