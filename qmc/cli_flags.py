"""What commands of the command line share: flags, sizes, and the printing of results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from qmc.errors import QmcError
from qmc.options import Mapper
from qmc.ranges import Calibration
from qmc.search_result import Factors, Objective

_SIZE_UNITS = {"": 1, "B": 1, "K": 1024, "KB": 1000, "KIB": 1024, "M": 1 << 20, "MB": 10**6}
_SIZE_UNITS |= {"MIB": 1 << 20}


def _complete_target(typed: str) -> list[str]:
    """Names of machines that begin so; shells ask for them, so none is read."""
    names = (path.stem for path in (Path(__file__).parent / "targets").glob("*.yaml"))
    return sorted(name for name in names if name.startswith(typed))


ModelArgument = Annotated[Path, typer.Argument(help="Trained ONNX network, float or QDQ.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")]
CalibOption = Annotated[Path | None, typer.Option(help="Calibration images: folder, .npz or .npy.")]
EvalOption = Annotated[
    Path | None, typer.Option("--eval", help="Labelled images to measure accuracy on.")
]
PreprocessOption = Annotated[
    Path | None, typer.Option(help="YAML; default: <model>.preprocess.yaml beside the model.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Use only the first N images of each set.")
]
CalibrationOption = Annotated[
    Calibration | None,
    typer.Option(help="Ranges of activations: min-max, percentile, mse (the default), or kl."),
]
TargetOption = Annotated[
    str,
    typer.Option(
        *("--target", "-t"),
        help="Name of a machine (see qmc targets) or a YAML file.",
        autocompletion=_complete_target,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout, the rest to stderr.")
]
OptimizeOption = Annotated[Objective, typer.Option(help="What the mapper minimizes.")]
FactorsOption = Annotated[
    Factors,
    typer.Option(
        help="Extents of loops: perfect, divisors of their bounds; spatial-imperfect, any along "
        "the array; imperfect, any."
    ),
]
MapperOption = Annotated[
    Mapper,
    typer.Option(
        help="exact, with a proof; learned, by few true costs; auto, exact where that soon ends, "
        "else learned; random, a baseline."
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds for all searches together; default: a number of steps."),
]
CostModelOption = Annotated[
    Path | None, typer.Option(help="File written by qmc calibrate; default: the analytical model.")
]
MaxLatencyOption = Annotated[
    str | None,
    typer.Option(help="What the layer, or the whole network, may take: 1.5ms, or 20000cycles."),
]
SensitivityOption = Annotated[
    str,
    typer.Option(
        help="How the harm of a width is estimated where widths are chosen: auto, kl, loss, "
        "second-order, weights, or a CSV file."
    ),
]
JobsOption = Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
BuildArgument = Annotated[Path, typer.Argument(help="Folder made by qmc compile.")]


def parse_size(text: str) -> int:
    """Bytes of ``256KiB``, ``1.5MB``, ``4096``.

    Raises:
        QmcError: not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise QmcError(f"size: found {text!r}; allowed: a number with B, KB, KiB, MB or MiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def show(
    data: dict[str, Any], as_json: bool, printer: Callable[[dict[str, Any], Console], None]
) -> None:
    """Print a result: as one JSON object, or by ``printer`` for a person."""
    if as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        printer(data, Console())


def print_build_data(data: dict[str, Any], console: Console) -> None:
    """Print the summary of a build."""
    from qmc.console import print_build

    print_build(data, console)
