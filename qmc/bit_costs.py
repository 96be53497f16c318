"""The network on its machine as a :class:`BitProblem`: what every layer costs at every width.

Layers with weights cost what the best mapping at those widths costs (:mod:`qmc.width_table`), the
others what streaming them costs; flash is packed weights and constants, RAM the packed tensors that
are alive while a layer runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from qmc.bit_groups import SEARCH_WIDTHS, Assignment, Group, activation_groups
from qmc.bit_problem import (
    CYCLES,
    ENERGY,
    FLASH,
    SENSITIVITY,
    BitProblem,
    Peak,
    Table,
    Term,
    Variable,
)
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.streaming import streaming_cost
from qmc.errors import NoMappingError
from qmc.layer import Layer, Precision
from qmc.network import Network
from qmc.packing import row_bytes, storage_bytes
from qmc.progress import Tick, no_tick
from qmc.search_result import Objective
from qmc.sensitivity import Sensitivities
from qmc.targets import Target
from qmc.width_classes import Triple
from qmc.width_table import WidthTable, width_table

#: Bytes of requantization constants of an output channel: multiplier, start, offset, shift.
_CONSTANT_BYTES = 13

#: (energy in pJ, cycles) of a layer at (weight, input, output) bits; what is missing cannot be.
LayerCosts = Mapping[Triple, tuple[float, int]]


@dataclass(frozen=True, slots=True)
class WidthVariables:
    """The variables of a network: where each layer's and each group's width is found.

    Attributes:
        variables: weights of every layer first, then free groups.
        weights: variable by layer name.
        groups: variable by group name, free groups only.
        leaders: group of every tensor.
    """

    variables: tuple[Variable, ...]
    weights: Mapping[str, int]
    groups: Mapping[str, int]
    leaders: Mapping[str, Group]

    def assignment(self, options: Sequence[int]) -> Assignment:
        """The widths of a choice."""
        bits = [v.options[option] for v, option in zip(self.variables, options, strict=True)]
        weights = {name: bits[v] for name, v in self.weights.items()}
        return Assignment(weights, {name: bits[v] for name, v in self.groups.items()})

    def options(self, assignment: Assignment) -> tuple[int, ...]:
        """The choice that an assignment is.

        Raises:
            ValueError: a width that no option has.
        """
        chosen = [0] * len(self.variables)
        for name, v in self.weights.items():
            chosen[v] = self.variables[v].options.index(assignment.weights[name])
        for name, v in self.groups.items():
            chosen[v] = self.variables[v].options.index(assignment.activations[name])
        return tuple(chosen)

    def of(self, tensor: str) -> int | None:
        """The variable of a tensor; None where its width is fixed."""
        return self.groups.get(self.leaders[tensor].name)


def width_variables(network: Network, widths: Sequence[int] = SEARCH_WIDTHS) -> WidthVariables:
    """The variables of ``network``: the widest option first, so that it wins where all are equal.

    Weights that came quantized may only become narrower.
    """
    offered = tuple(sorted(widths, reverse=True))
    variables: list[Variable] = []
    weights: dict[str, int] = {}
    for layer in network.layers:
        if layer.has_weights:
            given = network.parameters[layer.name].given
            options = tuple(b for b in offered if given is None or b <= given.bits)
            weights[layer.name] = len(variables)
            variables.append(Variable(layer.name, options or offered[-1:]))
    groups = activation_groups(network)
    free: dict[str, int] = {}
    for group in groups:
        if group.fixed is None:
            free[group.name] = len(variables)
            variables.append(Variable(group.name, offered))
    leaders = {tensor: group for group in groups for tensor in group.tensors}
    return WidthVariables(tuple(variables), weights, free, leaders)


def machine_costs(
    network: Network,
    target: Target,
    model: AnalyticalModel,
    objective: Objective,
    *,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> dict[str, LayerCosts]:
    """The best mapping's cost of every layer with weights at every triple of widths.

    Args:
        network: its layers.
        target: the machine.
        model: counting rules.
        objective: what each mapping minimizes.
        jobs: threads.
        tick: called with layers done and in all.

    Raises:
        NoMappingError: a layer fits no mapping at any width.
    """
    costs: dict[str, dict[Triple, tuple[float, int]]] = {}
    for table in machine_tables(network, target, model, objective, jobs=jobs, tick=tick):
        for (name, triple), entry in table.entries.items():
            costs.setdefault(name, {})[triple] = entry.energy_pj, entry.cycles
    return {**costs}


def machine_tables(
    network: Network,
    target: Target,
    model: AnalyticalModel,
    objective: Objective,
    *,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> list[WidthTable]:
    """The best mappings behind :func:`machine_costs`, and for the same arguments.

    Raises:
        NoMappingError: a layer fits no mapping at any width.
    """
    fixed = {t: group.fixed for group in activation_groups(network) for t in group.tensors}
    wanted: dict[tuple[int, ...], list[Layer]] = {}
    for layer in network.layers:
        if layer.has_weights:
            ends = {fixed[layer.inputs[0]], fixed[layer.output]} - {None}
            others = {bits for bits in ends if bits is not None and bits not in SEARCH_WIDTHS}
            wanted.setdefault((*SEARCH_WIDTHS, *sorted(others)), []).append(layer)
    tables: list[WidthTable] = []
    for widths, layers in wanted.items():
        done = sum(len(table.layers) for table in tables)
        table = width_table(
            layers, target, model, objective, widths, jobs=jobs, progress=_shifted(tick, done)
        )
        mapped = {name for name, _ in table.entries}
        for layer in layers:
            if layer.name not in mapped:
                raise NoMappingError(layer.name, target.name, "at no width from 2 to 8")
        tables.append(table)
    return tables


def _shifted(tick: Tick, done: int) -> Tick:
    return lambda count, total: tick(done + count, done + total)


def bit_problem(
    network: Network,
    target: Target,
    widths: WidthVariables,
    costs: Mapping[str, LayerCosts],
    sensitivities: Sensitivities,
    metric: str = ENERGY,
) -> BitProblem:
    """Everything a choice of widths is judged by.

    Args:
        network: its layers.
        target: the machine.
        widths: the variables.
        costs: of layers with weights, and of others that were measured.
        sensitivities: of every layer's weights and every free group.
        metric: what the first number of ``costs`` is; layers without weights cost nothing in any
            but energy.

    Raises:
        NoMappingError: a layer has no mapping at the width that one of its tensors must have.
    """
    pricing = _Pricing(target, costs, metric)
    terms = [_layer_term(layer, widths, pricing) for layer in network.layers]
    terms += [_flash_term(network, layer, widths) for layer in network.layers if layer.has_weights]
    rows = {widths.weights[n]: row for n, row in sensitivities.weights.items()}
    rows |= {widths.groups[n]: row for n, row in sensitivities.activations.items()}
    for v, variable in enumerate(widths.variables):
        row = rows[v]
        known = np.array([bits in row for bits in variable.options])
        values = np.array([row.get(bits, 0.0) for bits in variable.options])
        terms.append(Term(variable.name, (v,), {SENSITIVITY: values}, known))
    for term in terms:
        if term.allowed is not None and not term.allowed.any():
            raise NoMappingError(term.name, target.name, "at no width that its tensors may have")
    return BitProblem(widths.variables, tuple(terms), _peaks(network, widths))


@dataclass(frozen=True, slots=True)
class _Pricing:
    """What a layer costs at a triple of widths."""

    target: Target
    costs: Mapping[str, LayerCosts]
    metric: str

    def cost(self, layer: Layer, triple: Triple) -> tuple[float, int] | None:
        if layer.name in self.costs:
            return self.costs[layer.name].get(triple)
        if self.metric != ENERGY:
            return 0.0, 0
        precision = Precision(*triple, psum_bits=self.target.psum_bits)
        cost = streaming_cost(layer, precision, self.target)
        return cost.energy_pj, cost.cycles


def _layer_term(layer: Layer, widths: WidthVariables, pricing: _Pricing) -> Term:
    """Energy and cycles of a layer over the widths it depends on."""
    own = [widths.weights[layer.name]] if layer.has_weights else []
    tensors = [*layer.inputs, layer.output]
    found = [widths.of(name) for name in tensors]
    scope = tuple(dict.fromkeys([*own, *(v for v in found if v is not None)]))
    shape = tuple(len(widths.variables[v].options) for v in scope)
    energy, cycles = np.zeros(shape), np.zeros(shape)
    allowed = np.ones(shape, dtype=np.bool_)
    for index in product(*map(range, shape)):
        bits = {v: widths.variables[v].options[i] for v, i in zip(scope, index, strict=True)}
        ends = [
            widths.leaders[name].fixed or 8 if v is None else bits[v]
            for name, v in zip(tensors, found, strict=True)
        ]
        triple = (bits[own[0]] if own else 8, max(ends[:-1]), ends[-1])
        cost = pricing.cost(layer, triple)
        if cost is None:
            allowed[index] = False
        else:
            energy[index], cycles[index] = cost
    return Term(layer.name, scope, {pricing.metric: energy, CYCLES: cycles}, allowed)


def _flash_term(network: Network, layer: Layer, widths: WidthVariables) -> Term:
    weights = network.parameters[layer.name].weights
    v = widths.weights[layer.name]
    rest = _CONSTANT_BYTES * len(weights)
    sizes = [float(row_bytes(weights.size, b) + rest) for b in widths.variables[v].options]
    return Term(layer.name, (v,), {FLASH: np.array(sizes)})


def _peaks(network: Network, widths: WidthVariables) -> tuple[Peak, ...]:
    """What lives while each layer runs; input and output of the network are the caller's."""
    last = {name: i for i, layer in enumerate(network.layers) for name in layer.inputs}
    born = {layer.output: i for i, layer in enumerate(network.layers)}
    peaks = []
    for i, layer in enumerate(network.layers):
        alive = [
            name
            for name, first in born.items()
            if first <= i <= last.get(name, first) and name != network.output
        ]
        peaks.append(_peak(layer.name, network, widths, alive))
    return tuple(peaks)


def _peak(name: str, network: Network, widths: WidthVariables, alive: Iterable[str]) -> Peak:
    base = 0.0
    sizes: dict[int, Table] = {}
    for tensor in alive:
        shape, v = network.tensors[tensor].shape, widths.of(tensor)
        if v is None:
            base += storage_bytes(shape, widths.leaders[tensor].fixed or 8)
        else:
            options = widths.variables[v].options
            row = np.array([float(storage_bytes(shape, bits)) for bits in options])
            sizes[v] = sizes.get(v, 0.0) + row
    return Peak(name, base, tuple(sizes), tuple(sizes.values()))
