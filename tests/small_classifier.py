"""A small residual classifier as an ONNX file with images, for tests of whole commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_classifier(folder: Path, images: int = 24) -> tuple[Path, Path]:
    """The model and a data set whose labels are the model's own answers, one in eight wrong."""
    rng = np.random.default_rng(5)
    shapes = {"stem": (6, 3, 3, 3), "a": (6, 6, 3, 3), "b": (6, 6, 1, 1), "down": (8, 6, 3, 3)}
    weights = {name: rng.normal(0, 0.4, shape) for name, shape in shapes.items()}
    weights["head"] = rng.normal(0, 0.8, (5, 8))
    nodes = [
        _conv("stem", "input", "s", [1, 1, 1, 1]),
        helper.make_node("Relu", ["s"], ["s_act"]),
        _conv("a", "s_act", "x", [1, 1, 1, 1]),
        helper.make_node("Relu", ["x"], ["x_act"]),
        _conv("b", "x_act", "y", [0, 0, 0, 0]),
        helper.make_node("Add", ["y", "s_act"], ["z"]),
        _conv("down", "z", "d", [0, 0, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["d"], ["d_act"]),
        helper.make_node("GlobalAveragePool", ["d_act"], ["g"]),
        helper.make_node("Flatten", ["g"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head_w", "head_b"], ["logits"], name="head", transB=1),
    ]
    constants = {f"{name}_w": array for name, array in weights.items()}
    constants |= {f"{name}_b": rng.normal(0, 0.1, len(a)) for name, a in weights.items()}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path, data = folder / "small.onnx", folder / "images.npz"
    onnx.save(model, path)
    inputs = rng.normal(0, 1, (images, 3, 8, 6)).astype(np.float32)
    labels = _answers(model, inputs)
    labels[::8] = (labels[::8] + 1) % 5
    np.savez(data, images=inputs, labels=labels)
    return path, data


def _conv(
    name: str, source: str, result: str, pads: list[int], strides: list[int] | None = None
) -> onnx.NodeProto:
    inputs = [source, f"{name}_w", f"{name}_b"]
    return helper.make_node(
        "Conv", inputs, [result], name=name, pads=pads, strides=strides or [1, 1]
    )


def _answers(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    outputs = [evaluator.run(None, {"input": image[None]})[0] for image in inputs]
    return np.concatenate(outputs).argmax(axis=1).astype(np.int64)
