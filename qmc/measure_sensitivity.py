"""Measured sensitivities: one tensor is quantized at a time, and the network's output compared.

The float network is walked once, layer by layer, with only the live tensors of all images in
memory. At every layer its weights, and every group of activations that begins with its output, are
quantized at every width, and the tail behind it is run. What a tensor gave is kept in the cache by
its content, so that a run that was killed goes on where it was.

Source: masking one operator and comparing outputs by their Kullback-Leibler divergence is OHQ's
estimate (arXiv 2309.01945).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc import cache
from qmc.arithmetic import QuantParams
from qmc.bit_groups import Group, activation_groups
from qmc.channel_factors import factors_of
from qmc.layer import Layer, Op
from qmc.layer_model import LayerModel
from qmc.network import Network, Parameters
from qmc.progress import Tick, no_tick
from qmc.rounded_tensors import RoundedTensors
from qmc.sensitivity import Sensitivities, Source
from qmc.tail_models import FloatArray, Tail, make_tail

#: Raise with every change of what is measured: older entries are void.
_VERSION = 1
#: Images run at a time; part of the result, in its last bits.
_BATCH = 8
#: Largest difference of an optimized tail's output from the whole network's, relative.
_TOLERANCE = 1e-3

#: The divergence, or rise of the loss, of every width, mean over the images.
_Row = dict[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Images that sensitivities are measured on, and what the float network says of them.

    Attributes:
        batches: inputs, (n, ...) each.
        labels: of the images; None compares outputs with those of the float network.
        jobs: threads; the result does not depend on them.
        measure: what is compared: ``kl``, or with labels ``loss`` or ``drop``.
    """

    batches: tuple[FloatArray, ...]
    labels: NDArray[np.int64] | None = None
    jobs: int = 1
    measure: Source = Source.KL


def make_probe(
    inputs: FloatArray,
    labels: NDArray[np.int64] | None,
    jobs: int,
    measure: Source | None = None,
) -> Probe:
    """Split inputs, (n, ...), into batches; without a measure the loss counts where labels are."""
    batches = tuple(inputs[i : i + _BATCH] for i in range(0, len(inputs), _BATCH))
    default = Source.KL if labels is None else Source.LOSS
    return Probe(batches, labels, jobs, measure or default)


