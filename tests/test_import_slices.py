"""Slice and Split: the extracted network computes what ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmc.errors import UnsupportedOpError
from qmc.frontend import load_network
from qmc.layer import Op
from tests.onnx_graph import OnnxGraph
from tests.test_import_operators import check, conv


def sliced(g: OnnxGraph, x: str, starts: Any, ends: Any, axes: Any, steps: Any = ()) -> str:
    limits = [starts, ends, axes, *([steps] if steps else [])]
    return g.node("Slice", x, *(g.const(np.array(values, dtype=np.int64)) for values in limits))


@pytest.mark.parametrize(
    ("limits", "starts", "strides"),
    [
        (([1], [4], [1]), (1, 0, 0), (1, 1)),
        (([-2], [99], [-3]), (4, 0, 0), (1, 1)),
        (([0, 1], [1 << 62, -1], [2, 3], [3, 2]), (0, 0, 1), (3, 2)),
        (([2, 1, 0, 0], [5, 7, 4, 1 << 62], [1, 2, 3, 0], [1, 2, 1, 1]), (2, 1, 0), (2, 1)),
    ],
)
def test_slice_of_an_image(
    tmp_path: Path, limits: Any, starts: tuple[int, ...], strides: tuple[int, int]
) -> None:
    g = OnnxGraph(("b", 6, 8, 7))
    layer = check(tmp_path, g, sliced(g, "x", *limits)).layers[0]
    assert (layer.op, layer.starts, layer.strides) == (Op.SLICE, starts, strides)


def test_slices_of_a_signal_and_of_features(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 6, 17))
    t = sliced(g, conv(g, "x", 8, 6, (3,)), [2, 1], [7, 14], [1, 2], [1, 3])
    t = g.node("Flatten", t)
    network = check(tmp_path, g, sliced(g, t, [3], [20], [1]))
    assert [layer.starts for layer in network.layers if layer.op is Op.SLICE] == [
        (2, 0, 1),
        (3, 0, 0),
    ]


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize("sizes", [(), (1, 4, 3)])
def test_split_becomes_slices(tmp_path: Path, opset: int, sizes: tuple[int, ...]) -> None:
    g = OnnxGraph(("b", 3, 5, 4), opset=opset)
    t = conv(g, "x", 8, 3, (1, 1))
    inputs, attributes = [t], {"axis": 1}
    if sizes and opset < 13:
        attributes["split"] = list(sizes)
    elif sizes:
        inputs.append(g.const(np.array(sizes, np.int64)))
    elif opset >= 18:
        attributes["num_outputs"] = 2
    g.node("Split", *inputs, name="parts", **attributes)
    count = len(sizes) or 2
    del g.nodes[-1].output[:]
    g.nodes[-1].output.extend(f"part{i}" for i in range(count))
    ends = [f"part{i}" for i in range(count)]
    network = check(tmp_path, g, g.node("Concat", g.node("Relu", ends[-1]), *ends[:-1], axis=1))
    slices = [layer for layer in network.layers if layer.op is Op.SLICE]
    assert [layer.starts[0] for layer in slices] == ([0, 1, 5] if sizes else [0, 4])
    assert slices[0].name == "parts_0"


def test_halves_of_a_shuffle_read_the_unshuffled_channels(tmp_path: Path) -> None:
    """The end of a ShuffleNet unit and the start of the next."""
    g = OnnxGraph(("b", 6, 4, 5))
    t = conv(g, "x", 8, 6, (1, 1))
    t = g.node("Reshape", t, g.const(np.array([1, 2, 4, 4, 5])))
    t = g.node("Transpose", t, perm=[0, 2, 1, 3, 4])
    t = g.node("Reshape", t, g.const(np.array([1, 8, 4, 5])))
    halves = [sliced(g, t, [first], [first + 4], [1]) for first in (0, 4)]
    network = check(tmp_path, g, g.node("Add", halves[0], g.node("Relu", halves[1])))
    slices = [layer for layer in network.layers if layer.op is Op.SLICE]
    assert [(layer.interleave, layer.starts[0]) for layer in slices] == [(2, 0), (2, 4)]
    assert {layer.inputs for layer in slices} == {(network.layers[0].output,)}


def test_shuffle_with_another_reader_stays(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 6, 4, 5))
    t = g.node("Reshape", g.node("Relu", "x"), g.const(np.array([1, 3, 2, 4, 5])))
    t = g.node("Transpose", t, perm=[0, 2, 1, 3, 4])
    t = g.node("Reshape", t, g.const(np.array([1, 6, 4, 5])))
    half = sliced(g, t, [2], [5], [1])
    network = check(tmp_path, g, g.node("Concat", half, t, axis=1))
    assert [layer.interleave for layer in network.layers if layer.op is Op.SLICE] == [3, 1]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (([0], [6], [1], [2]), "steps .1, 2, 1, 1.; allowed: 1 for channels, 1 or more for rows"),
        (([-1], [-9], [2], [-1]), "steps .1, 1, -1, 1.; allowed: 1 for channels"),
        (([0], [1], [0]), "0 to 1 of the batch; allowed: the other axes"),
    ],
)
def test_other_slices_are_refused(tmp_path: Path, limits: Any, message: str) -> None:
    g = OnnxGraph((1, 6, 8, 7))
    path = g.save(g.node("Relu", sliced(g, "x", *limits)), tmp_path)
    with pytest.raises(UnsupportedOpError, match=message):
        load_network(path)
