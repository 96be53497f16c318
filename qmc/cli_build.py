"""Commands on finished builds: run, verify, diff, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from qmc.cli_flags import BuildArgument, JsonOption, print_build_data, show
from qmc.errors import QmcError


def run(
    build: BuildArgument,
    inputs: Annotated[list[Path], typer.Argument(help="Images, or .npy inputs.")],
    as_json: JsonOption = False,
) -> None:
    """Run the emitted program on images and print the five most likely classes."""
    from qmc.inference import print_predictions, run_images

    show(run_images(build, inputs), as_json, print_predictions)


def verify(
    build: BuildArgument,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="First layer where C and reference, or float, part.")
    ] = False,
    sqnr: Annotated[
        float | None, typer.Option(help="With --bisect: least SQNR against float, dB; default 10.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="With --bisect: the ONNX file, to measure SQNR anew.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a folder's C and check every layer against its golden vectors, bit for bit."""
    if not bisect:
        if sqnr is not None or model is not None:
            raise QmcError("--sqnr and --model: belong to --bisect, which is not given")
        from qmc.verify import print_result, verify_build

        data = verify_build(build).data()
        show(data, as_json, print_result)
    else:
        from qmc.bisect import DEFAULT_SQNR_DB, print_bisect
        from qmc.bisect import bisect as find

        data = find(build, DEFAULT_SQNR_DB if sqnr is None else sqnr, model)
        show(data, as_json, print_bisect)
    if not data["ok"]:
        raise typer.Exit(2)


def diff_command(
    first: Annotated[Path, typer.Argument(help="Build, folder of a plan, or plan.yaml.")],
    second: Annotated[Path, typer.Argument(help="The same, to compare with.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two builds or plans layer by layer."""
    from qmc.diff import diff
    from qmc.diff_view import print_diff

    show(diff(first, second), as_json, print_diff)


def report_command(
    build: Annotated[Path, typer.Argument(help="Folder made by qmc compile or qmc explore.")],
    as_json: JsonOption = False,
) -> None:
    """Write report.html, one page that needs nothing else; print the report of a build."""
    from qmc.html.command import print_page, write_report

    data, page = write_report(build)
    print_page(page, Console(stderr=True))
    show(data, as_json, _print_front_or_build)


def export_command(
    build: Annotated[Path, typer.Argument(help="Folder made by qmc compile, or its plan.yaml.")],
    file_format: Annotated[
        str, typer.Option("--format", help="qdq, qonnx, encodings, timeloop or zigzag.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; timeloop and zigzag: a folder.")
    ],
    model: Annotated[
        Path | None, typer.Option(help="The model, where the build lacks network.onnx.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="qdq: standard operators only, no functions.")
    ] = False,
    calib: Annotated[
        Path | None, typer.Option(help="With --plain: images to compare its codes with the C's on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a build as ONNX with quantization, encodings, or another tool's mappings."""
    from qmc.export_command import export_build, print_export

    data = export_build(build, file_format, output, model, plain, calib)
    show(data, as_json, print_export)


def _print_front_or_build(data: dict[str, Any], console: Console) -> None:
    if "points" not in data:
        return print_build_data(data, console)
    from qmc.explore_command import print_front

    print_front(data, console)