def measure_sensitivities(
    network: Network, rounded: RoundedTensors, probe: Probe, tick: Tick = no_tick
) -> Sensitivities:
    """Quantize one tensor at a time and compare the network's outputs.

    Args:
        network: float layers.
        rounded: every tensor at every width that is to be measured; activations may be missing.
        probe: images, and what is measured on them.
        tick: called with tensors done and in all.
    """
    walk = _Walk(network, rounded, probe)
    weights: dict[str, _Row] = {}
    activations: dict[str, _Row] = {}
    total = sum(1 for _ in walk.tensors())
    for kind, name, row in walk.rows():
        (weights if kind == "W" else activations)[name] = row
        tick(len(weights) + len(activations), total)
    images = sum(map(len, probe.batches))
    return Sensitivities(probe.measure, images, weights, activations)


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """One pass over the network."""

    network: Network
    rounded: RoundedTensors
    probe: Probe
    digest: str = field(init=False)
    reference: tuple[FloatArray, ...] = field(init=False)

    def __post_init__(self) -> None:
        arrays: list[NDArray[Any]] = list(self.probe.batches)
        arrays += [] if self.probe.labels is None else [self.probe.labels]
        object.__setattr__(self, "digest", content_digest(self.network, arrays))
        whole = make_tail(self.network, 0, optimized=False)
        outputs = [whole.run({self.network.input: batch}, {}) for batch in self.probe.batches]
        object.__setattr__(self, "reference", tuple(outputs))

    def tensors(self) -> Iterator[tuple[int, str, str, Group | None]]:
        """(layer number, W or A, name, group) of everything that is measured, in order."""
        groups = {g.name: g for g in activation_groups(self.network) if g.fixed is None}
        for index, layer in enumerate(self.network.layers):
            if layer.has_weights:
                yield index, "W", layer.name, None
            if layer.output in groups and layer.output in self.rounded.activations:
                yield index, "A", layer.output, groups[layer.output]

    def rows(self) -> Iterator[tuple[str, str, _Row]]:
        """(W or A, name, values by width) of every tensor."""
        waiting = list(self.tensors())
        last_use = {n: i for i, layer in enumerate(self.network.layers) for n in layer.inputs}
        live = [{self.network.input: batch} for batch in self.probe.batches]
        with ThreadPoolExecutor(self.probe.jobs) as pool:
            for index, layer in enumerate(self.network.layers):
                if not waiting:
                    return
                plain = list(pool.map(_layer_runner(self.network, layer), live))
                while waiting and waiting[0][0] == index:
                    _, kind, name, group = waiting.pop(0)
                    key = self._key(kind, name, group)
                    row = _read_row(cache.load(key))
                    if row is None:
                        row = self._measure(index, layer, group, live, plain, pool)
                        cache.store(key, list(row.items()))
                    yield kind, name, row
                for values, output in zip(live, plain, strict=True):
                    values[layer.output] = output
                    for name in {n for n in values if last_use.get(n, -1) <= index}:
                        del values[name]

    def _key(self, kind: str, name: str, group: Group | None) -> str:
        """Names the entry in the cache: everything that decides it."""
        variants: list[object]
        if group is None:
            parameters = self.rounded.weights[name].items()
            variants = [(bits, _digest_of(p.weights, p.bias)) for bits, p in parameters]
        else:
            variants = [(t, dict(self.rounded.activations[t])) for t in group.tensors]
            variants += [row.tobytes() for row in self._factors(group).values()]
        parts: tuple[object, ...] = (self.digest, kind, name, variants)
        if self.probe.measure is not Source.KL:
            parts = (self.probe.measure, *parts)
        return cache.cache_key("sensitivity", _VERSION, *parts)

    def _measure(
        self,
        index: int,
        layer: Layer,
        group: Group | None,
        live: Sequence[dict[str, FloatArray]],
        plain: Sequence[FloatArray],
        pool: ThreadPoolExecutor,
    ) -> _Row:
        """Values of one tensor: a change at a layer's output for every width, and the tail."""
        later = () if group is None else group.tensors[1:]
        tail = self._trusted_tail(index + 1, later, layer.output, live[0], plain[0])
        changes = self._weight_changes(layer) if group is None else self._rounding(group)

        def run(batch: int) -> list[NDArray[np.float64]]:
            found = []
            for change, params in changes:
                changed = change(live[batch], plain[batch])
                output = tail.run({**live[batch], layer.output: changed}, params)
                found.append(self._distance(batch, output))
            return found

        results = list(pool.map(run, range(len(live))))
        widths = self.rounded.weights[layer.name] if group is None else self._group_widths(group)
        means = np.concatenate(results, axis=1).mean(axis=1)
        return {bits: float(mean) for bits, mean in zip(widths, means, strict=True)}

    def _factors(self, group: Group) -> dict[int, FloatArray]:
        """By bits, what each channel is multiplied by first, where channels have own ranges."""
        limits = self.rounded.limits.get(group.name, {})
        return {bits: factors_of(ends).astype(np.float32) for bits, ends in limits.items()}

    def _group_widths(self, group: Group) -> Sequence[int]:
        return tuple(self.rounded.activations[group.name])

    def _weight_changes(self, layer: Layer) -> list[_Change]:
        def change(parameters: Parameters) -> _Rounder:
            run = _layer_runner(self.network, layer, parameters)
            return lambda live, plain: run(live)

        variants = self.rounded.weights[layer.name].values()
        return [(change(parameters), {}) for parameters in variants]

    def _rounding(self, group: Group) -> list[_Change]:
        factors, params = self._factors(group), self.rounded.activations

        def change(bits: int) -> _Rounder:
            one = factors.get(bits, np.ones(1, np.float32))[:, None, None]
            own = params[group.name][bits]
            return lambda live, plain: (
                _rounded(plain * one, own) / one if bits in factors else _rounded(plain, own)
            )

        return [
            (change(bits), {name: params[name][bits] for name in group.tensors})
            for bits in self._group_widths(group)
        ]

    def _trusted_tail(
        self,
        start: int,
        later: Sequence[str],
        changed: str,
        live: Mapping[str, FloatArray],
        plain: FloatArray,
    ) -> Tail:
        """The tail, unless optimization changes what it computes: then without."""
        tail = make_tail(self.network, start, ())
        output, expected = tail.run({**live, changed: plain}, {}), self.reference[0]
        if np.abs(output - expected).max() > _TOLERANCE * max(1e-6, np.abs(expected).max()):
            return make_tail(self.network, start, later, optimized=False)
        return make_tail(self.network, start, later) if later else tail

    def _distance(self, batch: int, output: FloatArray) -> NDArray[np.float64]:
        """What each image of a batch lost, (1, n) or so."""
        expected, found = (self._log_probabilities(v) for v in (self.reference[batch], output))
        if self.probe.labels is None or self.probe.measure is Source.KL:
            return np.asarray((np.exp(expected) * (expected - found)).sum(axis=1))
        first = batch * _BATCH
        labels = self.probe.labels[first : first + len(found)]
        rows = np.arange(len(found))
        if self.probe.measure is Source.DROP:
            right = (values.argmax(axis=1) == labels for values in (expected, found))
            return np.asarray(next(right).astype(np.float64) - next(right))
        return np.asarray(expected[rows, labels] - found[rows, labels])

    def _log_probabilities(self, output: FloatArray) -> NDArray[np.float64]:
        values = output.reshape(len(output), -1).astype(np.float64)
        if self.network.layers[-1].op is Op.SOFTMAX:
            return np.asarray(np.log(np.maximum(values, 1e-12)))
        values = values - values.max(axis=1, keepdims=True)
        return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def _layer_runner(
    network: Network, layer: Layer, parameters: Parameters | None = None
) -> Callable[[Mapping[str, FloatArray]], FloatArray]:
    """One layer as a function of live tensors, built once for all batches."""
    model = LayerModel(network, layer, parameters)
    return lambda live: model.run(*(live[name] for name in layer.inputs))


