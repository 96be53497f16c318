"""Costs of a whole network: every layer at its widths on a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qmc.arithmetic import QuantParams
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.cost_models.streaming import streaming_cost
from qmc.layer import Layer, Precision
from qmc.options import Mapper
from qmc.progress import Tick, no_tick
from qmc.random_search import random_search
from qmc.report import layer_entry, verdict
from qmc.schedule import schedule_network
from qmc.scheme import Scheme
from qmc.search_result import Objective, SearchResult
from qmc.targets import Target

#: Mappings that the random baseline tries for each layer.
RANDOM_SAMPLES = 2000
_REFERENCE_BITS = 8


@dataclass(frozen=True, slots=True)
class Priced:
    """A layer, its widths, and its searched mapping (layers with weights) or streaming cost.

    ``at_8_bits`` is the best cost of the same layer at w8a8, where its widths are narrower.
    """

    layer: Layer
    precision: Precision
    result: SearchResult | Cost
    at_8_bits: Cost | None = None

    @property
    def cost(self) -> Cost:
        """The modelled cost."""
        return self.result.cost if isinstance(self.result, SearchResult) else self.result

    def entry(self, target: Target) -> dict[str, Any]:
        """The layer's object in report.json."""
        words = verdict(self.layer, self.cost, self.at_8_bits)
        return layer_entry(self.layer, self.precision, self.result, target, words)


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How mappings are searched."""

    model: AnalyticalModel = field(default_factory=AnalyticalModel)
    objective: Objective = Objective.EDP
    mapper: Mapper = Mapper.EXACT
    seed: int = 0
    jobs: int = 1


def layer_precision(layer: Layer, scheme: Scheme, target: Target) -> Precision:
    """Widths of a layer's operands under ``scheme``; of several inputs the widest counts."""
    tensors: Mapping[str, QuantParams] = scheme.tensors
    weights = scheme.weights.get(layer.name)
    return Precision(
        weight_bits=weights.bits if weights else _REFERENCE_BITS,
        input_bits=max(tensors[name].bits for name in layer.inputs),
        output_bits=tensors[layer.output].bits,
        psum_bits=target.psum_bits,
    )


def price_layers(
    work: Sequence[tuple[Layer, Precision]],
    target: Target,
    settings: SearchSettings,
    tick: Tick = no_tick,
) -> tuple[Priced, ...]:
    """Search the best mapping of every layer with weights; price the others by streaming.

    Raises:
        NoMappingError: a layer does not fit the machine.
    """
    weighted = [(layer, precision) for layer, precision in work if layer.has_weights]
    narrow = [(layer, _at_8_bits(precision)) for layer, precision in weighted]
    narrow = [pair for pair, given in zip(narrow, weighted, strict=True) if pair != given]
    found = _search(weighted, target, settings, tick)
    reference = _search(narrow, target, settings, no_tick)
    return tuple(
        Priced(
            layer,
            precision,
            found[layer.name] if layer.has_weights else streaming_cost(layer, precision, target),
            reference[layer.name].cost if layer.name in reference else None,
        )
        for layer, precision in work
    )


def _at_8_bits(precision: Precision) -> Precision:
    return replace(
        precision,
        weight_bits=_REFERENCE_BITS,
        input_bits=_REFERENCE_BITS,
        output_bits=max(_REFERENCE_BITS, precision.output_bits),
    )


def _search(
    work: Sequence[tuple[Layer, Precision]], target: Target, settings: SearchSettings, tick: Tick
) -> dict[str, SearchResult]:
    if settings.mapper is Mapper.RANDOM:
        return {
            layer.name: random_search(
                layer,
                precision,
                target,
                settings.model,
                settings.objective,
                samples=RANDOM_SAMPLES,
                seed=settings.seed,
            )
            for layer, precision in work
        }
    return schedule_network(
        work, target, settings.model, settings.objective, jobs=settings.jobs, progress=tick
    )
