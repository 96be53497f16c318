"""Commands that measure kernels: tune, and serve on a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qmc.cli_flags import (
    CalibOption,
    CalibrationOption,
    EvalOption,
    JobsOption,
    JsonOption,
    LimitOption,
    ModelArgument,
    OutputOption,
    PreprocessOption,
    SeedOption,
    TargetOption,
    show,
)
from qmc.errors import QmcError
from qmc.options import Options, default_jobs

_TrackerOption = Annotated[
    str | None, typer.Option(help="HOST:PORT of TVM's RPC tracker, for --board.")
]


def tune_command(
    model: ModelArgument,
    target: TargetOption,
    output: OutputOption,
    budget: Annotated[float, typer.Option(min=0, help="Seconds of measuring.")] = 300.0,
    scheme: Annotated[str, typer.Option(help="Widths, or a scheme or plan file.")] = "w8a8",
    calib: CalibOption = None,
    evaluation: EvalOption = None,
    preprocess: PreprocessOption = None,
    limit: LimitOption = None,
    calibration: CalibrationOption = None,
    records: Annotated[
        Path | None, typer.Option(help="SQLite file of measurements; default: in the cache.")
    ] = None,
    tracker: _TrackerOption = None,
    board: Annotated[
        str | None, typer.Option(help="Measure on this board, which runs qmc serve.")
    ] = None,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how to build each layer's kernel, and compile with the fastest."""
    from qmc.progress import Stages
    from qmc.tuning.command import TuneOptions, print_tuning
    from qmc.tuning.command import tune_command as command
    from qmc.tuning.runner import LocalRunner, Runner

    runner: Runner = LocalRunner()
    if (board is None) != (tracker is None):
        raise QmcError("--board: needs --tracker HOST:PORT, and the other way round")
    if board is not None and tracker is not None:
        from qmc.rpc import RemoteRunner, parse_address

        runner = RemoteRunner(parse_address(tracker), board)
    options = Options(
        model=model,
        target=target,
        output=output,
        scheme=scheme,
        calib=calib,
        eval=evaluation,
        preprocess=preprocess,
        limit=limit,
        calibration=calibration,
        seed=seed,
        jobs=jobs or default_jobs(),
        verify=board is None,
    )
    stages = Stages(Console(stderr=True))
    show(command(TuneOptions(options, budget, records, runner), stages), as_json, print_tuning)


def serve_command(
    tracker: Annotated[str, typer.Option(help="HOST:PORT of TVM's RPC tracker.")],
    board: Annotated[str, typer.Option(help="Name that qmc tune --board asks for.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "0.0.0.0",
) -> None:
    """Measure kernels for others, through TVM's RPC; trusted networks only. Ends with Ctrl-C."""
    from qmc.rpc import parse_address, serve

    server = serve(host, parse_address(tracker), board)
    try:
        server.proc.join()
    finally:
        server.terminate()
