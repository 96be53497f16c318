"""Weights rounded layer by layer so that every layer's output stays what it was in float.

One walk through the network in execution order carries every live tensor twice over all images: as
the float network has it, and as the network quantized so far has it. Each layer with weights is
fitted to give its float output from its quantized input, and so repairs what the layers before it
lost; a layer that feeds a sum also repairs what the sum's other operand lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams
from qmc.bias_correction import mean_products
from qmc.channel_factors import (
    COARSE_BITS,
    channel_limits,
    equalized_params,
    factors_of,
    feeds_depthwise,
)
from qmc.format_rounding import round_groups_to_format
from qmc.layer import Layer, Op
from qmc.layer_model import LayerModel
from qmc.layer_statistics import (
    Live,
    at_positions,
    independent_samples,
    layer_statistics,
    sample_positions,
)
from qmc.network import Network, Parameters
from qmc.progress import Tick, no_tick
from qmc.quantize import weight_codes
from qmc.scheme import Scheme, WeightScheme
from qmc.simulate import dequantized, nearest_codes, rounded_parameters
from qmc.weight_rounding import regressed_weights, ridged, round_rows
from qmc.weight_scales import least_legal_scales

FloatArray = NDArray[np.float32]
Reals = NDArray[np.float64]

#: Elements of a layer's operands that are worked on at a time.
_MAX_BATCH = 1 << 23


def reconstruct_weights(
    network: Network,
    schemes: Sequence[Scheme],
    images: FloatArray,
    seed: int = 0,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> list[Scheme]:
    """Give every layer of every scheme integers, scales and a bias fitted to its output.

    What the float network does is computed once for all schemes; each is what it would be alone.

    Args:
        network: float layers and parameters.
        schemes: complete; their activations and widths stay, and integers that came with the model.
        images: (n, ...) of :func:`qmc.fitting_memory.fitting_images`.
        seed: of the positions sampled.
        jobs: schemes to work on side by side; the result does not depend on it.
        tick: called with layers done and in all.
    """
    last_use = {name: i for i, layer in enumerate(network.layers) for name in layer.inputs}
    reals = {network.input: images}
    starts = {scheme.tensors[network.input] for scheme in schemes}
    codes = {params: params.quantize(images).astype(np.uint8) for params in starts}
    walks = [_Walk.begin(network, scheme, images, codes) for scheme in schemes]
    with ThreadPoolExecutor(jobs) as pool:
        for number, layer in enumerate(network.layers):
            real = _run_real(network, layer, reals, pool)
            is_read = layer.output in last_use
            step = partial(_Walk.step, network=network, number=number, real=real, seed=seed)
            list(pool.map(partial(step, is_read=is_read), walks))
            if is_read:
                reals[layer.output] = real
            for name in {name for name in layer.inputs if last_use[name] == number}:
                del reals[name]
                for walk in walks:
                    del walk.values[name]
            tick(number + 1, len(network.layers))
    return [walk.scheme for walk in walks]


@dataclass(slots=True, eq=False)
class _Walk:
    """A scheme on its way through the network.

    Attributes:
        scheme: fitted so far.
        values: live tensors.
    """

    scheme: Scheme
    values: dict[str, Live]

    @classmethod
    def begin(
        cls,
        network: Network,
        scheme: Scheme,
        images: FloatArray,
        codes: Mapping[QuantParams, NDArray[np.uint8]],
    ) -> _Walk:
        params = scheme.tensors[network.input]
        source = Live(images, codes[params], params, np.ones(images.shape[1]))
        return cls(scheme, {network.input: source})

    def step(
        self, network: Network, number: int, real: FloatArray, seed: int, is_read: bool
    ) -> None:
        """Fit the layer of that number, and run it where its output is read."""
        layer, factors = network.layers[number], np.ones(real.shape[1])
        if layer.has_weights and not _is_given(network, self.scheme, layer):
            scheme, factors = _equalized(network, self.scheme, layer, real)
            rng = np.random.default_rng([seed, number])
            fitted = _fit(network, scheme, layer, self.values, factors, rng)
            self.scheme = replace(scheme, weights={**scheme.weights, layer.name: fitted})
        if is_read:
            codes = _run_codes(network, self.scheme, layer, self.values)
            params = self.scheme.tensors[layer.output]
            self.values[layer.output] = Live(real, codes, params, factors)


def _equalized(
    network: Network, scheme: Scheme, layer: Layer, real: FloatArray
) -> tuple[Scheme, Reals]:
    """The scheme with the output's channels brought to one range, and their factors."""
    bits = scheme.tensors[layer.output].bits
    if bits > COARSE_BITS or not feeds_depthwise(network, layer):
        return scheme, np.ones(real.shape[1])
    limits = channel_limits(real, bits)
    params = equalized_params(bits, limits)
    return replace(scheme, tensors={**scheme.tensors, layer.output: params}), factors_of(limits)


def _is_given(network: Network, scheme: Scheme, layer: Layer) -> bool:
    parameters = network.parameters[layer.name]
    codes = weight_codes(parameters, scheme.weights[layer.name])
    return parameters.given is not None and codes is parameters.given.codes


