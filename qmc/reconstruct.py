"""Weights rounded layer by layer so that every layer's output stays what it was in float.

One walk through the network in execution order carries every live tensor twice over all images: as
the float network has it, and as the network quantized so far has it. Each layer with weights is
fitted to give its float output from its quantized input, and so repairs what the layers before it
lost; a layer that feeds a sum also repairs what the sum's other operand lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qmc.bias_correction import mean_products
from qmc.channel_factors import channel_limits, factors_of, feeds_depthwise
from qmc.data import Dataset
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
from qmc.observe import Inputs
from qmc.progress import Tick, no_tick
from qmc.quantize import weight_codes
from qmc.ranges import quant_params
from qmc.scheme import Scheme, WeightScheme
from qmc.simulate import dequantized, nearest_codes, rounded_parameters
from qmc.weight_rounding import regressed_weights, ridged, round_rows
from qmc.weight_scales import least_legal_scales

FloatArray = NDArray[np.float32]
Reals = NDArray[np.float64]

#: Bound of the elements of all live tensors, over all images; 5 bytes each.
_MAX_LIVE = 280 << 20
#: Elements of a layer's operands that are worked on at a time.
_MAX_BATCH = 1 << 23
#: At this width and below activations have too few codes for channels of different ranges.
_COARSE_BITS = 5


def reconstruct_weights(
    network: Network, scheme: Scheme, inputs: Inputs, seed: int = 0, tick: Tick = no_tick
) -> Scheme:
    """Give every layer of ``scheme`` integers, scales and a bias fitted to its output.

    Args:
        network: float layers and parameters.
        scheme: complete; its activations and widths stay, and integers that came with the model.
        inputs: calibration data.
        seed: of the positions sampled.
        tick: called with layers done and in all.
    """
    values = {network.input: _live_input(network, scheme, inputs)}
    last_use = {name: i for i, layer in enumerate(network.layers) for name in layer.inputs}
    for number, layer in enumerate(network.layers):
        real = _run_real(network, layer, values)
        factors = np.ones(real.shape[1])
        if layer.has_weights and not _is_given(network, scheme, layer):
            scheme, factors = _equalized(network, scheme, layer, real)
            rng = np.random.default_rng([seed, number])
            fitted = _fit(network, scheme, layer, values, factors, rng)
            scheme = replace(scheme, weights={**scheme.weights, layer.name: fitted})
        if layer.output in last_use:
            codes = _run_codes(network, scheme, layer, values)
            values[layer.output] = Live(real, codes, scheme.tensors[layer.output], factors)
        for name in layer.inputs:
            if last_use[name] == number:
                values.pop(name, None)
        tick(number + 1, len(network.layers))
    return scheme


def _equalized(
    network: Network, scheme: Scheme, layer: Layer, real: FloatArray
) -> tuple[Scheme, Reals]:
    """The scheme with the output's channels brought to one range, and their factors."""
    bits = scheme.tensors[layer.output].bits
    if bits > _COARSE_BITS or not feeds_depthwise(network, layer):
        return scheme, np.ones(real.shape[1])
    limits = channel_limits(real, bits)
    params = quant_params(bits, (0.0, float(limits.max())))
    return replace(scheme, tensors={**scheme.tensors, layer.output: params}), factors_of(limits)


def _is_given(network: Network, scheme: Scheme, layer: Layer) -> bool:
    parameters = network.parameters[layer.name]
    codes = weight_codes(parameters, scheme.weights[layer.name])
    return parameters.given is not None and codes is parameters.given.codes


def _live_input(network: Network, scheme: Scheme, inputs: Inputs) -> Live:
    """The network's input over as many evenly spread images as memory allows."""
    allowed = max(1, _MAX_LIVE // _live_elements(network))
    if isinstance(inputs, Dataset):
        chosen = _spread(len(inputs), allowed)
        images = inputs.inputs(chosen)
    else:
        images = np.concatenate(list(inputs))
        images = images[_spread(len(images), allowed)]
    images = images.astype(np.float32, copy=False)
    params = scheme.tensors[network.input]
    codes = params.quantize(images).astype(np.uint8)
    return Live(images, codes, params, np.ones(images.shape[1]))


def _spread(count: int, allowed: int) -> list[int]:
    kept = min(count, allowed)
    return [i * count // kept for i in range(kept)]


def _live_elements(network: Network) -> int:
    """The most elements of tensors that are live at once, for one image."""
    last_use = {name: i for i, layer in enumerate(network.layers) for name in layer.inputs}
    live, most = {network.input}, 0
    for number, layer in enumerate(network.layers):
        live.add(layer.output)
        most = max(most, sum(network.tensors[name].size for name in live))
        live -= {name for name in live if last_use.get(name, -1) <= number}
    return most


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


def _run_real(network: Network, layer: Layer, values: Mapping[str, Live]) -> FloatArray:
    """The float layer's output over all images."""
    model = LayerModel(network, layer)
    inputs = [values[name] for name in layer.inputs]
    real = np.empty(_shape(network, layer, inputs), np.float32)
    for part in _parts(network, layer, len(real)):
        real[part] = model.run(*(live.real[part] for live in inputs))
    return real


def _run_codes(
    network: Network, scheme: Scheme, layer: Layer, values: Mapping[str, Live]
) -> NDArray[np.uint8]:
    """The quantized layer's output over all images."""
    model = LayerModel(network, layer, rounded_parameters(network, scheme, layer))
    inputs = [values[name] for name in layer.inputs]
    params = scheme.tensors[layer.output]
    codes = np.empty(_shape(network, layer, inputs), np.uint8)
    for part in _parts(network, layer, len(codes)):
        read = (dequantized(live.codes[part], live.params) for live in inputs)
        codes[part] = nearest_codes(model.run(*read), params)
    return codes


def _shape(network: Network, layer: Layer, inputs: Sequence[Live]) -> tuple[int, ...]:
    return (len(inputs[0].codes), *network.tensors[layer.output].shape[1:])


def _parts(network: Network, layer: Layer, count: int) -> Iterator[slice]:
    """Images that are worked on at a time."""
    size = sum(network.tensors[name].size for name in (*layer.inputs, layer.output))
    step = max(1, _MAX_BATCH // size)
    return (slice(first, first + step) for first in range(0, count, step))
