"""Commands that make plans: compile, explore, buffers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qmc.arithmetic import Rounding
from qmc.cli_flags import (
    BudgetOption,
    CalibOption,
    CalibrationOption,
    CostModelOption,
    EvalOption,
    FactorsOption,
    JobsOption,
    JsonOption,
    LimitOption,
    MapperOption,
    MaxLatencyOption,
    ModelArgument,
    OptimizeOption,
    OutputOption,
    PreprocessOption,
    SeedOption,
    SensitivityOption,
    TargetOption,
    parse_size,
    print_build_data,
    show,
)
from qmc.options import ExploreOptions, Mapper, Options, SensitivityChoice, default_jobs
from qmc.scheme import WeightRounding
from qmc.search_result import Factors, Objective


def compile_command(
    model: ModelArgument,
    target: TargetOption,
    output: OutputOption,
    scheme: Annotated[
        str,
        typer.Option(
            help="Widths 2 to 8 of weights and activations, w4a8; weights of so many bits on "
            "average, w4.5a8; a number format of weights, we2m1a8; auto; a scheme or plan file."
        ),
    ] = "w8a8",
    sensitivity: SensitivityOption = SensitivityChoice.AUTO,
    calib: CalibOption = None,
    evaluation: EvalOption = None,
    preprocess: PreprocessOption = None,
    limit: LimitOption = None,
    calibration: CalibrationOption = None,
    optimize: OptimizeOption = Objective.EDP,
    factors: FactorsOption = Factors.PERFECT,
    mapper: MapperOption = Mapper.EXACT,
    cost_model: CostModelOption = None,
    tuning: Annotated[
        Path | None, typer.Option(help="File written by qmc tune: how kernels are built.")
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            help="Kernels of several machines in one program, best first, which takes the first "
            "that its processor runs: x86-amx,x86-avx512vnni,x86-avx2."
        ),
    ] = None,
    budget: BudgetOption = None,
    max_latency: MaxLatencyOption = None,
    rounding: Annotated[
        Rounding, typer.Option(help="Rounding of requantizations.")
    ] = Rounding.HALF_UP,
    weight_rounding: Annotated[
        WeightRounding,
        typer.Option(
            help="optimized, fitted to every layer's output; nearest, at once and less exact."
        ),
    ] = WeightRounding.OPTIMIZED,
    equalize: Annotated[bool, typer.Option(help="Equalize weight ranges across layers.")] = False,
    encodings: Annotated[
        Path | None, typer.Option(help="AIMET encodings (JSON): scales and widths to keep.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Fail if top-1 falls by more points; needs --eval, or --scheme auto, whose limit "
            "it is (1.0)."
        ),
    ] = None,
    flash: Annotated[
        str | None, typer.Option(help="Fail if weights and constants take more: 256KiB.")
    ] = None,
    ram: Annotated[str | None, typer.Option(help="Fail if the arena takes more: 64KiB.")] = None,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    dump_ir: Annotated[
        Path | None, typer.Option(help="Write the module after each pass there.")
    ] = None,
    golden: Annotated[
        int, typer.Option(min=1, help="Inputs whose vectors of every layer are kept and verified.")
    ] = 1,
    verify: Annotated[bool, typer.Option(help="Check the C against the reference.")] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell what each stage decided, and why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compile a network: calibrate, quantize, map, emit C, verify, report."""
    options = Options(
        model=model,
        target=target,
        output=output,
        scheme=scheme,
        sensitivity=sensitivity,
        calib=calib,
        eval=evaluation,
        preprocess=preprocess,
        limit=limit,
        calibration=calibration,
        optimize=optimize,
        factors=factors,
        mapper=mapper,
        cost_model=cost_model,
        tuning=tuning,
        variants=tuple(variants.split(",")) if variants else (),
        budget_seconds=budget,
        max_latency=max_latency,
        rounding=rounding,
        weight_rounding=weight_rounding,
        equalize=equalize,
        encodings=encodings,
        max_drop=max_drop,
        flash_bytes=parse_size(flash) if flash else None,
        ram_bytes=parse_size(ram) if ram else None,
        seed=seed,
        jobs=jobs or default_jobs(),
        dump_ir=dump_ir,
        golden=golden,
        verify=verify,
    )
    from qmc.compiler import compile_with_options
    from qmc.progress import Stages

    plan = compile_with_options(options, Stages(Console(stderr=True)))
    show(plan.report, as_json, print_build_data)
    if explain:
        from qmc.explain import explain as stages_of
        from qmc.explain import print_explanation

        print_explanation(stages_of(plan, options), Console(stderr=as_json))


def explore_command(
    model: ModelArgument,
    target: TargetOption,
    output: OutputOption,
    calib: CalibOption = None,
    evaluation: EvalOption = None,
    preprocess: PreprocessOption = None,
    limit: LimitOption = None,
    calibration: CalibrationOption = None,
    sensitivity: SensitivityOption = SensitivityChoice.AUTO,
    costs: Annotated[
        str | None,
        typer.Option(help="Instead of the mapper's: learned, or a CSV with layer, widths, cost."),
    ] = None,
    cost_model: CostModelOption = None,
    measure: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of measuring latencies here; they are the cost then."),
    ] = None,
    optimize: Annotated[Objective, typer.Option(help="Cost of the front.")] = Objective.ENERGY,
    plans: Annotated[int, typer.Option(min=2, max=999, help="Points that become plans.")] = 12,
    generations: Annotated[
        int, typer.Option(min=0, help="Of the evolutionary search; needs --eval.")
    ] = 0,
    budget: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds after which no candidate is tried.")
    ] = None,
    flash: Annotated[
        str | None, typer.Option(help="Limit of every plan's weights and constants: 256KiB.")
    ] = None,
    ram: Annotated[
        str | None, typer.Option(help="Limit of every plan's live tensors: 64KiB.")
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Limit of every plan: 1.5ms, or 20000cycles.")
    ] = None,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the front of widths: what each saves here, what it costs in accuracy."""
    options = ExploreOptions(
        model=model,
        target=target,
        output=output,
        calib=calib,
        eval=evaluation,
        preprocess=preprocess,
        limit=limit,
        calibration=calibration,
        sensitivity=sensitivity,
        costs=costs,
        cost_model=cost_model,
        measure_seconds=measure,
        optimize=optimize,
        plans=plans,
        generations=generations,
        budget_seconds=budget,
        flash_bytes=parse_size(flash) if flash else None,
        ram_bytes=parse_size(ram) if ram else None,
        max_latency=max_latency,
        seed=seed,
        jobs=jobs or default_jobs(),
    )
    from qmc.explore_command import explore_command, print_front
    from qmc.progress import Stages

    show(explore_command(options, Stages(Console(stderr=True))), as_json, print_front)


def buffers_command(
    model: Annotated[Path, typer.Argument(help="ONNX network.")],
    target: TargetOption,
    scheme: Annotated[str, typer.Option(help="Widths, or a scheme or plan file.")] = "w8a8",
    optimize: OptimizeOption = Objective.EDP,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how small each memory may be at the same cost, and what powers of two give."""
    from qmc.buffers_command import advise_buffers, print_buffers
    from qmc.progress import Stages

    with Stages(Console(stderr=True)).stage("try other sizes") as tick:
        found = advise_buffers(model, target, scheme, optimize, jobs or default_jobs(), tick)
    show(found, as_json, print_buffers)
