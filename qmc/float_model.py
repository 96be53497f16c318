"""The float network in ONNX Runtime, every tensor an output: what calibration observes.

ONNX Runtime's graph optimizations are disabled throughout: some of them change the numbers (weights
behind a DequantizeLinear are quantized anew, Clip next to QDQ pairs gave wrong results).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qmc.data import Dataset
from qmc.errors import DataError
from qmc.functions import onnx_operator
from qmc.layer import Layer, Op
from qmc.network import Network, Parameters
from qmc.onnx_slice import slice_steps

FloatArray = NDArray[np.float32]
_Nodes = list[onnx.NodeProto]


class FloatModel:
    """Runs a network's float layers and returns every tensor."""

    def __init__(self, network: Network, threads: int = 1) -> None:
        """Build the ONNX model of ``network``.

        Args:
            network: layers and float parameters.
            threads: of ONNX Runtime; results depend on it in the last bits only.
        """
        self._input = network.input
        self._names = [layer.output for layer in network.layers]
        model = to_onnx(network)
        self._session = make_session(model.SerializeToString(), threads)

    def run(self, batch: FloatArray) -> dict[str, FloatArray]:
        """Every tensor of the network, by name.

        Args:
            batch: (n, C, H, W) or (n, C) float32.
        """
        values = self._session.run(self._names, {self._input: batch})
        return {self._input: batch} | dict(zip(self._names, values, strict=True))


def float_top1(path: Path, dataset: Dataset, threads: int = 1) -> NDArray[np.int64]:
    """Class that the original float model chooses for each input.

    Args:
        path: the ONNX file, of batch 1 or dynamic batch.
        dataset: inputs.
        threads: of ONNX Runtime.

    Returns:
        (size,) class numbers.
    """
    session = make_session(str(path), threads)
    node = session.get_inputs()[0]
    batch = node.shape[0] if isinstance(node.shape[0], int) else 16
    chosen = []
    for inputs in dataset.batches(batch):
        if len(inputs) < batch and isinstance(node.shape[0], int):
            raise DataError(f"{path}: fixed batch {batch} does not divide {len(dataset)} inputs")
        output = session.run(None, {node.name: inputs})[0]
        chosen.append(output.reshape(len(inputs), -1).argmax(axis=1))
    return np.concatenate(chosen).astype(np.int64)


def to_onnx(network: Network) -> onnx.ModelProto:
    """The float layers as an ONNX model of dynamic batch; its outputs are all layers' outputs."""
    outputs = [layer.output for layer in network.layers]
    return part_to_onnx(network, network.layers, [network.input], outputs)


