"""``qmc map`` and ``qmc evaluate``: mappings without images and without C."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from qmc import report
from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.traffic import FirstFill
from qmc.errors import DataError, QmcError
from qmc.frontend import load_network
from qmc.layer_text import parse_bits, parse_layer
from qmc.mapping_text import mapping_to_data, nest_text, read_mapping_data
from qmc.pricing import Priced, SearchSettings, price_layers
from qmc.progress import Tick, no_tick
from qmc.targets import Target, load_target
from qmc.timeloop import read_mapping_file
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


def map_layer(text: str, bits: str, target: str, settings: SearchSettings) -> Json:
    """Search one layer given as ``C=32 K=64 P=56 ...``; an entry of ``layers``, with its nest."""
    machine = load_target(target)
    layer = parse_layer(text)
    (priced,) = price_layers([(layer, parse_bits(bits, machine.psum_bits))], machine, settings)
    return _with_nest(priced, machine)


def map_model(
    model: Path, bits: str, target: str, settings: SearchSettings, tick: Tick = no_tick
) -> Json:
    """Search every layer of a model, all at the same widths; the object of report.json."""
    machine = load_target(target)
    precision = parse_bits(bits, machine.psum_bits)
    _, network = load_network(model)
    work = [(layer, precision) for layer in network.layers]
    layers = [one.entry(machine) for one in price_layers(work, machine, settings, tick)]
    return {
        "network": report.network_entry(network.name, layers, machine, {}),
        "layers": layers,
        "target": report.target_entry(machine),
        "objective": settings.objective.value,
        "versions": report.versions(),
        "seed": settings.seed,
        "provenance": report.PROVENANCE,
    }


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
    entry = report.layer_entry(layer, precision, cost, machine, report.verdict(layer, cost, None))
    return entry | {
        "mapping": mapping_to_data(mapping),
        "nest": nest_text(layer, machine, mapping),
    }


def _with_nest(priced: Priced, target: Target) -> Json:
    from qmc.search_result import SearchResult

    entry = priced.entry(target)
    if isinstance(priced.result, SearchResult):
        entry["nest"] = nest_text(priced.layer, target, priced.result.mapping)
    return entry


def _choose(kind: type[_Choice], flag: str, text: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        raise QmcError(f"{flag}: found {text!r}; allowed: {', '.join(kind)}") from None
