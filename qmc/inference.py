"""``qmc run``: the emitted program on a user's images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from qmc.array_files import read_npy
from qmc.codegen.build import compile_folder, run_codes
from qmc.errors import DataError
from qmc.plan import BuildIo, load_io
from qmc.preprocess import image_to_input, open_image

Json = dict[str, Any]

#: Classes shown per image.
TOP = 5


def run_images(build: Path, inputs: Sequence[Path]) -> Json:
    """Run a build's program on images or ``.npy`` inputs.

    Args:
        build: folder made by ``qmc compile``; its program is compiled into a temporary folder.
        inputs: image files, or ``.npy`` files of one float input (C, H, W) or (1, C, H, W).

    Returns:
        ``{"predictions": [{"input", "top": [{"class", "name", "score"}]}]}``, best class first; the
        score is the real value of the output code.

    Raises:
        DataError: the folder or an input is unusable.
        BuildError: the program does not compile or run.
    """
    io = load_io(build)
    arrays = [_load(path, io) for path in inputs]
    with tempfile.TemporaryDirectory(prefix="qmc-run-") as work:
        program = compile_folder(build, Path(work) / "run", ("-O2",), together=8)
        outputs = [_run(program, io, array) for array in arrays]
    return {
        "predictions": [
            {"input": str(path), "top": _top(scores, io.class_names)}
            for path, scores in zip(inputs, outputs, strict=True)
        ]
    }


def print_predictions(data: Json, console: Console) -> None:
    """Print the most likely classes of each input."""
    for prediction in data["predictions"]:
        console.print(Text(prediction["input"], style="bold"))
        for place, found in enumerate(prediction["top"], start=1):
            line = (
                f"  {place}. {found['name']:<32} class {found['class']:<5} {found['score']:10.4f}"
            )
            console.print(Text(line))


def _load(path: Path, io: BuildIo) -> NDArray[np.float32]:
    shape = io.input_shape[1:]
    if path.suffix != ".npy":
        with open_image(path) as image:
            return image_to_input(image, io.preprocess, shape, str(path))
    array = read_npy(path)
    if array.shape not in (shape, (1, *shape)) or array.dtype.kind != "f":
        raise DataError(f"{path}: found {array.dtype} {array.shape}; allowed: floats of {shape}")
    return array.reshape(shape).astype(np.float32)


def _run(program: Path, io: BuildIo, array: NDArray[np.float32]) -> NDArray[np.float32]:
    codes = io.input.quantize(array[None])
    found = run_codes(program, codes, io.input.bits, io.output.bits, io.output_shape)
    return io.output.dequantize(found).reshape(-1)


def _top(scores: NDArray[np.float32], names: Sequence[str]) -> list[Json]:
    order = np.argsort(-scores, kind="stable")[:TOP]
    return [{"class": int(i), "name": names[i], "score": float(scores[i])} for i in order]
