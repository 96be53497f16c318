"""The files of the example: complete, small, and as accurate as its README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from qmc.data import Use, load_dataset, load_preprocess
from qmc.labels import find_class_names
from qmc.preprocess import image_to_input, open_image

FOLDER = Path(__file__).parent.parent.parent / "examples" / "fashion"
MODEL = FOLDER / "fashion.onnx"
SHAPE = (1, 1, 28, 28)


def predict(inputs: np.ndarray) -> np.ndarray:
    """Classes by ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, {"input": inputs})[0]
    return logits.argmax(axis=1)


def test_folder_is_below_its_size_limit() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 1 << 20


def test_model_has_the_promised_form() -> None:
    graph = onnx.load(MODEL).graph
    names = [node.name for node in graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    operators = {node.op_type for node in graph.node}
    assert operators >= {"Conv", "BatchNormalization", "Clip", "Add", "GlobalAveragePool", "Gemm"}
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_float_accuracy_is_the_one_in_the_readme() -> None:
    images = load_dataset(FOLDER / "images.npz", Use.EVAL, SHAPE, load_preprocess(MODEL))
    assert images.size == 1000
    assert images.labels is not None
    right = int(np.sum(predict(images.inputs(range(images.size))) == images.labels))
    assert abs(right - 931) <= 1  # 93.1 %; another CPU may round one image differently
    assert "93.1 %" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_calibration_images_are_apart_from_evaluation_images() -> None:
    preprocess = load_preprocess(MODEL)
    images = FOLDER / "images.npz"
    calib, evaluation = (
        load_dataset(images, use, SHAPE, preprocess) for use in (Use.CALIB, Use.EVAL)
    )
    assert calib.size == 200
    seen = {calib.load(index).tobytes() for index in range(calib.size)}
    assert not any(evaluation.load(index).tobytes() in seen for index in range(evaluation.size))


def test_sample_images_are_named_after_what_the_network_sees() -> None:
    preprocess = load_preprocess(MODEL)
    assert preprocess is not None
    names = find_class_names(MODEL, 10)
    for file in sorted(FOLDER.glob("*.png")):
        pixels = image_to_input(open_image(file), preprocess, SHAPE[1:], file.name)
        (label,) = predict(pixels[np.newaxis])
        assert names[label].lower().replace(" ", "-") == file.stem
