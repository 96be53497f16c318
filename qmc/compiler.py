"""The compiler: a trained ONNX network in, a folder of verified integer C and its report out.

Stages, in order, each a function from frozen values to new ones:

1. *front end* (``qmc.frontend``): ONNX file -> Relax module, names kept, batch 1.
2. *passes* (``qmc.passes``): canonical forms, batch norms folded, one composite per layer; then
   ``extract_network`` -> ``Network``, plain data from here on.
3. *calibrate* (``qmc.calibrate``): network and images -> ``Scheme``: width, scale and zero point of
   every tensor. Two more passes write it into the module: ``AnnotateQuantization`` puts it into the
   composites' attributes, ``LowerToInteger`` makes packed-integer calls of them.
4. *quantize* (``qmc.quantize``): network and scheme -> ``IntegerNetwork``, every integer constant.
5. *schedule* (``qmc.schedule``): each layer at its widths -> best mapping on the target, proof.
6. *emit* (``qmc.codegen``): integer network and mappings -> C files; their loops are the mappings.
7. *verify and measure* (``qmc.verify``, ``qmc.evaluation``): the emitted C is built, compared with
   the NumPy reference bit for bit, and run on labelled images.
8. *report* (``qmc.report``): one JSON object, the same as CSV, and a table for people.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from qmc import report
from qmc.auto_scheme import AutoScheme, auto_scheme
from qmc.build_report import Findings, build_report, max_cycles
from qmc.calibrate import calibrate
from qmc.chosen_network import NETWORK_FILE
from qmc.codegen import (
    Program,
    golden_files,
    make_program,
    make_variants,
    print_program,
)
from qmc.codegen.build import compile_folder, find_compiler, write_files
from qmc.codegen.vector.knobs import Knobs
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import CalibratedModel, load_calibration
from qmc.damage import DAMAGE_INPUTS, layer_damage
from qmc.data import Dataset
from qmc.errors import BuildError, QmcError, QuantizationError
from qmc.evaluation import Accuracy, measure
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.labels import find_class_names
from qmc.measured_average import measured_average
from qmc.network import Network
from qmc.observe import observe
from qmc.open_images import Data, load_data
from qmc.options import Options, SensitivityChoice
from qmc.output_folder import check_replaceable, whole_folder
from qmc.plan import plan_text
from qmc.preprocess import Preprocess
from qmc.pricing import Priced, SearchSettings, layer_precision, price_layers
from qmc.progress import Stages, Tick
from qmc.qdq_export import to_qdq
from qmc.quantize import quantize
from qmc.sample_inputs import sample_codes, sample_inputs
from qmc.scheme import Scheme
from qmc.scheme_io import scheme_to_text
from qmc.search_result import SearchResult
from qmc.target_variants import load_variants, runs_some
from qmc.targets import Target, load_target
from qmc.tuning.choices import TUNING_FILE, read_tuning, tuning_text
from qmc.verify import VerifyResult, verify_build
from qmc.widths import asked_average, parse_widths

#: Gives the knobs of layers by name.
ChooseKnobs = Callable[[IntegerNetwork], Dict[str, Knobs]]

#: The scheme that is chosen from all widths.
AUTO = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything chosen for a network, and where it was written.

    Attributes:
        network: float layers.
        scheme: width, scale and zero point of every tensor.
        integer: the integer network.
        priced: every layer with its mapping and cost.
        program: the emitted program.
        accuracy: measured on labelled images, if there were any.
        report: the object of report.json.
        output: the folder.
    """

    network: Network
    scheme: Scheme
    integer: IntegerNetwork
    priced: tuple[Priced, ...]
    program: Program
    accuracy: Accuracy | None
    report: dict[str, Any]
    output: Path


