"""Files that cannot be networks: one line that says what is wrong, and where."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qmc.errors import ModelError, QmcError, UnsupportedOpError, VersionError
from qmc.frontend import PINNED_VERSIONS, check_versions, load_network, network_name
from qmc.onnx_checks import SUPPORTED_OPS
from tests.onnx_graph import OnnxGraph

Change = Callable[[ModelProto], None]


def small_model() -> ModelProto:
    g = OnnxGraph(("batch", 3, 6, 5))
    w = g.const(np.ones((4, 3, 1, 1), np.float32), "w")
    t = g.node("Conv", "x", w, g.const(np.ones(4, np.float32), "b"), name="conv")
    return g.model(g.node("Relu", t, name="act"))


def refused(path: Path, match: str, kind: type[QmcError] = ModelError) -> None:
    """Loading ``path`` fails with one line that matches."""
    with pytest.raises(kind, match=match) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def changed(tmp_path: Path, change: Change) -> Path:
    """The small model after ``change``."""
    model = small_model()
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_small_model_itself_loads(tmp_path: Path) -> None:
    _, network = load_network(changed(tmp_path, lambda model: None))
    assert [layer.name for layer in network.layers] == ["conv"]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.onnx", "cannot be read: No such file")


def test_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "is not a file")


@pytest.mark.parametrize(
    "content", [b"", b"not a model at all", b"\x00" * 100, b"\x89PNG\r\n\x1a\n"]
)
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refused(path, "is not an ONNX file")


def test_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(small_model().SerializeToString().replace(b"conv", b"c\xffnv"))
    refused(path, "not UTF-8")


def test_every_truncation_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = small_model().SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(1, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(QmcError) as caught:
            load_network(path)
        assert "\n" not in str(caught.value)


def _external(model: ModelProto, location: str, length: int = 48) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.full((4, 3, 1, 1), 2, np.float32).tobytes())
    _, network = load_network(changed(tmp_path, lambda model: _external(model, "w.bin")))
    assert network.parameters["conv"].weights.max() == 2


def test_external_data_missing_is_refused(tmp_path: Path) -> None:
    refused(changed(tmp_path, lambda model: _external(model, "w.bin")), "'w.bin' is missing")


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", ""])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(48))
    path = changed(folder, lambda model: _external(model, location))
    refused(path, "lies outside the model's folder|is missing")


def test_external_data_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(48))
    os.symlink(tmp_path / "w.bin", folder / "w.bin")
    refused(changed(folder, lambda m: _external(m, "w.bin")), "lies outside the model's folder")


@pytest.mark.parametrize(("stated", "present"), [(48, 20), (20, 48), (1 << 40, 48), (-48, 48)])
def test_external_data_of_wrong_size_is_refused(tmp_path: Path, stated: int, present: int) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(present))
    refused(changed(tmp_path, lambda m: _external(m, "w.bin", stated)), "the tensor needs 48")


def _cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[1].output[0]


def _dangling(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def _written_twice(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Tanh", ["x"], [model.graph.node[0].output[0]]))


def _two_inputs(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3]))


def _two_outputs(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 4, 6, 5]))


def _input_shape(*dims: int | str) -> Change:
    def change(model: ModelProto) -> None:
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
        model.graph.input[0].CopyFrom(value)

    return change


def _half_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _weights(array: np.ndarray) -> Change:
    def change(model: ModelProto) -> None:
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))

    return change


def _lying_size(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 400


def _huge_size(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]


def _overflowing_size(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32]  # 2^64 is 0 in 64 bits


def _negative_size(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-4, -3, 1, 1]


def _complex_type(model: ModelProto) -> None:
    model.graph.initializer[0].data_type = TensorProto.COMPLEX64


def _old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 3


def _future_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 9999


WEIGHTS = (4, 3, 1, 1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_cycle, "node 'conv': is part of a cycle"),
        (_dangling, "node 'conv': input 'nowhere' is written by no node"),
        (_written_twice, "is written twice"),
        (_two_inputs, "2 inputs and 1 outputs; allowed: one of each"),
        (_two_outputs, "1 inputs and 2 outputs"),
        (_input_shape("b", 3, "h", 5), r"input 'x': dimension 2 is symbolic \('h'\)"),
        (_input_shape("b", 3, 0, 5), "dimension 2 is 0; allowed: at least 1"),
        (_input_shape("b", 3, -6, 5), "dimension 2 is -6"),
        (_input_shape(4, 3, 6, 5), "batch 4; allowed: 1 or symbolic"),
        (_input_shape("b", 3, 1 << 31, 1 << 31), "more than 268435456 elements"),
        (_input_shape("b"), "1 dimensions; allowed: 2 to 4"),
        (_input_shape("b", 5, 6, 5), "node 'conv'|not valid ONNX"),
        (_half_input, "is not float32"),
        (_weights(np.full(WEIGHTS, np.nan, np.float32)), "'w' holds NaN or infinity"),
        (_weights(np.full(WEIGHTS, np.inf, np.float32)), "node 'conv': tensor 'w' holds NaN"),
        (_weights(np.zeros(WEIGHTS, np.float32)), r"node 'conv': all weights \('w'\) are zero"),
        (_weights(np.zeros((4, 0, 1, 1), np.float32)), r"shape \[4, 0, 1, 1\] is empty"),
        (_lying_size, "holds 48 bytes of data; its shape needs 4800"),
        (_huge_size, "allowed: at most 268435456"),
        (_overflowing_size, "allowed: at most 268435456"),
        (_negative_size, "is empty or negative"),
        (_complex_type, "type COMPLEX64 is not supported"),
        (_old_opset, "opset"),
        (_future_opset, "opset"),
    ],
)
def test_broken_model_is_refused(tmp_path: Path, change: Change, match: str) -> None:
    refused(changed(tmp_path, change), match)


def _node(op: str, domain: str = "", **attributes: object) -> Change:
    def change(model: ModelProto) -> None:
        inputs, outputs = list(model.graph.node[1].input), list(model.graph.node[1].output)
        node = helper.make_node(op, inputs, outputs, "odd", domain=domain, **attributes)
        model.graph.node[1].CopyFrom(node)

    return change


def _conv_attribute(**attributes: object) -> Change:
    def change(model: ModelProto) -> None:
        for name, value in attributes.items():
            model.graph.node[0].attribute.append(helper.make_attribute(name, value))

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_node("Sign"), "node 'odd': operator Sign: is not supported; allowed: Abs, Add"),
        (_node("LogSoftmax"), "end the model before it or in Softmax, the order of classes stays"),
        (_node("NoSuchOperator"), "operator NoSuchOperator: is not supported"),
        (_node("Relu", "com.example"), "operator Relu: domain 'com.example'"),
        (_node("Softmax", axis=3), "node 'odd': operator Softmax: axis 3"),
        (_node("Transpose", perm=[1, 0, 2, 3]), r"result \[4, 1, 6, 5\]; allowed: batch 1"),
        (_conv_attribute(group=0), "with 0 groups|not valid"),
        (_conv_attribute(group=-1), "with -1 groups|not valid"),
        (_conv_attribute(strides=[0, 1]), r"strides \[0, 1\]; allowed: 2 values of 1 to|not valid"),
        (_conv_attribute(dilations=[1 << 40, 1]), "dilations|not valid"),
        (_conv_attribute(pads=[1, 1, -1, 1]), "pads|not valid"),
        (_conv_attribute(pads=[1 << 40] * 4), "output shape .* elements"),
        (_conv_attribute(pads=[60000] * 4), "output shape .* elements"),
        (_conv_attribute(kernel_shape=[9, 9]), "node 'conv'|not valid"),
        (_conv_attribute(auto_pad="SOMEHOW"), "auto_pad|not valid"),
    ],
)
def test_unsupported_use_is_refused(tmp_path: Path, change: Change, match: str) -> None:
    refused(changed(tmp_path, change), match)


def test_unsupported_operator_error_has_its_class(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOpError):
        load_network(changed(tmp_path, _node("Sign")))


def test_activation_as_weights_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 1))
    square = g.node("MatMul", "x", g.random(1, 1), name="first")
    t = g.node("MatMul", square, g.node("Tanh", "x"), name="attention")
    refused(g.save(t, tmp_path), "node 'attention': operator MatMul: weights must be constant")


def test_add_of_different_shapes_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 4, 5))
    t = g.node("Add", "x", g.node("GlobalAveragePool", "x"), name="sum")
    refused(g.save(t, tmp_path), r"node 'sum': operator Add: operands .* of one shape")


def test_constant_that_varies_over_the_image_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 4, 5))
    refused(
        g.save(g.node("Mul", "x", g.random(4, 5), name="mask"), tmp_path),
        "node 'mask': operator Mul",
    )


def test_batch_norm_of_negative_variance_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 4, 5))
    variance = g.const(np.array([1, -2, 1], np.float32))
    rest = [g.random(3) for _ in range(3)]
    t = g.node("Conv", "x", g.random(3, 3, 1, 1), name="conv")
    t = g.node("BatchNormalization", t, *rest, variance)
    refused(g.save(t, tmp_path), "node 'conv': operator Conv: weights or bias become NaN")


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (2, 1, 1, 1)])
def test_constant_map_added_to_a_conv_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    g = OnnxGraph((1, 3, 4, 5))
    t = g.node("Conv", "x", g.random(1, 3, 1, 1), g.random(1))
    refused(
        g.save(g.node("Add", t, g.random(*shape), name="map"), tmp_path), "node 'map': operator"
    )


@pytest.mark.parametrize("channels", [(1, 4, 1, 1), (4, 1, 1)])
def test_constant_that_widens_a_conv_is_refused(tmp_path: Path, channels: tuple[int, ...]) -> None:
    g = OnnxGraph((1, 3, 4, 5))
    t = g.node("Conv", "x", g.random(1, 3, 1, 1))
    t = g.node("Add", t, g.random(*channels), name="wide")
    refused(g.save(g.node("Relu", t), tmp_path), "node 'wide': operator")


@pytest.mark.parametrize("limits", [(6.0, 0.0), (np.nan, 1.0)])
def test_clip_without_range_is_refused(tmp_path: Path, limits: tuple[float, float]) -> None:
    g = OnnxGraph((1, 3, 4, 5))
    names = [g.const(np.float32(limit)) for limit in limits]
    refused(g.save(g.node("Clip", "x", *names, name="c"), tmp_path), "node 'c': operator Clip")


def test_depth_to_space_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 12, 4, 5))
    t = g.node("Reshape", "x", g.const(np.array([1, 3, 2, 2, 4, 5])), name="split")
    t = g.node("Transpose", t, perm=[0, 1, 4, 2, 5, 3], name="swap")
    t = g.node("Reshape", t, g.const(np.array([1, 3, 8, 10])), name="join")
    refused(g.save(t, tmp_path), "allowed: one transpose|2 to 4 dimensions")


def test_reference_page_names_every_operator() -> None:
    page = (Path(__file__).parent.parent / "docs" / "operators.md").read_text(encoding="utf-8")
    assert not [name for name in SUPPORTED_OPS if f"`{name}`" not in page]


def test_huge_sizes_cost_no_memory(tmp_path: Path) -> None:
    def change(model: ModelProto) -> None:
        model.graph.initializer[0].dims[:] = [1 << 27, 1]

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(changed(tmp_path, change), "its shape needs")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_network_name_is_a_c_identifier() -> None:
    assert network_name(Path("mobilenetv2_1.0.onnx")) == "mobilenetv2_1_0"
    assert network_name(Path("8 bit/\u00e9 */.onnx")).isidentifier()
    assert network_name(Path("3x3.onnx")) == "net_3x3"


def test_wrong_tvm_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PINNED_VERSIONS, "apache-tvm-ffi", "0.0.1")
    with pytest.raises(VersionError, match=r"apache-tvm-ffi: found 0\.1.*; needed: 0\.0\.1"):
        check_versions()


def test_missing_tvm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PINNED_VERSIONS, "no-such-library", "1.0")
    with pytest.raises(VersionError, match=r"no-such-library: found none; needed: 1.0"):
        check_versions()