def _fit(
    network: Network,
    scheme: Scheme,
    layer: Layer,
    values: Mapping[str, Live],
    factors: Reals,
    rng: np.random.Generator,
) -> WeightScheme:
    """Integers, scales and bias of one layer."""
    parameters, source = network.parameters[layer.name], values[layer.inputs[0]]
    chosen = scheme.weights[layer.name]
    positions = sample_positions(layer, len(source.codes), rng)
    other = _other_operand(network, layer, values)
    missing = None if other is None else _lost(other, positions)
    floors = least_legal_scales(
        parameters.bias * factors.astype(np.float32), source.params, scheme.tensors[layer.output]
    )
    floors = (floors / factors).reshape(layer.bounds.G, -1)
    kernels = _kernels(layer, parameters, source)
    found = layer_statistics(layer, parameters, source, missing, positions)
    hessian = ridged(found.covariance, independent_samples(positions))
    targets = regressed_weights(kernels, found.covariance, found.cross, hessian)
    if chosen.format is None:
        codes, scales = round_rows(targets, hessian, chosen.bits, floors)
    else:
        codes, scales = round_groups_to_format(targets, hessian, chosen.numbers, floors)
    integers = codes.astype(np.int8).reshape(parameters.weights.shape)
    steps = scales.reshape(-1)
    bias = _bias(layer, parameters, source, other, integers * steps[:, None, None, None])
    return replace(
        chosen,
        scales=tuple((steps * factors).tolist()),
        bias=tuple((bias * factors).tolist()),
        codes=integers.tobytes(),
    )


def _kernels(layer: Layer, parameters: Parameters, source: Live) -> Reals:
    """Float weights for inputs with the factors of ``source``: (G, K, d)."""
    bounds = layer.bounds
    weights = parameters.weights.reshape(bounds.G, bounds.K, bounds.C, -1).astype(np.float64)
    factors = np.repeat(source.factors, bounds.G * bounds.C // len(source.factors))
    weights = weights / factors.reshape(bounds.G, 1, bounds.C, 1)
    return np.asarray(weights.reshape(bounds.G, bounds.K, -1))


def _bias(
    layer: Layer, parameters: Parameters, source: Live, other: Live | None, weights: Reals
) -> Reals:
    """The bias that gives every channel its float mean, over all positions."""
    wanted = parameters.bias + mean_products(layer, parameters.weights, _mean(source.real))
    if other is not None:
        lost = _mean(other.real) - _dequantized_mean(other)
        wanted = wanted + lost.reshape(len(lost), -1).mean(axis=1)
    return np.asarray(wanted - mean_products(layer, weights, _dequantized_mean(source)))


def _mean(values: NDArray[np.generic]) -> Reals:
    return np.asarray(values.mean(axis=0, dtype=np.float64))


def _dequantized_mean(live: Live) -> Reals:
    return (_mean(live.codes) - live.params.zero_point) * live.params.scale


def _other_operand(network: Network, layer: Layer, values: Mapping[str, Live]) -> Live | None:
    """The known operand of a sum that alone reads the layer's output."""
    readers = [reader for reader in network.layers if layer.output in reader.inputs]
    if len(readers) != 1 or readers[0].op is not Op.ADD or layer.clamp is not None:
        return None
    others = [name for name in readers[0].inputs if name != layer.output]
    other = values.get(others[0]) if others else None
    shape = network.tensors[layer.output].shape
    fits = other is not None and network.tensors[others[0]].shape == shape
    return other if fits else None


def _lost(live: Live, positions: NDArray[np.int64]) -> FloatArray:
    """Float value less quantized value at the positions: (n, channels, m)."""
    codes = at_positions(live.codes, positions).astype(np.float32)
    lost = at_positions(live.real, positions) - dequantized(codes, live.params)
    return np.asarray(lost, dtype=np.float32)


def _run_real(
    network: Network, layer: Layer, reals: Mapping[str, FloatArray], pool: ThreadPoolExecutor
) -> FloatArray:
    """The float layer's output over all images."""
    model = LayerModel(network, layer)
    inputs = [reals[name] for name in layer.inputs]
    count = len(inputs[0])
    real = np.empty((count, *network.tensors[layer.output].shape[1:]), np.float32)

    def run(part: slice) -> None:
        real[part] = model.run(*(values[part] for values in inputs))

    list(pool.map(run, _parts(network, layer, count)))
    return real


def _run_codes(
    network: Network, scheme: Scheme, layer: Layer, values: Mapping[str, Live]
) -> NDArray[np.uint8]:
    """The quantized layer's output over all images."""
    model = LayerModel(network, layer, rounded_parameters(network, scheme, layer))
    inputs = [values[name] for name in layer.inputs]
    params = scheme.tensors[layer.output]
    count = len(inputs[0].codes)
    codes = np.empty((count, *network.tensors[layer.output].shape[1:]), np.uint8)
    for part in _parts(network, layer, count):
        read = (dequantized(live.codes[part], live.params) for live in inputs)
        codes[part] = nearest_codes(model.run(*read), params)
    return codes


def _parts(network: Network, layer: Layer, count: int) -> Iterator[slice]:
    """Images that are worked on at a time."""
    size = sum(network.tensors[name].size for name in (*layer.inputs, layer.output))
    step = max(1, _MAX_BATCH // size)
    return (slice(first, first + step) for first in range(0, count, step))
