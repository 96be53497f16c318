"""The command line: flags to one ``Options`` value, errors to exit codes; light to import."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from qmc import __version__
from qmc.arithmetic import Rounding
from qmc.errors import QmcError
from qmc.options import ExploreOptions, Mapper, Options, SensitivityChoice, default_jobs
from qmc.ranges import Calibration
from qmc.scheme import WeightRounding
from qmc.search_result import Factors, Objective

#: What typer makes of Ctrl-C.
_INTERRUPTED = 130
#: Wrong flags and arguments; typer has its own copy of click, older ones import it.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Quantization-mapping compiler: a trained ONNX CNN in; widths, proved-best mappings and "
    "bit-exact integer C out.",
)

_SIZE_UNITS = {"": 1, "B": 1, "K": 1024, "KB": 1000, "KIB": 1024, "M": 1 << 20, "MB": 10**6}
_SIZE_UNITS |= {"MIB": 1 << 20}


def _complete_target(typed: str) -> list[str]:
    """Names of machines that begin so; shells ask for them, so none is read."""
    names = (path.stem for path in (Path(__file__).parent / "targets").glob("*.yaml"))
    return sorted(name for name in names if name.startswith(typed))


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
    Factors, typer.Option(help="Extents of loops: perfect ones, or those that leave short tiles.")
]
MapperOption = Annotated[Mapper, typer.Option(help="exact, learned, auto, or the random baseline.")]
BudgetOption = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds for all searches together; default: a number of steps."),
]
CostModelOption = Annotated[
    Path | None, typer.Option(help="File written by qmc calibrate; default: the analytical model.")
]
MaxLatencyOption = Annotated[
    str | None, typer.Option(help="Of the layer, or the network: 1.5ms, or 20000cycles.")
]
SensitivityOption = Annotated[
    str,
    typer.Option(help="Of widths to choose: auto, kl, loss, second-order, weights, or a CSV file."),
]
JobsOption = Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
BuildArgument = Annotated[Path, typer.Argument(help="Folder made by qmc compile.")]


def main() -> None:
    """Run the command line; exit 0 fine, 2 user error (one line), 1 our bug."""
    try:
        status = app(standalone_mode=False)
    except QmcError as error:
        _fail(f"{error} [{error.code}]")
    except _UsageError as error:
        if not str(error).strip():  # no arguments at all: typer has the help text ready
            error.show()
            raise SystemExit(2) from None
        _fail(f"{error.format_message()} (try --help)")
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; nothing was written")
    if status == _INTERRUPTED:
        _fail("interrupted; nothing was written")
    raise SystemExit(status if isinstance(status, int) else 0)


def _fail(message: str) -> NoReturn:
    from qmc.console import printable

    print(f"qmc: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    raise SystemExit(2)


def parse_size(text: str) -> int:
    """Bytes of ``256KiB``, ``1.5MB``, ``4096``.

    Raises:
        QmcError: not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise QmcError(f"size: found {text!r}; allowed: a number with B, KB, KiB, MB or MiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def _version(value: bool) -> None:
    if value:
        print(f"qmc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command("compile")
def compile_command(
    model: Annotated[Path, typer.Argument(help="Trained ONNX network, float or QDQ.")],
    target: TargetOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    scheme: Annotated[str, typer.Option(help="Widths: w8a8, w4a8, ..., auto, or a file.")] = "w8a8",
    sensitivity: SensitivityOption = SensitivityChoice.AUTO,
    calib: Annotated[
        Path | None, typer.Option(help="Calibration images: folder, .npz or .npy.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="Labelled images to measure accuracy on.")
    ] = None,
    preprocess: Annotated[
        Path | None, typer.Option(help="YAML; default: <model>.preprocess.yaml beside the model.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.")] = None,
    calibration: Annotated[
        Calibration | None, typer.Option(help="Of activation ranges; default: mse.")
    ] = None,
    optimize: OptimizeOption = Objective.EDP,
    factors: FactorsOption = Factors.PERFECT,
    mapper: MapperOption = Mapper.EXACT,
    cost_model: CostModelOption = None,
    budget: BudgetOption = None,
    max_latency: MaxLatencyOption = None,
    rounding: Annotated[Rounding, typer.Option(help="Of requantizations.")] = Rounding.HALF_UP,
    weight_rounding: Annotated[
        WeightRounding, typer.Option(help="nearest, fitted to outputs, or by width.")
    ] = WeightRounding.AUTO,
    equalize: Annotated[bool, typer.Option(help="Equalize ranges across layers.")] = False,
    encodings: Annotated[
        Path | None, typer.Option(help="AIMET encodings (JSON): scales and widths to keep.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Largest loss of top-1 in points; needs --eval or auto.")
    ] = None,
    flash: Annotated[str | None, typer.Option(help="Budget, for example 256KiB.")] = None,
    ram: Annotated[str | None, typer.Option(help="Budget, for example 64KiB.")] = None,
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
    _show(plan.report, as_json, _print_build)
    if explain:
        from qmc.explain import explain as stages_of
        from qmc.explain import print_explanation

        print_explanation(stages_of(plan, options), Console(stderr=as_json))


@app.command("explore")
def explore_command(
    model: Annotated[Path, typer.Argument(help="Trained ONNX network, float or QDQ.")],
    target: TargetOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    calib: Annotated[
        Path | None, typer.Option(help="Calibration images: folder, .npz or .npy.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="Labelled images to measure accuracy on.")
    ] = None,
    preprocess: Annotated[
        Path | None, typer.Option(help="YAML; default: <model>.preprocess.yaml beside the model.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.")] = None,
    calibration: Annotated[
        Calibration | None, typer.Option(help="Of activation ranges; default: mse.")
    ] = None,
    sensitivity: SensitivityOption = SensitivityChoice.AUTO,
    costs: Annotated[
        Path | None, typer.Option(help="CSV with measured costs: layer, widths, cost.")
    ] = None,
    optimize: Annotated[Objective, typer.Option(help="Cost of the front.")] = Objective.ENERGY,
    plans: Annotated[int, typer.Option(min=2, max=999, help="Points that become plans.")] = 12,
    generations: Annotated[
        int, typer.Option(min=0, help="Of the evolutionary search; needs --eval.")
    ] = 0,
    budget: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds after which no candidate is tried.")
    ] = None,
    flash: Annotated[str | None, typer.Option(help="Limit, for example 256KiB.")] = None,
    ram: Annotated[str | None, typer.Option(help="Limit, for example 64KiB.")] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Of the network: 1.5ms, or 20000cycles.")
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

    _show(explore_command(options, Stages(Console(stderr=True))), as_json, print_front)


@app.command("buffers")
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
    _show(found, as_json, print_buffers)


@app.command("map")
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
    psum: Annotated[str, typer.Option(help="honest, or output (compatibility).")] = "honest",
    first_fill: Annotated[str, typer.Option(help="elided or counted.")] = "elided",
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
            _show(mapping_command.map_front(work, settings), as_json, _print_front)
        elif layer is not None:
            _show(mapping_command.map_layer(work, settings), as_json, _print_layer)
        else:
            _show(mapping_command.map_model(work, settings, tick), as_json, _print_build)


@app.command()
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
    psum: Annotated[str, typer.Option(help="honest, or output (compatibility).")] = "honest",
    first_fill: Annotated[str, typer.Option(help="elided or counted.")] = "elided",
    as_json: JsonOption = False,
) -> None:
    """Price a given mapping of one layer; compare the counts with another tool's."""
    from qmc import mapping_command

    rules = mapping_command.cost_rules(psum, first_fill)
    entry = mapping_command.evaluate_mapping(layer, bits, target, mapping, file_format, rules)
    if against is not None:
        from qmc.compare_counts import compare, read_record

        entry |= {"against": compare(entry, read_record(against))}
    _show(entry, as_json, _print_layer)


@app.command("calibrate")
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
    _show(found, as_json, command.print_calibration)


@app.command()
def run(
    build: BuildArgument,
    inputs: Annotated[list[Path], typer.Argument(help="Images, or .npy inputs.")],
    as_json: JsonOption = False,
) -> None:
    """Run the emitted program on images and print the five most likely classes."""
    from qmc.inference import print_predictions, run_images

    _show(run_images(build, inputs), as_json, print_predictions)


@app.command()
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
        _show(data, as_json, print_result)
    else:
        from qmc.bisect import DEFAULT_SQNR_DB, print_bisect
        from qmc.bisect import bisect as find

        data = find(build, DEFAULT_SQNR_DB if sqnr is None else sqnr, model)
        _show(data, as_json, print_bisect)
    if not data["ok"]:
        raise typer.Exit(2)


@app.command("diff")
def diff_command(
    first: Annotated[Path, typer.Argument(help="Build, folder of a plan, or plan.yaml.")],
    second: Annotated[Path, typer.Argument(help="The same, to compare with.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two builds or plans layer by layer."""
    from qmc.diff import diff
    from qmc.diff_view import print_diff

    _show(diff(first, second), as_json, print_diff)


@app.command("report")
def report_command(
    build: Annotated[Path, typer.Argument(help="Folder made by qmc compile or qmc explore.")],
    as_json: JsonOption = False,
) -> None:
    """Write report.html, one page that needs nothing else; print the report of a build."""
    from qmc.html.command import print_page, write_report

    data, page = write_report(build)
    print_page(page, Console(stderr=True))
    _show(data, as_json, _print_front_or_build)


@app.command("export")
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
    as_json: JsonOption = False,
) -> None:
    """Write a build as ONNX with quantization, encodings, or another tool's mappings."""
    from qmc.export_command import export_build, print_export

    _show(export_build(build, file_format, output, model), as_json, print_export)


class _TargetsGroup(TyperGroup):
    """``qmc targets NAME`` means ``qmc targets show NAME``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, or ``show``."""
        known = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if known else ["show", *args])


_targets_app = typer.Typer(
    cls=_TargetsGroup,
    invoke_without_command=True,
    subcommand_metavar="[NAME|FILE | COMMAND ...]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(_targets_app, name="targets")


@_targets_app.callback()
def targets(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the machines; with a name or file, show one. Commands: show, check, import."""
    context.obj = as_json  # where --json stands before the name
    if context.invoked_subcommand is None:
        from qmc.targets_command import print_targets, targets_data

        _show(targets_data(), as_json, print_targets)


@_targets_app.command("show")
def show_target(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Name or YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Show a machine: hierarchy, sizes, dataflow, energies with their sources."""
    from qmc.targets_command import print_target, target_data

    _show(target_data(target), as_json or context.obj is True, print_target)


@_targets_app.command("check")
def check_target(
    target: Annotated[str, typer.Argument(help="YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Explain every mistake in a description; exit with 2 if there is one."""
    from qmc.targets_command import check_data, print_check

    result = check_data(target)
    _show(result, as_json, print_check)
    if not result["ok"]:
        raise typer.Exit(2)


@_targets_app.command("import")
def import_target(
    files: Annotated[
        list[Path], typer.Argument(help="Timeloop files of one machine, or one of ZigZag.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="YAML file to write.")],
    ert: Annotated[
        Path | None, typer.Option(help="Timeloop's energy table; may be among FILES too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Translate a machine of Timeloop (v0.3, v0.4) or ZigZag; say what has no translation."""
    from qmc.targets_command import import_data, print_import

    _show(import_data([*files, *([ert] if ert else [])], output), as_json, print_import)


def _show(
    data: dict[str, Any], as_json: bool, printer: Callable[[dict[str, Any], Console], None]
) -> None:
    if as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        printer(data, Console())


def _print_build(data: dict[str, Any], console: Console) -> None:
    from qmc.console import print_build

    print_build(data, console)


def _print_front_or_build(data: dict[str, Any], console: Console) -> None:
    if "points" not in data:
        return _print_build(data, console)
    from qmc.explore_command import print_front

    print_front(data, console)


def _print_layer(data: dict[str, Any], console: Console) -> None:
    from qmc.layer_view import print_layer

    print_layer(data, console)


def _print_front(data: dict[str, Any], console: Console) -> None:
    from qmc.layer_view import print_front

    print_front(data, console)


if __name__ == "__main__":
    main()
