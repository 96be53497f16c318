"""Write ResNet-18 for 224x224 pixels with random weights: a network to measure time on, no more.

    python benchmarks/random_resnet18.py resnet18_random.onnx
    python benchmarks/latency.py resnet18_random.onnx --peers PYTHON

Shapes after He et al. (arXiv 1512.03385), table 1, shortcuts by 1x1 convolutions; batch norms are
folded, as every runtime does. The graph is called ``resnet18_random_weights``, so that no report
can take it for a trained network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
CLASSES = 1000


class Graph:
    """Collects nodes and random weights."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, *shape: int, scale: float) -> str:
        """Normal values."""
        values = self.rng.normal(0, scale, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        """A node whose output has its name."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(
        self, source: str, name: str, inputs: int, outputs: int, window: int, stride: int
    ) -> str:
        """He's scale keeps activations in one range through all layers."""
        scale = (2 / (inputs * window**2)) ** 0.5
        weights = self.constant(f"{name}.w", outputs, inputs, window, window, scale=scale)
        bias = self.constant(f"{name}.b", outputs, scale=0.1)
        steps, pads = [stride] * 2, [window // 2] * 4
        return self.node("Conv", [source, weights, bias], name, strides=steps, pads=pads)

    def block(self, source: str, name: str, inputs: int, outputs: int, stride: int) -> str:
        """Two convolutions and a sum."""
        at = self.conv(source, f"{name}.conv1", inputs, outputs, 3, stride)
        at = self.node("Relu", [at], f"{name}.relu1")
        at = self.conv(at, f"{name}.conv2", outputs, outputs, 3, 1)
        if inputs != outputs:
            source = self.conv(source, f"{name}.down", inputs, outputs, 1, stride)
        at = self.node("Add", [at, source], f"{name}.add")
        return self.node("Relu", [at], f"{name}.relu2")


def resnet18() -> onnx.ModelProto:
    """The whole model."""
    graph = Graph()
    at = graph.node("Relu", [graph.conv("image", "stem", 3, 64, 7, 2)], "stem.relu")
    at = graph.node("MaxPool", [at], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inputs = 64
    for stage, (outputs, stride) in enumerate(STAGES, start=1):
        at = graph.block(at, f"s{stage}.b1", inputs, outputs, stride)
        at = graph.block(at, f"s{stage}.b2", outputs, outputs, 1)
        inputs = outputs
    at = graph.node("Flatten", [graph.node("GlobalAveragePool", [at], "gap")], "flat")
    weights = graph.constant("fc.w", CLASSES, inputs, scale=inputs**-0.5)
    bias = graph.constant("fc.b", CLASSES, scale=0.1)
    at = graph.node("Gemm", [at, weights, bias], "fc", transB=1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", (1, 3, 224, 224)), (at, (1, CLASSES)))
    ]
    body = helper.make_graph(
        graph.nodes, "resnet18_random_weights", ends[:1], ends[1:], graph.weights
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", 13)], ir_version=10, producer_name="qmc"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    onnx.save(resnet18(), parser.parse_args().output)


if __name__ == "__main__":
    main()