def part_to_onnx(
    network: Network,
    layers: Sequence[Layer],
    inputs: Sequence[str],
    outputs: Sequence[str],
    after: Mapping[str, Sequence[onnx.NodeProto]] | None = None,
    scalars: Sequence[str] = (),
) -> onnx.ModelProto:
    """Some layers as an ONNX model of dynamic batch.

    Args:
        network: tensors and float parameters.
        layers: in execution order.
        inputs: tensors that the model is given.
        outputs: tensors that it gives back.
        after: further nodes, by the tensor behind whose layer they stand.
        scalars: further inputs without dimensions, read by these nodes.
    """
    nodes: _Nodes = []
    constants: dict[str, NDArray[Any]] = {}
    for layer in layers:
        nodes += _layer_nodes(network, layer, constants)
        nodes += (after or {}).get(layer.output, ())

    def value(name: str) -> onnx.ValueInfoProto:
        tensor = network.tensors.get(name)  # what ``after`` makes has no entry
        shape: list[str | int | None] | None = None
        if tensor is not None:
            shape = ["batch", *tensor.shape[1:]]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        network.name,
        [
            *map(value, inputs),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in scalars),
        ],
        [value(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def make_session(model: bytes | str, threads: int, optimized: bool = False) -> Any:
    """An ONNX Runtime session on the CPU; ``optimized`` admits its graph optimizations."""
    level = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _layer_nodes(network: Network, layer: Layer, constants: dict[str, NDArray[Any]]) -> _Nodes:
    """Nodes of one layer; a fused clamp becomes a Clip of its own."""
    result = layer.output if layer.clamp is None else f"{layer.output}/unclamped"
    inputs = list(layer.inputs)
    match layer.op:
        case Op.CONV:
            names = _parameter_names(layer, network.parameters[layer.name], constants)
            nodes = [helper.make_node("Conv", [*inputs, *names], [result], **_windows(layer))]
        case Op.DENSE:
            nodes = _dense(network, layer, result, constants)
        case Op.ADD | Op.MUL:
            nodes = [helper.make_node(layer.op.capitalize(), inputs, [result])]
        case Op.CONCAT:
            nodes = [helper.make_node("Concat", inputs, [result], axis=1)]
        case Op.MAX_POOL | Op.AVERAGE_POOL:
            nodes = _pool(layer, result)
        case Op.SOFTMAX:
            nodes = [helper.make_node("Softmax", inputs, [result], axis=1)]
        case Op.LOOKUP:
            nodes = _function_nodes(layer, result, constants)
        case Op.RESHAPE | Op.SLICE:
            move = _reshape if layer.op is Op.RESHAPE else _slice
            nodes = move(network, layer, result, constants)
    if layer.clamp is not None:
        nodes.append(_clip(layer.name, result, layer.output, layer.clamp, constants))
    return nodes


def _parameter_names(
    layer: Layer, parameters: Parameters, constants: dict[str, NDArray[Any]]
) -> list[str]:
    weights = parameters.weights
    if layer.op is Op.DENSE:
        weights = weights.reshape(len(weights), -1)
    names = [f"{layer.name}/weights", f"{layer.name}/bias"]
    constants.update(zip(names, (weights, parameters.bias), strict=True))
    return names


def _windows(layer: Layer) -> dict[str, Any]:
    return {
        "kernel_shape": [layer.bounds.R, layer.bounds.S],
        "strides": list(layer.strides),
        "dilations": list(layer.dilations),
        "pads": list(layer.pads),
        "group": layer.bounds.G,
    }


def _dense(
    network: Network, layer: Layer, result: str, constants: dict[str, NDArray[Any]]
) -> _Nodes:
    names = _parameter_names(layer, network.parameters[layer.name], constants)
    flat = f"{layer.name}/flat"
    return [
        helper.make_node("Flatten", list(layer.inputs), [flat], axis=1),
        helper.make_node("Gemm", [flat, *names], [result], transB=1),
    ]


def _pool(layer: Layer, result: str) -> _Nodes:
    attributes = {key: value for key, value in _windows(layer).items() if key != "group"}
    if layer.op is Op.MAX_POOL:
        return [helper.make_node("MaxPool", list(layer.inputs), [result], **attributes)]
    attributes["count_include_pad"] = int(layer.count_include_pad)
    return [helper.make_node("AveragePool", list(layer.inputs), [result], **attributes)]


def _reshape(
    network: Network, layer: Layer, result: str, constants: dict[str, NDArray[Any]]
) -> _Nodes:
    nodes, source = [], layer.inputs[0]
    if layer.perm is not None:
        source = f"{layer.name}/transposed"
        nodes.append(
            helper.make_node("Transpose", list(layer.inputs), [source], perm=list(layer.perm))
        )
    name = f"{layer.name}/shape"
    constants[name] = np.array([-1, *network.tensors[layer.output].shape[1:]], np.int64)
    return [*nodes, helper.make_node("Reshape", [source, name], [result])]


def _slice(
    network: Network, layer: Layer, result: str, constants: dict[str, NDArray[Any]]
) -> _Nodes:
    nodes, value = [], layer.inputs[0]
    steps = slice_steps(layer, network.tensors[value].shape)
    for index, step in enumerate(steps):
        names = [f"{layer.name}/{name}" for name in step.operands]
        constants.update(zip(names, step.operands.values(), strict=True))
        target = result if step is steps[-1] else f"{layer.name}/step{index}"
        nodes.append(
            helper.make_node(step.operator, [value, *names], [target], **dict(step.attributes))
        )
        value = target
    return nodes


def _clip(
    layer: str,
    source: str,
    result: str,
    limits: tuple[float, float],
    constants: dict[str, NDArray[Any]],
) -> onnx.NodeProto:
    names = [f"{layer}/low", f"{layer}/high"]
    values = (np.array(limit, dtype=np.float32) for limit in limits)
    constants.update(zip(names, values, strict=True))
    return helper.make_node("Clip", [source, *names], [result])


def _function_nodes(layer: Layer, result: str, constants: dict[str, NDArray[Any]]) -> _Nodes:
    assert layer.function is not None
    operator, attributes = onnx_operator(layer.function)
    if operator == "Clip":
        low, high = (float(text) for text in layer.function.split(":")[1:])
        return [_clip(f"{layer.name}/f", layer.inputs[0], result, (low, high), constants)]
    if operator == "Swish":  # an operator only since opset 24
        gate = f"{layer.name}/gate"
        return [
            helper.make_node("Sigmoid", list(layer.inputs), [gate]),
            helper.make_node("Mul", [layer.inputs[0], gate], [result]),
        ]
    return [helper.make_node(operator, list(layer.inputs), [result], **attributes)]
