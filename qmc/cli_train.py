"""The command that trains: finetune; the only one that needs torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qmc.cli_flags import (
    CalibOption,
    EvalOption,
    JsonOption,
    LimitOption,
    PreprocessOption,
    SeedOption,
    show,
)
from qmc.errors import ExtraError


def finetune_command(
    model: Annotated[Path, typer.Argument(help="Trained float ONNX network.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="ONNX file to write, its scheme beside it.")
    ],
    scheme: Annotated[
        str, typer.Option(help="Widths, or a scheme or plan file, as for qmc compile.")
    ] = "w8a8",
    train: Annotated[
        Path | None, typer.Option(help="Images to learn from, with labels where there are any.")
    ] = None,
    calib: CalibOption = None,
    evaluation: EvalOption = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of the optimizer, on 32 images each.")
    ] = 400,
    rate: Annotated[float, typer.Option(min=0.0, help="Factor of the learning rates.")] = 1.0,
    preprocess: PreprocessOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train weights and scales of a quantized network a little more; needs qmc[train]."""
    if find_spec("torch") is None:
        raise ExtraError("finetune", "torch", "train")
    from qmc.progress import Stages
    from qmc.train.command import FinetuneOptions, finetune, print_finetune
    from qmc.train.learn import Course

    course = Course(steps, rate, seed)
    options = FinetuneOptions(
        model, output, scheme, calib, train, evaluation, preprocess, limit, course
    )
    show(finetune(options, Stages(Console(stderr=True))), as_json, print_finetune)
