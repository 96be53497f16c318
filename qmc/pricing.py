"""Costs of a whole network: every layer at its widths on a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qmc.arithmetic import QuantParams
from qmc.cost_models.base import Cost, CostModel
from qmc.cost_models.streaming import streaming_cost
from qmc.layer import Layer, Precision
from qmc.network import Network
from qmc.report import layer_entry, verdict
from qmc.schedule import Schedule
from qmc.scheme import Scheme
from qmc.search import SearchResult
from qmc.targets import Target


@dataclass(frozen=True, slots=True)
class Priced:
    """A layer, its widths, and its searched mapping (layers with weights) or streaming cost."""

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


def layer_precision(layer: Layer, scheme: Scheme, target: Target) -> Precision:
    """Widths of a layer's operands under ``scheme``; of several inputs the widest counts."""
    tensors: Mapping[str, QuantParams] = scheme.tensors
    weights = scheme.weights.get(layer.name)
    return Precision(
        weight_bits=weights.bits if weights else 8,
        input_bits=max(tensors[name].bits for name in layer.inputs),
        output_bits=tensors[layer.output].bits,
        psum_bits=target.psum_bits,
    )