def compile_model(model: str | Path, target: str, output: str | Path, **options: Any) -> Plan:
    """Compile ``model`` for ``target`` into the folder ``output``.

    Args:
        model: ONNX file.
        target: name of a known machine, or path of its YAML file.
        output: folder to make; it appears whole or not at all.
        options: the other fields of :class:`qmc.options.Options`.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    chosen = Options(model=Path(model), target=str(target), output=Path(output), **options)
    return compile_with_options(chosen, Stages(Console(quiet=True)))


def compile_with_options(
    options: Options, stages: Stages, choose_knobs: ChooseKnobs | None = None
) -> Plan:
    """Run all stages. Cheap checks come first, so that a mistake is told at once.

    Args:
        options: what was asked for.
        stages: shows them.
        choose_knobs: how kernels are built, given the integer network; None takes the options'
            file, or the defaults.
    """
    _check_options(options)
    target = load_target(options.target)
    families = load_variants(options, target)
    lacking = _lacking(target) if options.verify and options.eval is None else ""
    verifies = options.verify and not lacking
    if (verifies or options.eval is not None) and not runs_some(families):
        check_runs_here(target)
    max_cycles(options, target)
    with stages.stage("read the model"):
        module, network = load_network(
            options.model, options.equalize, options.dump_ir, options.encodings
        )
    data = load_data(options, network)
    auto = choose_widths(options, network, target, data, stages)
    with stages.stage("calibrate and quantize") as tick:
        scheme = auto.scheme if auto else choose_scheme(options, network, data, tick)
        integer = quantize(network, scheme)
        if options.dump_ir:
            dump_integer_passes(module, network, scheme, options.dump_ir)
    with stages.stage("search mappings") as tick:
        priced = price_network(options, network, scheme, target, tick)
    mappings = {p.layer.name: p.result for p in priced if isinstance(p.result, SearchResult)}
    loops = {name: found.mapping for name, found in mappings.items()}
    knobs = choose_knobs(integer) if choose_knobs else _read_knobs(options, network, target)
    if families:
        ours = {name: knobs for name, one in families.items() if one == target.kernels}
        program = make_variants(integer, loops, families, ours)
    else:
        program = make_program(integer, loops, target.kernels, knobs)
    _check_budgets(options, program)
    with whole_folder(options.output) as folder:
        with stages.stage("write the C"):
            write_files(print_program(program), folder)
            codes = sample_codes(integer, data.any_images, options.golden, options.seed)
            write_files(golden_files(integer, codes), folder)
        verified = None
        if verifies:
            with stages.stage("verify against the reference"):
                verified = _verify(folder)
        with stages.stage("measure accuracy") as tick:
            accuracy = _measure(options, integer, data.eval, folder, tick)
        with stages.stage("compare layers with float"):
            inputs = sample_inputs(integer, data.any_images, DAMAGE_INPUTS, options.seed)
            damage = layer_damage(network, integer, inputs)
        known = Findings(verified, accuracy, damage, data.any_images is not None)
        rules = _search_model(options)
        finished = build_report(options, network, scheme, target, priced, program, known, rules)
        finished = with_note(finished, f"not verified: {lacking}" if lacking else "")
        finished = finished if auto is None else with_width_verdicts(finished, auto)
        _write_network(folder, network, scheme, integer)
        if knobs:
            (folder / TUNING_FILE).write_text(tuning_text(target, knobs), encoding="utf-8")
        _write_texts(folder, options, target, integer, data.preprocess, scheme, mappings, finished)
    return Plan(network, scheme, integer, priced, program, accuracy, finished, options.output)


def choose_scheme(options: Options, network: Network, data: Data, tick: Tick) -> Scheme:
    """Stage 3: a complete scheme file as it is, or widths plus calibration.

    Raises:
        SchemeError: the scheme does not fit the network.
        DataError: there are no usable images.
    """
    widths = parse_widths(options.scheme, network)
    if isinstance(widths, Scheme):
        return widths
    average, seen = asked_average(options.scheme), None
    if average and data.calib and options.sensitivity != SensitivityChoice.WEIGHTS:
        seen = observe(network, data.calib, tick)
        widths = measured_average(
            *(average, network, data.calib, data.eval, seen, options.sensitivity),
            method=options.calibration,
            jobs=options.jobs,
            tick=tick,
        )
    return calibrate(
        network,
        data.calib,
        widths,
        method=options.calibration,
        rounding=options.rounding,
        weight_rounding=options.weight_rounding,
        seed=options.seed,
        seen=seen,
        tick=tick,
    )


def choose_widths(
    options: Options, network: Network, target: Target, data: Data, stages: Stages
) -> AutoScheme | None:
    """Before stage 3, of ``--scheme auto``: the cheapest widths that lose no more than allowed.

    Raises:
        QmcError: there is nothing to judge by, or nothing keeps to the limits.
    """
    if options.scheme != AUTO:
        return None
    return auto_scheme(options, network, target, data.calib, data.eval, stages)


def with_note(finished: dict[str, Any], note: str) -> dict[str, Any]:
    """The report with one more note, if there is one."""
    return {**finished, "notes": [*finished["notes"], note]} if note else finished


def with_width_verdicts(finished: dict[str, Any], auto: AutoScheme) -> dict[str, Any]:
    """The report, with a word on every width and on how they were chosen."""
    layers = [
        {**entry, "verdict": "; ".join(filter(None, (entry["verdict"], auto.verdicts.get(name))))}
        for entry in finished["layers"]
        for name in [entry["name"]]
    ]
    return {**finished, "layers": layers, "notes": [*finished["notes"], auto.note]}


def dump_integer_passes(module: Any, network: Network, scheme: Scheme, folder: Path) -> None:
    """Write the module with the scheme annotated, and lowered to packed-integer calls."""
    from qmc.passes.annotate_quantization import AnnotateQuantization
    from qmc.passes.lower_to_integer import LowerToInteger
    from qmc.passes.pipeline import front_passes, run_pipeline

    done = len(front_passes())
    run_pipeline(module, [AnnotateQuantization(scheme), LowerToInteger()], folder, done)


def _search_model(options: Options) -> AnalyticalModel | CalibratedModel:
    """What prices mappings."""
    return load_calibration(options.cost_model) if options.cost_model else AnalyticalModel()


def price_network(
    options: Options, network: Network, scheme: Scheme, target: Target, tick: Tick
) -> tuple[Priced, ...]:
    """Stage 5: the best mapping and cost of every layer at the scheme's widths.

    Raises:
        NoMappingError: a layer does not fit the machine.
        CostModelError: the file of a calibrated cost model is not one for this machine.
    """
    settings = SearchSettings(
        model=_search_model(options),
        objective=options.optimize,
        mapper=options.mapper,
        factors=options.factors,
        seed=options.seed,
        jobs=options.jobs,
        budget_seconds=options.budget_seconds,
        max_cycles=max_cycles(options, target),
    )
    work = [(layer, layer_precision(layer, scheme, target)) for layer in network.layers]
    return price_layers(work, target, settings, tick)


def class_names(options: Options, network: IntegerNetwork) -> tuple[str, ...]:
    """Names of the outputs, for ``qmc run``."""
    return find_class_names(options.model, network.tensors[network.output].size)


def _read_knobs(options: Options, network: Network, target: Target) -> Dict[str, Knobs]:
    return {} if options.tuning is None else read_tuning(options.tuning, network, target)


def _check_options(options: Options) -> None:
    check_replaceable(options.output)
    if options.max_drop is not None and options.eval is None and options.scheme != AUTO:
        raise QmcError("--max-drop: needs labelled images; give --eval PATH")


def check_runs_here(target: Target) -> None:
    """Refuse to run C that this computer has no compiler, emulator or instructions for.

    Raises:
        BuildError: it lacks some.
    """
    lacking = _lacking(target)
    if lacking:
        raise BuildError(f"--eval: --target '{target.name}': {lacking}")
    if target.kernels is None or target.kernels.toolchain is None:
        find_compiler()
    missing = target.kernels.lacking_here() if target.kernels else []
    if missing:
        raise BuildError(
            f"--target: found '{target.name}', this processor has no {', '.join(missing)}; "
            "allowed: --no-verify without --eval, or a machine it can run, such as host"
        )


def _lacking(target: Target) -> str:
    """What of the target's toolchain is not installed; empty where nothing is missing."""
    chain = target.kernels.toolchain if target.kernels else None
    return chain.missing() if chain else ""


