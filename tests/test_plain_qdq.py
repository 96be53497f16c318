"""QDQ without functions: standard operators, read back to the same scheme, differences counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from qmc.calibrate import calibrate
from qmc.compiler import Plan
from qmc.errors import QmcError
from qmc.export_command import export_build
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.network import Network
from qmc.plain_qdq import plain_difference, to_plain_qdq
from qmc.qdq_export import to_qdq
from qmc.quantize import quantize
from qmc.reference import run_network
from qmc.scheme import Scheme
from qmc.widths import Widths
from tests.onnx_graph import run_onnx
from tests.test_qdq_export import chain, exported, images, quantized, two_branches

WIDTHS = [(8, 8), (4, 4), (3, 5), (2, 2)]
Parts = tuple[Network, Scheme, IntegerNetwork]


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("graph", [two_branches, chain])
def test_only_standard_operators_and_the_same_scheme_when_read(
    tmp_path: Path, graph: object, widths: tuple[int, int]
) -> None:
    parts = quantized(graph(), tmp_path, Widths(*widths))  # type: ignore[operator]
    plain = to_plain_qdq(to_qdq(*parts))
    onnx.checker.check_model(plain, full_check=True)
    assert not plain.functions
    assert [entry.domain for entry in plain.opset_import] == [""]
    assert not {"Identity"} & {node.op_type for node in plain.graph.node}
    path = tmp_path / "plain.onnx"
    onnx.save(plain, path)
    network = load_network(path)[1]
    scheme = calibrate(network, None, Widths())
    integer = quantize(network, scheme)
    assert exported(network, scheme, integer) == exported(*parts)
    again = to_plain_qdq(to_qdq(network, scheme, integer))
    assert again.SerializeToString(deterministic=True) == plain.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("graph", [two_branches, chain])
def test_differences_are_those_of_the_reference_and_onnx_runtime(
    tmp_path: Path, graph: object
) -> None:
    parts = quantized(graph(), tmp_path, Widths(4, 4))  # type: ignore[operator]
    network, _, integer = parts
    plain, data = to_plain_qdq(to_qdq(*parts)), images(network, 40, seed=5)
    found = plain_difference(plain, integer, data)
    path = tmp_path / "plain.onnx"
    onnx.save(plain, path)
    source, target = integer.quantization["x"], integer.quantization[integer.output]
    expected = run_network(integer, source.quantize(data))[integer.output]
    codes = target.quantize(run_onnx(path, data))
    distance = np.abs(codes.astype(int) - expected).reshape(len(data), -1)
    assert (found.inputs, found.elements) == (40, distance.size)
    assert (found.differing, found.largest) == (np.count_nonzero(distance), distance.max())
    assert found.largest <= 0.2 * found.highest


def test_another_network_is_told_apart(tmp_path: Path) -> None:
    """The comparison can fail: two steps more at every sum of the last layer are seen."""
    network, scheme, integer = quantized(chain(), tmp_path, Widths())
    last = network.layers[-1].name
    own = scheme.weights[last]
    assert own.bias is not None
    wrong = replace(own, bias=tuple(value + 10 for value in own.bias))
    other = replace(scheme, weights={**scheme.weights, last: wrong})
    plain = to_plain_qdq(to_qdq(network, other, quantize(network, other)))
    found = plain_difference(plain, integer, images(network, 4))
    assert found.differing == found.elements


def test_command_writes_it_and_counts(small_plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "plain.onnx"
    written = export_build(small_plan.output, "qdq", file, plain=True)
    assert written["files"] == [str(file)]
    assert not onnx.load(file).functions
    assert written["difference"]["inputs"] == 16
    assert re.search(r"^random inputs: .*16 inputs", written["notes"][1])
    shape = small_plan.integer.tensors[small_plan.integer.input].shape[1:]
    np.save(tmp_path / "i.npy", np.zeros((3, *shape), np.float32))
    written = export_build(small_plan.output, "qdq", file, plain=True, calib=tmp_path / "i.npy")
    assert written["difference"]["inputs"] == 3


def test_flags_that_do_not_belong_together_are_refused(small_plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(QmcError, match="--plain: found --format qonnx; allowed: --format qdq"):
        export_build(small_plan.output, "qonnx", tmp_path / "o", plain=True)
    with pytest.raises(QmcError, match="--calib: belongs to --plain"):
        export_build(small_plan.output, "qdq", tmp_path / "o", calib=tmp_path)
    assert not (tmp_path / "o").exists()
