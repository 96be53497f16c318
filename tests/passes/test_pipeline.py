"""The passes together: files written on the way, and trained networks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qmc.float_model import FloatModel
from qmc.frontend import import_onnx, load_network
from qmc.passes import front_passes, run_pipeline
from tests.onnx_graph import OnnxGraph, run_onnx

#: Layers and multiply-accumulates, counted by hand from the published architectures.
MODELS = {
    "autoencoder_toycar": (10, 264192),
    "dscnn_kws": (11, 2656768),
    "efficientnet_lite0_imagenet": (60, 385187552),
    "mobilenetv1_025_vww": (29, 7489664),
    "mobilenetv1_075_imagenet": (29, 325400448),
    "mobilenetv2_1.0_imagenette": (64, 152816000),
    "mobilenetv3_small_035_textcls": (108, 16315376),
    "resnet20_cifar10": (32, 40813184),
    "resnet56_cifar10": (86, 125747840),
    "resnet8_cifar10": (14, 12501632),
    "resnet8_cifar10jpg": (14, 12501632),
    "squeezenet1_1_imagenet": (38, 352540352),
}


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
    assert (len(network.layers), network.macs) == MODELS[name]
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
