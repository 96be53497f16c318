"""int8 inference in public runtimes, one process each: the other side of ``latency.py``.

    PYTHON peer_runtimes.py prepare MODEL.onnx INT8.onnx      quantize with ONNX Runtime (QDQ)
    PYTHON peer_runtimes.py ort|openvino INT8.onnx            serve: counts in, milliseconds out

PYTHON is an interpreter with onnxruntime, onnx, sympy and openvino; qmc is not imported. Weights
are int8 per channel, activations uint8: what qmc's w8a8 is. Ranges come from random inputs; they do
not change the time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

_SAMPLES = 4
_WARM_UP = 5


def prepare(model: Path, target: Path) -> None:
    """Write the quantized model; symbolic dims become 1."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    graph = onnx.load(model)
    for value in [*graph.graph.input, *graph.graph.output, *graph.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param") or dim.dim_value < 1:
                dim.Clear()
                dim.dim_value = 1
    name = graph.graph.input[0].name
    shape = [dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    samples = [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(_SAMPLES)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter([{name: sample} for sample in samples])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    static, folded = target.with_suffix(".static.onnx"), target.with_suffix(".folded.onnx")
    onnx.save(graph, static)
    quant_pre_process(str(static), str(folded), skip_symbolic_shape=True)
    quantize_static(
        str(folded),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def open_ort(model: str) -> Callable[[], object]:
    """One inference in ONNX Runtime, input and output bound."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    data = np.random.default_rng(1).uniform(-1, 1, source.shape).astype(np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input(source.name, onnxruntime.OrtValue.ortvalue_from_numpy(data))
    binding.bind_output(session.get_outputs()[0].name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def open_openvino(model: str) -> Callable[[], object]:
    """One inference in OpenVINO; float layers stay float32, as the int8 ones stay int8."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    shape = list(compiled.input(0).shape)
    data = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    request.set_input_tensor(openvino.Tensor(data))
    return request.infer


def serve(call: Callable[[], object]) -> None:
    """Answer each count on stdin with the milliseconds of as many inferences."""
    for _ in range(_WARM_UP):
        call()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            began = time.perf_counter_ns()
            call()
            times.append((time.perf_counter_ns() - began) / 1e6)
        print(json.dumps(times), flush=True)


def main() -> None:
    command, model, *rest = sys.argv[1:]
    if command == "prepare":
        prepare(Path(model), Path(rest[0]))
    else:
        serve({"ort": open_ort, "openvino": open_openvino}[command](model))


if __name__ == "__main__":
    main()
