"""Which tensors of a network share one width, and widths chosen for them.

All consumers of a tensor read the same codes. Pools of maxima and reshapes pass their input's
quantization on, the terms of an addition are streamed at one width, and a concatenation only moves
codes: such tensors form one *group*. The group of the network's input, and those of tensors that
came quantized, have a width already; so has the output where it is a wide one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qmc.layer import Op
from qmc.network import Network
from qmc.widths import (
    TRANSPARENT,
    LayerWidths,
    Widths,
    activation_bits,
    shared_given,
    shared_quantization,
)

#: Widths of weights and activations that the search chooses from.
SEARCH_WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors of one width.

    Attributes:
        name: the first of them in execution order.
        tensors: all of them, in execution order.
        fixed: the width that the group has whatever is chosen; None where it is free.
    """

    name: str
    tensors: tuple[str, ...]
    fixed: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """Widths of a network.

    Attributes:
        weights: bits by layer name.
        activations: bits by the name of the group, free groups only.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    activations: Mapping[str, int] = field(default_factory=dict)


def activation_groups(network: Network) -> tuple[Group, ...]:
    """The groups of all tensors, in the order of their first tensors."""
    leaders = _leaders(network)
    members: dict[str, list[str]] = {}
    for name in network.tensors:
        members.setdefault(leaders[name], []).append(name)
    # A width that nobody asks for shows through whatever default is given.
    low, high = (activation_bits(network, Widths(8, bits)) for bits in (2, 8))
    given = {network.input, *shared_given(network)}
    roots = shared_quantization(network)
    groups = []
    for tensors in members.values():
        known = [low[t] for t in tensors if low[t] == high[t] or roots[t] in given]
        groups.append(Group(tensors[0], tuple(tensors), max(known) if known else None))
    return tuple(groups)


def _leaders(network: Network) -> dict[str, str]:
    """A tensor that stands for the group, by tensor."""
    leaders = {name: name for name in network.tensors}

    def join(names: Iterable[str]) -> None:
        old = {leaders[name] for name in names}
        new = min(old, key=list(network.tensors).index)
        for name, leader in leaders.items():
            if leader in old:
                leaders[name] = new

    for layer in network.layers:
        if layer.op in TRANSPARENT or layer.op is Op.CONCAT:
            join((*layer.inputs, layer.output))
        elif layer.op is Op.ADD:
            join(layer.inputs)
    return leaders


def to_widths(network: Network, assignment: Assignment) -> Widths:
    """What calibration is asked for: every free group by the layers that write its tensors."""
    bits = tensor_bits(network, assignment)
    free = {t for g in activation_groups(network) if g.fixed is None for t in g.tensors}
    layers = {
        layer.name: LayerWidths(
            assignment.weights.get(layer.name),
            bits[layer.output] if layer.output in free else None,
        )
        for layer in network.layers
    }
    return Widths(layers={name: widths for name, widths in layers.items() if widths != _NONE})


_NONE = LayerWidths()


def tensor_bits(network: Network, assignment: Assignment) -> dict[str, int]:
    """Bits of every tensor; groups without a choice have 8."""
    return {
        tensor: group.fixed or assignment.activations.get(group.name, 8)
        for group in activation_groups(network)
        for tensor in group.tensors
    }


def uniform(network: Network, weight_bits: int, input_bits: int) -> Assignment:
    """The same widths everywhere."""
    return Assignment(
        {layer.name: weight_bits for layer in network.layers if layer.has_weights},
        {group.name: input_bits for group in activation_groups(network) if group.fixed is None},
    )