_Rounder = Callable[[Mapping[str, FloatArray], FloatArray], FloatArray]
_Change = tuple[_Rounder, Mapping[str, QuantParams]]


def _rounded(values: FloatArray, params: QuantParams) -> FloatArray:
    """What is left of ``values`` after quantization, in float32 as inside the tails."""
    codes = np.floor(values * np.float32(1.0 / params.scale) + np.float32(0.5))
    np.clip(codes, -params.zero_point, params.high - params.zero_point, out=codes)
    return np.asarray(codes * np.float32(params.scale))


def _digest_of(*arrays: NDArray[Any]) -> str:
    state = hashlib.sha256()
    for array in arrays:
        state.update(array.tobytes())
    return state.hexdigest()


def content_digest(network: Network, batches: Sequence[NDArray[Any]]) -> str:
    """Hash of a network's layers and parameters and of some arrays."""
    state = hashlib.sha256(cache.cache_key(*network.layers).encode())
    for name, parameters in network.parameters.items():
        state.update(name.encode() + parameters.weights.tobytes() + parameters.bias.tobytes())
    for batch in batches:
        state.update(repr(batch.shape).encode() + batch.tobytes())
    return state.hexdigest()


def _read_row(entry: object) -> _Row | None:
    """A row as the cache has it; None when it is none."""
    if not isinstance(entry, list):
        return None
    try:
        return {int(bits): float(value) for bits, value in entry}
    except (TypeError, ValueError):
        return None
