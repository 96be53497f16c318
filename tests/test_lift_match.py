"""Integer networks whose nodes name their widths (PLiNIO for MATCH)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from qmc.arithmetic import Rounding
from qmc.calibrate import calibrate
from qmc.errors import UnsupportedOpError
from qmc.frontend import load_network
from qmc.quantize import quantize
from qmc.reference import run_network
from qmc.widths import parse_widths
from tests.onnx_graph import OnnxGraph, run_onnx

_WIDTHS = {"weight_bits", "bias_bits", "mult_bits", "add_bits", "out_bits"}


def integers(g: OnnxGraph, bits: int, *shape: int) -> str:
    half = 1 << (bits - 1)
    return g.const(g.rng.integers(-half, half, shape).astype(np.float32))


def requantized(g: OnnxGraph, sums: str, channels: int, bits: int, shift: int) -> str:
    """Mul, Add, Div, Floor and Clip, as the exporter writes them."""
    multiplier = g.rng.integers(40, 250, (1, channels, 1, 1)).astype(np.float32)
    biases = g.rng.integers(-30, 31, (1, channels, 1, 1)).astype(np.float32)
    t = g.node("Mul", sums, g.const(multiplier), mult_bits=32)
    t = g.node("Add", t, g.const(biases * multiplier), add_bits=32)
    t = g.node("Floor", g.node("Div", t, g.const(np.float32([2**shift]))))
    return g.node("Clip", t, min=0.0, max=float(2**bits - 1), out_bits=bits)


def small_network(bits: int) -> tuple[OnnxGraph, str]:
    g = OnnxGraph((1, 3, 7, 6), opset=10)
    t = g.node("Conv", "x", integers(g, 4, 5, 3, 3, 2), weight_bits=4, pads=[1, 0, 1, 1])
    t = g.node("MaxPool", requantized(g, t, 5, 7, 13), kernel_shape=[2, 2], strides=[2, 1])
    t = g.node("Conv", t, integers(g, 8, 5, 1, 3, 3), weight_bits=8, group=5, pads=[1, 1, 1, 1])
    t = requantized(g, t, 5, 4, 18)
    t = g.node("Conv", t, integers(g, 2, 4, 5, 1, 1), weight_bits=2)
    t = g.node("Flatten", requantized(g, t, 4, bits, 9))
    w, b = integers(g, bits, 6, 60), integers(g, 8, 6)
    return g, g.node("Gemm", t, w, b, transB=1, weight_bits=bits, bias_bits=32)


def save(g: OnnxGraph, output: str, folder: Path) -> tuple[Path, Path]:
    """The annotated file, and one without the attributes that ONNX does not know."""
    model = g.model(output)
    path, plain = folder / "match.onnx", folder / "plain.onnx"
    onnx.save(model, path)
    for node in model.graph.node:
        kept = [attribute for attribute in node.attribute if attribute.name not in _WIDTHS]
        del node.attribute[:]
        node.attribute.extend(kept)
    onnx.save(model, plain)
    return path, plain


@pytest.mark.parametrize("bits", [3, 8])
def test_integers_of_every_layer_are_the_files(tmp_path: Path, bits: int) -> None:
    g, output = small_network(bits)
    path, plain = save(g, output, tmp_path)
    _, network = load_network(path)
    widths = [p.given.bits for p in network.parameters.values() if p.given is not None]
    assert widths == [4, 8, 2, bits]
    assert [r.bits for r in network.given_ranges.values()][:2] == [8, 7]
    batch = np.random.default_rng(9).integers(0, 256, (8, 3, 7, 6)).astype(np.float32)
    widths_left = parse_widths("w8a8", network)  # of the sums at the end: the file has none
    scheme = calibrate(network, [batch], widths_left, rounding=Rounding.FLOOR)
    integer = quantize(network, scheme)
    last = network.layers[-1]
    for seed in range(5):
        codes = np.random.default_rng(seed).integers(0, 256, (1, 3, 7, 6))
        values = run_network(integer, codes.astype(np.uint8))
        before = values[last.inputs[0]].reshape(-1)
        graph = onnx.load(plain)
        flat = next(node for node in graph.graph.node if node.op_type == "Flatten")
        del graph.graph.output[:]
        graph.graph.output.append(helper.make_tensor_value_info(flat.output[0], 1, None))
        onnx.save(graph, tmp_path / "cut.onnx")
        expected = run_onnx(tmp_path / "cut.onnx", codes.astype(np.float32))
        np.testing.assert_array_equal(before, expected.reshape(-1))
        assert len(np.unique(before)) > 2


def test_weights_beyond_their_width_are_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 1, 4, 5), opset=10)
    w = g.const(np.array([0, 5], np.float32).reshape(2, 1, 1, 1))
    path, _ = save(g, g.node("Conv", "x", w, weight_bits=3, name="c"), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"'c'.*3 bits; allowed: -4 to 3"):
        load_network(path)


def test_clip_to_another_range_than_its_width_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 1, 4, 5), opset=10)
    path, _ = save(g, g.node("Clip", "x", min=0.0, max=6.0, out_bits=3, name="c"), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"'c'.*\[0.0, 6.0\]; allowed.*0 to 7"):
        load_network(path)
