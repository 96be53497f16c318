"""``qmc map`` and ``qmc evaluate``: mappings without images and without C."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from qmc import report
from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.calibrated_model import CalibratedModel, load_calibration
from qmc.cost_models.traffic import FirstFill
from qmc.errors import DataError, QmcError
from qmc.frontend import load_network
from qmc.layer import Layer
from qmc.layer_text import parse_bits, parse_latency, parse_layer
from qmc.mapping_text import nest_text, read_mapping_data
from qmc.network import Network
from qmc.network_latency import task_front
from qmc.options import Mapper
from qmc.pricing import Priced, SearchSettings, price_layers
from qmc.progress import Tick, no_tick
from qmc.schedule import Task
from qmc.search_result import Factors, SearchResult
from qmc.targets import Target, load_target
from qmc.timeloop import read_mapping_file
from qmc.what_helps import what_helps
from qmc.width_csv import write_width_table
from qmc.width_table import width_table
from qmc.yaml_input import read_yaml

Json = dict[str, Any]
_Choice = TypeVar("_Choice", bound=StrEnum)


def cost_rules(psum: str, first_fill: str) -> AnalyticalModel:
    """The cost model with the counting rules a user typed.

    Raises:
        QmcError: a rule that does not exist.
    """
    return AnalyticalModel(
        _choose(FirstFill, "--first-fill", first_fill), _choose(PsumRule, "--psum", psum)
    )


def search_model(
    psum: str, first_fill: str, calibration: Path | None
) -> AnalyticalModel | CalibratedModel:
    """The cost model of a search: the counting rules, corrected by a file if there is one.

    Raises:
        QmcError: a rule that does not exist, or a file that is no calibration.
    """
    rules = cost_rules(psum, first_fill)
    return rules if calibration is None else replace(load_calibration(calibration), base=rules)


@dataclass(frozen=True, slots=True)
class Work:
    """What ``qmc map`` is asked to map, as typed.

    Attributes:
        model: ONNX file; None: ``layer`` is the text of one.
        layer: ``C=32 K=64 P=56 ...``, or the name of a layer of the model; None: all its layers.
        bits: widths, ``w4a8o8``.
        target: machine.
        max_latency: ``1.5ms`` or ``20000cycles``; None is no limit.
        what_helps: of one layer, search also on changed machines.
    """

    model: Path | None
    layer: str | None
    bits: str
    target: str
    max_latency: str | None = None
    what_helps: bool = True


def map_layer(work: Work, settings: SearchSettings) -> Json:
    """Search one layer; an entry of ``layers``, with its nest."""
    machine, settings = _machine(work, settings)
    pair = _one_layer(work), parse_bits(work.bits, machine.psum_bits)
    (priced,) = price_layers([pair], machine, settings)
    entry = priced.entry(machine, settings.objective)
    if not isinstance(priced.result, SearchResult):
        return entry
    mapping = priced.result.mapping
    entry["objective"] = settings.objective.value
    entry["nest"] = nest_text(priced.layer, machine, mapping, entry["accesses"])
    plain = settings.mapper is Mapper.EXACT and isinstance(settings.model, AnalyticalModel)
    plain = plain and settings.factors is Factors.PERFECT
    if work.what_helps and plain:
        entry["what_helps"] = _what_helps(priced, machine, settings)
    return entry


def _what_helps(priced: Priced, target: Target, settings: SearchSettings) -> list[Json]:
    problem = (priced.layer, priced.precision, target, settings.model, settings.objective)
    limit, jobs = settings.max_cycles, settings.jobs
    return what_helps(*problem, priced.cost, max_cycles=limit, jobs=jobs)


def check_perfect(flag: str, settings: SearchSettings) -> None:
    """Refuse imperfect factors where ``flag`` knows perfect ones alone.

    Raises:
        QmcError: other factors are asked for.
    """
    if settings.factors is not Factors.PERFECT:
        raise QmcError(f"{flag}: needs perfect factors; found --factors {settings.factors}")


def map_front(work: Work, settings: SearchSettings) -> Json:
    """The (energy, cycles) Pareto set of one layer; ``points`` are entries of ``layers``."""
    check_perfect("--pareto", settings)
    machine, settings = _machine(work, settings)
    layer, precision = _one_layer(work), parse_bits(work.bits, machine.psum_bits)
    if not layer.has_weights:
        raise QmcError(f"--pareto: layer '{layer.name}' has no mapping to choose ({layer.op})")

    task = Task(layer, precision, machine, settings.model, max_cycles=settings.max_cycles)
    points = [
        report.layer_entry(
            layer, precision, found, machine, report.verdict(layer, found.cost, None)
        )
        for found in task_front(task)
    ]
    target = report.target_entry(machine)
    return {"layer": layer.name, "points": points, "target": target}


def map_model(work: Work, settings: SearchSettings, tick: Tick = no_tick) -> Json:
    """Search every layer of a model, all at the same widths; the object of report.json."""
    machine, settings = _machine(work, settings)
    precision = parse_bits(work.bits, machine.psum_bits)
    network = _network(work)
    pairs = [(layer, precision) for layer in network.layers]
    objective = settings.objective
    layers = [one.entry(machine, objective) for one in price_layers(pairs, machine, settings, tick)]
    return {
        "network": report.network_entry(
            network.name, layers, machine, {"max_cycles": settings.max_cycles}, objective
        ),
        "layers": layers,
        "target": report.target_entry(machine),
        "objective": objective.value,
        "versions": report.versions(),
        "seed": settings.seed,
        "provenance": report.provenance(settings.model),
    }


def _machine(work: Work, settings: SearchSettings) -> tuple[Target, SearchSettings]:
    """The machine, and the settings with the limit in its cycles."""
    machine = load_target(work.target)
    if work.max_latency is None:
        return machine, settings
    limit = parse_latency(work.max_latency, machine.clock_hz)
    return machine, replace(settings, max_cycles=limit)


def _network(work: Work) -> Network:
    if work.model is None:
        raise QmcError("map: found neither a model nor a layer; give MODEL or --layer")
    return load_network(work.model)[1]


def _one_layer(work: Work) -> Layer:
    if work.layer is None:
        raise QmcError("--pareto: found no layer; give --layer, with MODEL its name")
    if work.model is None:
        return parse_layer(work.layer)
    layers = {layer.name: layer for layer in _network(work).layers}
    if work.layer not in layers:
        near = difflib.get_close_matches(work.layer, layers, 3, 0.4) or list(layers)[:3]
        raise QmcError(
            f"--layer: {work.model.name} has no layer '{work.layer}'; near: {', '.join(near)}"
        )
    return layers[work.layer]


def map_widths(work: Work, file: Path, settings: SearchSettings, tick: Tick = no_tick) -> None:
    """Search every layer of a model at every triple of widths; the table goes to a CSV file."""
    if work.layer is not None:
        raise QmcError("--width-table: found --layer; allowed: MODEL alone")
    check_perfect("--width-table", settings)
    table = width_table(
        _network(work).layers,
        load_target(work.target),
        settings.model,
        settings.objective,
        jobs=settings.jobs,
        progress=tick,
    )
    write_width_table(table, file)


def evaluate_mapping(
    text: str, bits: str, target: str, file: Path, file_format: str, model: AnalyticalModel
) -> Json:
    """Price a mapping from a file; an entry of ``layers``, with its nest.

    Args:
        text: the layer, ``C=32 K=64 P=56 ...``.
        bits: widths, ``w4a8o8``.
        target: machine.
        file: the mapping.
        file_format: "qmc" (as in plan.yaml and report.json) or "timeloop".
        model: counting rules.

    Raises:
        QmcError: one of its classes, for a file or mapping that is wrong.
    """
    machine = load_target(target)
    layer = parse_layer(text)
    precision = parse_bits(bits, machine.psum_bits)
    match file_format:
        case "qmc":
            mapping = read_mapping_data(read_yaml(file, DataError), str(file))
        case "timeloop":
            mapping = read_mapping_file(file, layer, machine)
        case _:
            raise QmcError(f"--format: found {file_format!r}; allowed: qmc, timeloop")
    cost = model.evaluate(layer, precision, machine, mapping)
    words = report.verdict(layer, cost, None)
    entry = report.layer_entry(layer, precision, cost, machine, words, mapping)
    return entry | {"nest": nest_text(layer, machine, mapping, entry["accesses"])}


def _choose(kind: type[_Choice], flag: str, text: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        raise QmcError(f"{flag}: found {text!r}; allowed: {', '.join(kind)}") from None
