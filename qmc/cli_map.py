"""Commands on mappings and costs: map, evaluate, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from qmc.cli_flags import (
    BudgetOption,
    CostModelOption,
    FactorsOption,
    JobsOption,
    JsonOption,
    MapperOption,
    MaxLatencyOption,
    OptimizeOption,
    SeedOption,
    TargetOption,
    print_build_data,
    show,
)
from qmc.options import Mapper, default_jobs
from qmc.search_result import Factors, Objective


def map_command(
    model: Annotated[Path | None, typer.Argument(help="ONNX file; or give --layer.")] = None,
    *,
    target: TargetOption,
    layer: Annotated[
        str | None,
        typer.Option(help='"C=32 K=64 P=56 Q=56 R=3 S=3 stride=1", or a layer\'s name in MODEL.'),
    ] = None,
    bits: Annotated[str, typer.Option(help="Widths of W, A, O: w4a8o8.")] = "w8a8o8",
    optimize: OptimizeOption = Objective.EDP,
    factors: FactorsOption = Factors.PERFECT,
    mapper: MapperOption = Mapper.EXACT,
    cost_model: CostModelOption = None,
    budget: BudgetOption = None,
    max_latency: MaxLatencyOption = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="The layer's (energy, cycles) Pareto set.")
    ] = False,
    what_helps: Annotated[
        bool, typer.Option(help="Search the layer on changed machines too: what would help most.")
    ] = True,
    psum: Annotated[
        str, typer.Option(help="Width of partial sums: honest, or output (compatibility).")
    ] = "honest",
    first_fill: Annotated[
        str, typer.Option(help="First fills of sums: elided, or counted (compatibility).")
    ] = "elided",
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    width_table: Annotated[
        Path | None, typer.Option(help="Also write the best at all widths 2 to 8 to this CSV.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search the best mapping of one layer or of every layer of a model."""
    from qmc import mapping_command
    from qmc.pricing import SearchSettings
    from qmc.progress import Stages

    rules = mapping_command.search_model(psum, first_fill, cost_model)
    jobs = jobs or default_jobs()
    settings = SearchSettings(rules, optimize, mapper, seed, jobs, budget, factors=factors)
    work = mapping_command.Work(model, layer, bits, target, max_latency, what_helps)
    if width_table is not None:
        with Stages(Console(stderr=True)).stage("search all widths") as tick:
            mapping_command.map_widths(work, width_table, settings, tick)
    with Stages(Console(stderr=True)).stage("search mappings") as tick:
        if pareto:
            show(mapping_command.map_front(work, settings), as_json, _print_front)
        elif layer is not None:
            show(mapping_command.map_layer(work, settings), as_json, _print_layer)
        else:
            show(mapping_command.map_model(work, settings, tick), as_json, print_build_data)


def evaluate(
    target: TargetOption,
    layer: Annotated[str, typer.Option(help='For example "C=32 K=64 P=56 Q=56 R=3 S=3".')],
    mapping: Annotated[Path, typer.Option(help="Mapping file.")],
    bits: Annotated[str, typer.Option(help="Widths of W, A, O: w4a8o8.")] = "w8a8o8",
    file_format: Annotated[
        str, typer.Option("--format", help="qmc or timeloop (YAML or JSON).")
    ] = "qmc",
    against: Annotated[
        str | None, typer.Option(help="Another tool's counts: JSON FILE, or FILE#NAME.")
    ] = None,
    psum: Annotated[
        str, typer.Option(help="Width of partial sums: honest, or output (compatibility).")
    ] = "honest",
    first_fill: Annotated[
        str, typer.Option(help="First fills of sums: elided, or counted (compatibility).")
    ] = "elided",
    as_json: JsonOption = False,
) -> None:
    """Price a given mapping of one layer; compare the counts with another tool's."""
    from qmc import mapping_command

    rules = mapping_command.cost_rules(psum, first_fill)
    entry = mapping_command.evaluate_mapping(layer, bits, target, mapping, file_format, rules)
    if against is not None:
        from qmc.compare_counts import compare, read_record

        entry |= {"against": compare(entry, read_record(against))}
    show(entry, as_json, _print_layer)


def calibrate_command(
    measurements: Annotated[
        Path, typer.Argument(help="CSV with the columns layer, mapping, widths, measured.")
    ],
    *,
    target: TargetOption,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Cost model to write (JSON).")
    ] = None,
    quantity: Annotated[
        str, typer.Option(help="What was measured: cycles, or energy_pj.")
    ] = "cycles",
    model: Annotated[
        Path | None, typer.Option(help="ONNX file whose layers the records name.")
    ] = None,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the cost model to measured cycles or energy; say its error before and after."""
    from qmc import calibrate_command as command

    found = command.calibrate_target(
        target, measurements, output, quantity, model, seed, jobs or default_jobs()
    )
    show(found, as_json, command.print_calibration)


def _print_layer(data: dict[str, Any], console: Console) -> None:
    from qmc.layer_view import print_layer

    print_layer(data, console)


def _print_front(data: dict[str, Any], console: Console) -> None:
    from qmc.layer_view import print_front

    print_front(data, console)
