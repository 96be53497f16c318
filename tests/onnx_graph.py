"""Small ONNX models for tests, written node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class OnnxGraph:
    """Collects nodes and initializers; ``save`` writes the model."""

    def __init__(self, shape: tuple[Any, ...], seed: int = 0, opset: int = 17) -> None:
        self.shape, self.opset = shape, opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.input = "x"

    def const(self, array: Any, name: str = "") -> str:
        """Add an initializer; returns its name."""
        tensor = array
        if not isinstance(array, TensorProto):
            tensor = numpy_helper.from_array(np.asarray(array))
        tensor.name = name or f"const{len(self.initializers)}"
        self.initializers.append(tensor)
        return tensor.name

    def random(self, *shape: int, scale: float = 0.3) -> str:
        """Add a random float32 initializer."""
        return self.const((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def node(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        index = len(self.nodes)
        output = f"t{index}"
        label = f"{op.lower()}{index}" if name is None else name
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=label, **attributes))
        return output

    def model(self, output: str) -> onnx.ModelProto:
        """The model that ends in ``output``."""
        source = helper.make_tensor_value_info(self.input, TensorProto.FLOAT, self.shape)
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [source], [result], self.initializers)
        ir_version = 10 if self.opset <= 21 else 13
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
        return onnx.shape_inference.infer_shapes(model)

    def save(self, output: str, folder: Path) -> Path:
        """Write the model."""
        path = folder / "model.onnx"
        onnx.save(self.model(output), path)
        return path


def run_onnx(path: Path, data: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model's output in ONNX Runtime with all graph optimizations disabled."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: data})[0]
    return result
