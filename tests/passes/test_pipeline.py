"""The passes together: files written on the way, and trained networks."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from qmc.float_model import FloatModel
from qmc.frontend import import_onnx, load_network
from qmc.passes import front_passes, run_pipeline
from tests.onnx_graph import OnnxGraph, run_onnx

MODELS = (
    "autoencoder_toycar",
    "dscnn_kws",
    "efficientnet_lite0_imagenet",
    "mobilenetv1_025_vww",
    "mobilenetv1_075_imagenet",
    "mobilenetv2_1.0_imagenette",
    "mobilenetv3_small_035_textcls",
    "resnet20_cifar10",
    "resnet56_cifar10",
    "resnet8_cifar10",
    "resnet8_cifar10jpg",
    "squeezenet1_1_imagenet",
)


def count_layers(graph: onnx.GraphProto) -> int:
    """Layers after folding: every hard-swish is one Add, Clip, Mul and Div of the file."""
    ops = Counter(node.op_type for node in graph.node)
    hard_swish = ops["Div"]
    kept = ("Conv", "Gemm", "Add", "Mul", "Concat", "MaxPool", "GlobalAveragePool", "HardSigmoid")
    return sum(ops[op] for op in kept) - 2 * hard_swish + hard_swish


def count_macs(graph: onnx.GraphProto) -> int:
    """Multiply-accumulates from the shapes that the file states."""
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [1, *(dim.dim_value for dim in dims[1:])]
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            pixels = math.prod(shapes[node.output[0]][2:])
            total += math.prod(shapes[node.input[1]]) * pixels
    return total


def model(tmp_path: Path) -> Path:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Relu", g.node("Conv", "x", g.random(4, 3, 3, 2), name="stem"))
    return g.save(g.node("HardSwish", t), tmp_path)


def test_dump_writes_the_module_after_each_pass(tmp_path: Path) -> None:
    folder = tmp_path / "ir"
    passes = front_passes(equalize=True)
    run_pipeline(import_onnx(model(tmp_path)).module, passes, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "00_imported.py"
    assert names[1:] == [f"{i:02d}_{p.info.name}.py" for i, p in enumerate(passes, start=1)]
    assert "qmc.conv" in (folder / names[-1]).read_text()
    assert "n0_stem" in (folder / "00_imported.py").read_text()


def test_dump_of_later_passes_continues_the_numbers(tmp_path: Path) -> None:
    module = import_onnx(model(tmp_path)).module
    run_pipeline(module, front_passes()[:2], tmp_path / "ir", first=7)
    names = sorted(path.name for path in (tmp_path / "ir").iterdir())
    assert [name[:2] for name in names] == ["08", "09"]


def test_dump_is_the_same_every_time(tmp_path: Path) -> None:
    digests = set()
    for name in ("first", "second"):
        load_network(model(tmp_path), dump_dir=tmp_path / name)
        texts = [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
        digests.add(hashlib.sha256(b"".join(texts)).hexdigest())
    assert len(digests) == 1


def test_importing_the_package_does_not_import_tvm() -> None:
    code = "import sys, qmc, qmc.passes, qmc.frontend; sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_pass_is_an_attribute_error() -> None:
    import qmc.passes

    with pytest.raises(AttributeError, match="NoSuchPass"):
        qmc.passes.NoSuchPass  # noqa: B018 - the access is the test
    for name in qmc.passes.__all__:
        assert getattr(qmc.passes, name) is not None


@pytest.mark.parametrize("name", MODELS)
def test_trained_model_computes_what_onnx_computes(shared: Path, name: str) -> None:
    path = shared / "data" / "models" / f"{name}.onnx"
    module, network = load_network(path)
    graph = onnx.load(path).graph
    assert len(network.layers) == count_layers(graph)
    assert network.macs == count_macs(graph)
    assert "batch_norm" not in module.script(show_meta=False)
    shape = network.tensors[network.input].shape
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = run_onnx(path, data)
    found = FloatModel(network).run(data)[network.output].reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    assert (network.input, network.output) == ("input", "logits")


def test_equalized_resnet_computes_what_onnx_computes(shared: Path) -> None:
    path = shared / "data" / "models" / "resnet8_cifar10.onnx"
    _, network = load_network(path, equalize=True)
    data = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    expected = run_onnx(path, data)
    found = FloatModel(network).run(data)[network.output].reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