def _check_budgets(options: Options, program: Program) -> None:
    for flag, limit, needed in (
        ("--flash", options.flash_bytes, program.flash_bytes),
        ("--ram", options.ram_bytes, program.ram_peak_bytes),
    ):
        if limit is not None and needed > limit:
            raise QmcError(
                f"{flag}: found {limit} bytes; this build needs {needed} bytes "
                "(narrower widths in --scheme make it smaller)"
            )


def _verify(folder: Path) -> VerifyResult:
    result = verify_build(folder)
    if not result.ok:
        raise BuildError(f"the emitted C differs from the reference: {result.first_difference}")
    return result


def _measure(
    options: Options, network: IntegerNetwork, images: Dataset | None, folder: Path, tick: Any
) -> Accuracy | None:
    if images is None:
        return None
    with tempfile.TemporaryDirectory(prefix="qmc-build-") as work:
        program = compile_folder(folder, Path(work) / "run", ("-O3",), together=8)
        accuracy = measure(program, network, options.model, images, options.jobs, tick)
    if options.max_drop is not None and accuracy.drop > options.max_drop:
        raise QmcError(
            f"--max-drop: found a drop of {accuracy.drop:.2f} points ({accuracy.top1_float:.2f} to "
            f"{accuracy.top1:.2f} % of {accuracy.images} images); allowed: {options.max_drop:g}"
        )
    return accuracy


def _write_network(folder: Path, network: Network, scheme: Scheme, integer: IntegerNetwork) -> None:
    """The quantized network as ONNX, so that the folder can be exported without the model."""
    try:
        model = to_qdq(network, scheme, integer)
    except QuantizationError:  # a layer without an exact form there; export will name it
        return
    (folder / NETWORK_FILE).write_bytes(model.SerializeToString(deterministic=True))


def _write_texts(
    folder: Path,
    options: Options,
    target: Target,
    integer: IntegerNetwork,
    preprocess: Preprocess | None,
    scheme: Scheme,
    results: Dict[str, SearchResult],
    finished: dict[str, Any],
) -> None:
    texts = {
        "plan.yaml": plan_text(options, target, integer, results),
        "scheme.yaml": scheme_to_text(scheme),
        "report.json": json.dumps(finished, indent=1, ensure_ascii=False) + "\n",
        "report.csv": report.to_csv(finished["layers"]),
        "labels.txt": "".join(f"{name}\n" for name in class_names(options, integer)),
    }
    if preprocess is not None:
        texts["preprocess.yaml"] = yaml.safe_dump(preprocess.to_data(), sort_keys=False)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
