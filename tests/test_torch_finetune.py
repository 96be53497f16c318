"""``qmc finetune``: trained integers, in files that compile to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

import qmc
from qmc.calibrate import calibrate
from qmc.errors import DataError, ModelError, QmcError, SchemeError
from qmc.float_model import FloatModel
from qmc.frontend import load_network
from qmc.integer_runner import IntegerRunner
from qmc.progress import Stages
from qmc.quantize import quantize
from qmc.scheme_io import load_scheme
from qmc.widths import Widths
from tests.onnx_graph import OnnxGraph
from tests.test_qdq_export import functions, images, two_branches
from tests.torch_required import torch

from qmc.train.command import FinetuneOptions, finetune  # isort: skip
from qmc.train.fake_quantized import FakeQuantized  # isort: skip
from qmc.train.layers import compute  # isort: skip
from qmc.train.learn import Course  # isort: skip

EXAMPLE = Path(__file__).parent.parent / "examples" / "fashion"


def stages() -> Stages:
    return Stages(Console(quiet=True))


def small(folder: Path) -> Path:
    """Batch normalization behind a convolution and a MatMul, transposed Gemm, shared weights."""
    g = OnnxGraph(("batch", 3, 8, 6))
    t = g.node("Conv", "x", g.random(6, 3, 3, 3), name="first")
    norm = [g.const(g.rng.uniform(0.5, 2, 6).astype(np.float32)) for _ in range(4)]
    t = g.node("Relu", g.node("BatchNormalization", t, *norm))
    shared = g.random(6, 6, 1, 1)
    t = g.node("Conv", t, shared, g.random(6), name="second")
    t = g.node("Add", t, g.node("Conv", t, shared, name="third"))
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    t = g.node("Relu", g.node("Gemm", t, g.random(6, 7), g.random(7), name="fourth"))
    t = g.node("Add", g.node("MatMul", t, g.random(7, 4), name="fifth"), g.random(4))
    return g.save(g.node("Softmax", t, axis=1), folder)


def noise(folder: Path, count: int = 24) -> Path:
    data = np.random.default_rng(4).standard_normal((count, 3, 8, 6)).astype(np.float32)
    labels = np.arange(count) % 4
    np.savez(folder / "noise.npz", images=data, labels=labels)
    return folder / "noise.npz"


@pytest.mark.parametrize("build", [two_branches, functions])
def test_layers_are_those_of_onnx_runtime(
    tmp_path: Path, build: Callable[[], tuple[OnnxGraph, str]]
) -> None:
    graph, output = build()
    network = load_network(graph.save(output, tmp_path))[1]
    data = images(network, 2, seed=1)
    real = FloatModel(network).run(data)
    for layer in network.layers:
        own = network.parameters.get(layer.name)
        arrays = (None, None) if own is None else (own.weights, own.bias)
        tensors = [None if a is None else torch.from_numpy(a) for a in arrays]
        inputs = [torch.from_numpy(real[name]) for name in layer.inputs]
        found = compute(network, layer, inputs, *tensors).numpy()
        np.testing.assert_allclose(found, real[layer.output], atol=2e-5, err_msg=layer.name)


@pytest.mark.parametrize("widths", [(8, 8), (2, 4), (3, 3)])
def test_simulation_has_the_integers_of_the_reference(
    tmp_path: Path, widths: tuple[int, int]
) -> None:
    network = load_network(small(tmp_path))[1]
    data = np.random.default_rng(1).standard_normal((40, 3, 8, 6)).astype(np.float32)
    scheme = calibrate(network, [data], Widths(*widths))
    model = FakeQuantized(network, scheme)
    cut = replace(network, layers=network.layers[:-1], output=model.logits)
    integer = quantize(cut, scheme)
    params = integer.quantization[model.logits]
    with torch.no_grad():
        found = model.forward(torch.from_numpy(data)).numpy() / params.scale + params.zero_point
    expected = IntegerRunner(integer).run(integer.quantization["x"].quantize(data))
    assert (np.rint(found) == expected).all(axis=1).mean() > 0.8  # others: ties in float32


def test_tuned_files_compile_to_the_trained_integers(tmp_path: Path) -> None:
    output = tmp_path / "tuned.onnx"
    options = FinetuneOptions(
        small(tmp_path), output, "w2a4", train=noise(tmp_path), course=Course(steps=6, rate=30)
    )
    data = finetune(options, stages())
    assert data["labels"]
    network = load_network(output)[1]
    scheme = load_scheme(tmp_path / "tuned.scheme.yaml", network)
    before = load_network(options.model)[1]
    assert [layer.name for layer in network.layers] == [layer.name for layer in before.layers]
    changed = [
        not np.allclose(network.parameters[name].weights, one.weights, atol=1e-3)
        for name, one in before.parameters.items()
    ]
    assert all(changed)
    nodes = [[n.op_type for n in onnx.load(p).graph.node] for p in (options.model, output)]
    assert nodes[0] == nodes[1]
    plan = qmc.compile(
        output, "eyeriss", tmp_path / "build", scheme=str(tmp_path / "tuned.scheme.yaml"), jobs=1
    )
    assert plan.scheme == scheme
    for one in plan.integer.layers:
        if one.weights is not None:
            codes = np.frombuffer(scheme.weights[one.layer.name].codes or b"", np.int8)
            np.testing.assert_array_equal(one.weights.reshape(-1), codes)


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    model, images, written = small(tmp_path), noise(tmp_path), []
    for seed in (1, 1, 2):
        output = tmp_path / f"{len(written)}.onnx"
        course = Course(steps=4, rate=20, seed=seed)
        finetune(FinetuneOptions(model, output, "w3a3", calib=images, course=course), stages())
        written.append(output.read_bytes() + output.with_suffix(".scheme.yaml").read_bytes())
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize("scheme", ["w2a4", "w3a3"])
def test_example_gains_accuracy_on_images_it_did_not_learn_from(
    tmp_path: Path, scheme: str
) -> None:
    """700 labelled images to learn from; the 500 others judge before and after."""
    data = np.load(EXAMPLE / "images.npz")
    part = np.where(data["part"] == "calib", "train", data["part"])
    part[np.flatnonzero(part == "eval")[:500]] = "train"
    np.savez(tmp_path / "i.npz", images=data["images"], labels=data["labels"], part=part)
    options = FinetuneOptions(EXAMPLE / "fashion.onnx", tmp_path / "tuned.onnx", scheme)
    sets = {
        "calib": EXAMPLE / "images.npz",
        "train": tmp_path / "i.npz",
        "eval": tmp_path / "i.npz",
    }
    top1 = finetune(replace(options, **sets), stages())["top1"]
    assert top1["images"] == 500
    assert top1["after"] > top1["before"], top1


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    model, images = small(tmp_path), noise(tmp_path)
    given = FinetuneOptions(model, tmp_path / "t.onnx", "w4a8", calib=images)
    for change, error, rule in (
        ({"output": tmp_path / "t.pt"}, QmcError, r"allowed: a name that ends in \.onnx"),
        ({"calib": None}, DataError, "--train: not given, nor --calib"),
        ({"scheme": "we2m1a8"}, SchemeError, "found weights of e2m1; allowed: 2 to 8 bits"),
    ):
        with pytest.raises(error, match=rule):
            finetune(replace(given, **change), stages())  # type: ignore[arg-type]
    graph = onnx.load(model)
    constant = next(t for t in graph.graph.initializer if t.name == graph.graph.node[0].input[1])
    graph.graph.node.insert(
        0, onnx.helper.make_node("Constant", [], [constant.name], value=constant)
    )
    graph.graph.initializer.remove(constant)
    onnx.save(graph, tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="is no float32 constant of the file"):
        finetune(replace(given, model=tmp_path / "c.onnx"), stages())
    assert not (tmp_path / "t.onnx").exists()
