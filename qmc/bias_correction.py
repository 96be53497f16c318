"""Biases that keep every channel's mean, whatever rounding and clipping do.

Source: empirical bias correction, Nagel et al. 2019 (arXiv 1906.04721), section 4.2 and appendix D:
layer by layer, with the inputs that the integer network really has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qmc.float_model import FloatModel
from qmc.layer import Layer
from qmc.network import Network, Parameters
from qmc.quantize import quantize_layer, weight_codes
from qmc.reference import run_layer
from qmc.scheme import Scheme
from qmc.windows import Scalar, windows

Reals = NDArray[np.float64]
_Codes = NDArray[np.uint16]

#: From this width on the input's own error is noise, not a shift; fitting it to few images harms
#: (measured: SqueezeNet 1.1 at w8a8 fell from 98 to 90 % agreement), so only weights are corrected.
_FINE_BITS = 8
#: Inputs that go through a layer at a time; bounds the memory.
_CHUNK = 4


def correct_for_weights(network: Network, scheme: Scheme, means: Mapping[str, Reals]) -> Scheme:
    """Move each bias by the mean of what rounding the weights changed: b' = b + (W - s Q) E[x].

    Args:
        network: float layers and parameters.
        scheme: complete; layers whose integers came with the model keep their bias.
        means: of the float tensors that layers with weights read, element by element, (C, H, W) or
            (C,), by tensor name.
    """
    weights = dict(scheme.weights)
    for layer in network.layers:
        if _may_correct(network, scheme, layer):
            mean = means[layer.inputs[0]]
            bias = _corrected(layer, network.parameters[layer.name], scheme, mean, mean)
            weights[layer.name] = replace(weights[layer.name], bias=tuple(bias.tolist()))
    return replace(scheme, weights=weights)


def has_coarse_inputs(network: Network, scheme: Scheme) -> bool:
    """Whether :func:`correct_for_inputs` has anything to do."""
    return any(_is_coarse(network, scheme, layer) for layer in network.layers)


def correct_for_inputs(network: Network, scheme: Scheme, inputs: NDArray[np.float32]) -> Scheme:
    """Run the integer network layer by layer; layers with coarse inputs get their shift too.

    Args:
        network: float layers and parameters.
        scheme: complete, corrected for weights.
        inputs: (n, C, H, W) or (n, C), a few calibration inputs.
    """
    expected = _float_means(network, inputs)
    codes = {network.input: scheme.tensors[network.input].quantize(inputs).astype(np.uint16)}
    weights = dict(scheme.weights)
    for position, layer in enumerate(network.layers):
        if _is_coarse(network, scheme, layer):
            name = layer.inputs[0]
            source = scheme.tensors[name]
            mean = codes[name].mean(axis=0, dtype=np.float64)
            mean = (mean - source.zero_point) * source.scale
            parameters = network.parameters[layer.name]
            bias = _corrected(layer, parameters, scheme, expected[name], mean)
            weights[layer.name] = replace(weights[layer.name], bias=tuple(bias.tolist()))
        codes[layer.output] = _run(network, replace(scheme, weights=weights), layer, codes)
        alive = {name for later in network.layers[position + 1 :] for name in later.inputs}
        codes = {name: values for name, values in codes.items() if name in alive}
    return replace(scheme, weights=weights)


def mean_products(layer: Layer, weights: NDArray[np.floating], mean: Reals) -> Reals:
    """Mean over all output positions of weights times input, by linearity from the mean input.

    Args:
        layer: CONV or DENSE.
        weights: (G*K, C, R, S).
        mean: the input tensor's mean over the data, element by element: (C, H, W) or (C,).

    Returns:
        (G*K,) means; padding counts as zero.
    """
    bounds = layer.bounds
    image = mean.reshape(1, bounds.G * bounds.C, *(mean.shape[1:] or (1, 1)))
    taps = np.stack([tap.mean(axis=(0, 2, 3)) for tap in windows(layer, image, 0)], axis=-1)
    matrix = weights.reshape(bounds.G, bounds.K, bounds.C, -1).astype(np.float64)
    means = np.einsum("gkct,gct->gk", matrix, taps.reshape(bounds.G, bounds.C, -1))
    return np.asarray(means, dtype=np.float64).reshape(-1)


def _corrected(
    layer: Layer, parameters: Parameters, scheme: Scheme, expected: Reals, mean: Reals
) -> Reals:
    """B' = b + W E[x] - s Q E[x'], with x the float input and x' the quantized one."""
    chosen = scheme.weights[layer.name]
    scales = np.array(chosen.scales)[:, None, None, None]
    rounded = weight_codes(parameters, chosen) * scales
    wanted = mean_products(layer, parameters.weights, expected)
    return parameters.bias + wanted - mean_products(layer, rounded, mean)


def _may_correct(network: Network, scheme: Scheme, layer: Layer) -> bool:
    """Whether the layer has weights, and not such as came with the model."""
    if not layer.has_weights:
        return False
    parameters = network.parameters[layer.name]
    codes = weight_codes(parameters, scheme.weights[layer.name])
    return parameters.given is None or codes is not parameters.given.codes


def _is_coarse(network: Network, scheme: Scheme, layer: Layer) -> bool:
    if not layer.has_weights or scheme.tensors[layer.inputs[0]].bits >= _FINE_BITS:
        return False
    return _may_correct(network, scheme, layer)


def _float_means(network: Network, inputs: NDArray[np.float32]) -> dict[str, Reals]:
    """Means, element by element, of the tensors that layers with weights read."""
    model = FloatModel(network)
    names = {layer.inputs[0] for layer in network.layers if layer.has_weights}
    means = {name: np.zeros(network.tensors[name].shape[1:]) for name in names}
    for batch in _chunks(inputs):
        values = model.run(batch)
        for name in names:
            means[name] += values[name].sum(axis=0, dtype=np.float64) / len(inputs)
    return means


def _run(network: Network, scheme: Scheme, layer: Layer, codes: dict[str, _Codes]) -> _Codes:
    integer = quantize_layer(network, scheme, layer)
    shape = network.tensors[layer.output].shape
    parts = zip(*(_chunks(codes[name]) for name in layer.inputs), strict=True)
    outputs = [
        run_layer(integer, [part.astype(np.int32) for part in inputs], shape).astype(np.uint16)
        for inputs in parts
    ]
    return np.concatenate(outputs)


def _chunks(values: NDArray[Scalar]) -> list[NDArray[Scalar]]:
    return [values[first : first + _CHUNK] for first in range(0, len(values), _CHUNK)]
