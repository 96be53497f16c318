"""Slices of a channel shuffle read what the shuffle reads: one layer and one copy less."""

from __future__ import annotations

from dataclasses import replace

from qmc.layer import Layer, Op
from qmc.network import Network


def merge_shuffles(network: Network) -> Network:
    """Drop every channel shuffle that only slices read.

    ShuffleNet V2 (Ma et al., 2018, figure 3) shuffles channels at the end of a unit and splits them
    at the start of the next. Each half then takes its channels in turn from the unshuffled tensor.
    """
    dropped = {layer.output: layer for layer in network.layers if _is_dropped(network, layer)}
    if not dropped:
        return network
    layers = tuple(
        _merged(dropped[layer.inputs[0]], layer) if layer.inputs[0] in dropped else layer
        for layer in network.layers
        if layer.output not in dropped
    )
    tensors = {name: t for name, t in network.tensors.items() if name not in dropped}
    ranges = {name: r for name, r in network.given_ranges.items() if name not in dropped}
    return replace(network, layers=layers, tensors=tensors, given_ranges=ranges)


def _is_dropped(network: Network, layer: Layer) -> bool:
    if layer.op is not Op.SLICE or layer.interleave == 1 or layer.output == network.output:
        return False
    given = network.given_ranges
    readers = [reader for reader in network.layers if layer.output in reader.inputs]
    return (layer.output not in given or layer.inputs[0] in given) and all(
        reader.op is Op.SLICE and reader.interleave == 1 for reader in readers
    )


def _merged(shuffle: Layer, reader: Layer) -> Layer:
    source = (*shuffle.source, *(node for node in reader.source if node not in shuffle.source))
    return replace(reader, inputs=shuffle.inputs, interleave=shuffle.interleave, source=source)
