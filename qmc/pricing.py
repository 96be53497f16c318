"""Costs of a whole network: every layer at its widths on a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qmc.arithmetic import QuantParams
from qmc.baselines import Baselines, baselines_data, comparison, find_baselines
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.base import Cost
from qmc.cost_models.calibrated_model import CalibratedModel
from qmc.cost_models.streaming import streaming_cost
from qmc.errors import QmcError
from qmc.formats import EnergyClass
from qmc.layer import Layer, Precision
from qmc.mappers import Request, find_mappings
from qmc.network_latency import schedule_within
from qmc.options import Mapper
from qmc.progress import Tick, no_tick
from qmc.report import layer_entry, verdict
from qmc.schedule import Outcome, Task, mapped
from qmc.scheme import Scheme
from qmc.search_result import Factors, Objective, SearchResult
from qmc.targets import Target

_REFERENCE_BITS = 8


@dataclass(frozen=True, slots=True)
class Priced:
    """A layer, its widths, and its searched mapping (layers with weights) or streaming cost.

    ``at_8_bits`` is the best cost of the same layer at w8a8, where its widths are others;
    ``baselines`` are its best mappings under the named dataflows.
    """

    layer: Layer
    precision: Precision
    result: SearchResult | Cost
    at_8_bits: Cost | None = None
    baselines: Baselines = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """The modelled cost."""
        return self.result.cost if isinstance(self.result, SearchResult) else self.result

    def entry(self, target: Target, objective: Objective) -> dict[str, Any]:
        """The layer's object in report.json."""
        baselines = baselines_data(self.baselines, self.cost, objective)
        proved = isinstance(self.result, SearchResult) and self.result.certificate.proved
        against = comparison(baselines, objective, proved)
        words = "; ".join(filter(None, (verdict(self.layer, self.cost, self.at_8_bits), against)))
        entry = layer_entry(self.layer, self.precision, self.result, target, words)
        return entry | {"at_8_bits": self._eight_bits(), "baselines": baselines}

    def _eight_bits(self) -> dict[str, Any] | None:
        """Cost at w8a8; the layer's own where it has these widths; None where nothing fits."""
        cost = self.at_8_bits
        if cost is None and _widened(self.precision) == self.precision:
            cost = self.cost
        return None if cost is None else {"energy_pj": cost.energy_pj, "cycles": cost.cycles}


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How mappings are searched.

    Attributes:
        model: what prices a mapping.
        objective: what to minimize.
        mapper: see :mod:`qmc.mappers`.
        seed: of what is random.
        jobs: threads.
        budget_seconds: of all searches together; None lets every search take its steps.
        max_cycles: limit on the cycles of all layers together; None is none.
        factors: which extents loops may have.
    """

    model: AnalyticalModel | CalibratedModel = field(default_factory=AnalyticalModel)
    objective: Objective = Objective.EDP
    mapper: Mapper = Mapper.EXACT
    seed: int = 0
    jobs: int = 1
    budget_seconds: float | None = None
    max_cycles: int | None = None
    factors: Factors = Factors.PERFECT


def layer_precision(layer: Layer, scheme: Scheme, target: Target) -> Precision:
    """Widths of a layer's operands under ``scheme``; of several inputs the widest counts."""
    tensors: Mapping[str, QuantParams] = scheme.tensors
    weights = scheme.weights.get(layer.name)
    return Precision(
        weight_bits=weights.bits if weights else _REFERENCE_BITS,
        input_bits=max(tensors[name].bits for name in layer.inputs),
        output_bits=tensors[layer.output].bits,
        psum_bits=target.psum_bits,
        weight_class=weights.numbers.energy_class if weights else EnergyClass.INTEGER,
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
        CostModelError: the cost model was calibrated for another machine.
        QmcError: the layers together take longer than they may.
    """
    if isinstance(settings.model, CalibratedModel):
        settings.model.check_target(target)
    weighted = [(layer, precision) for layer, precision in work if layer.has_weights]
    streamed = {
        layer.name: streaming_cost(layer, precision, target)
        for layer, precision in work
        if not layer.has_weights
    }
    names = [layer.name for layer, _ in weighted]
    others = sum(cost.cycles for cost in streamed.values())
    found = dict(zip(names, _best(weighted, others, target, settings, tick), strict=True))
    reference = _at_8_bits(weighted, target, settings) | {
        layer.name: streaming_cost(layer, _widened(precision), target)
        for layer, precision in work
        if layer.name in streamed
    }
    baselines = dict(zip(names, _baselines(weighted, target, settings), strict=True))
    return tuple(
        Priced(
            layer,
            precision,
            found[layer.name] if layer.has_weights else streamed[layer.name],
            reference.get(layer.name),
            baselines.get(layer.name, {}),
        )
        for layer, precision in work
    )


def _best(
    work: Sequence[tuple[Layer, Precision]],
    other_cycles: int,
    target: Target,
    settings: SearchSettings,
    tick: Tick,
) -> list[SearchResult]:
    """The best mapping of every layer with weights; ``other_cycles`` are those of the others."""
    model, objective, limit = settings.model, settings.objective, settings.max_cycles
    if limit is not None and (len(work) > 1 or other_cycles):
        _check_network_limit(settings)
        return schedule_within(
            *(work, target, model, objective, limit),
            other_cycles=other_cycles,
            jobs=settings.jobs,
            progress=tick,
        )
    tasks = [
        Task(*pair, target, model, objective, max_cycles=limit, factors=settings.factors)
        for pair in work
    ]
    return [mapped(one) for one in _search(tasks, len(tasks), settings, tick)]


def _check_network_limit(settings: SearchSettings) -> None:
    if isinstance(settings.model, CalibratedModel):
        raise QmcError("--max-latency: of a network takes no --cost-model; allowed: one of them")
    if settings.mapper is not Mapper.EXACT:
        raise QmcError(
            f"--max-latency: of a network needs the exact mapper; found {settings.mapper}"
        )
    if settings.factors is not Factors.PERFECT:
        raise QmcError(
            f"--max-latency: of a network needs perfect factors; found {settings.factors}"
        )
    if settings.budget_seconds is not None:
        raise QmcError("--max-latency: of a network takes no --budget; allowed: one of them")


def _at_8_bits(
    work: Sequence[tuple[Layer, Precision]], target: Target, settings: SearchSettings
) -> dict[str, Cost]:
    """Best costs at w8a8, without a limit, of the layers given at other widths."""
    wide = [(layer, _widened(precision)) for layer, precision in work]
    wide = [pair for pair, given in zip(wide, work, strict=True) if pair != given]
    tasks = [
        Task(*pair, target, settings.model, settings.objective, factors=settings.factors)
        for pair in wide
    ]
    outcomes = _search(tasks, 0, settings, no_tick)
    return {
        layer.name: one.cost
        for (layer, _), one in zip(wide, outcomes, strict=True)
        if isinstance(one, SearchResult)
    }


def _widened(precision: Precision) -> Precision:
    return replace(
        precision,
        weight_bits=_REFERENCE_BITS,
        input_bits=_REFERENCE_BITS,
        output_bits=max(_REFERENCE_BITS, precision.output_bits),
    )


def _baselines(
    work: Sequence[tuple[Layer, Precision]], target: Target, settings: SearchSettings
) -> list[Baselines]:
    limit = settings.max_cycles if len(work) == 1 else None
    model, objective = settings.model, settings.objective
    if isinstance(model, CalibratedModel):  # dataflows are searched by the analytical model alone
        return [{} for _ in work]
    return find_baselines(work, target, model, objective, max_cycles=limit, jobs=settings.jobs)


def _search(
    tasks: list[Task], required: int, settings: SearchSettings, tick: Tick
) -> list[Outcome]:
    request = Request(settings.mapper, settings.seed, settings.jobs, settings.budget_seconds, tick)
    return find_mappings(tasks, required, request)
