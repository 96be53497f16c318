"""Biases that keep every channel's mean when its weights are rounded.

The shift that coarse activations add is left alone: correcting it layer by layer on a few images
was tried and is unstable (w4a4: EfficientNet-Lite0 fell from 54 to 0 % top-1).
Source: analytic bias correction, Nagel et al. 2019 (arXiv 1906.04721), section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qmc.layer import Layer
from qmc.network import Network, Parameters
from qmc.quantize import weight_codes
from qmc.scheme import Scheme, WeightScheme
from qmc.windows import windows

Reals = NDArray[np.float64]


def correct_biases(network: Network, scheme: Scheme, means: Mapping[str, Reals]) -> Scheme:
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
            chosen, parameters = scheme.weights[layer.name], network.parameters[layer.name]
            bias = _corrected(layer, parameters, chosen, means[layer.inputs[0]])
            weights[layer.name] = replace(chosen, bias=tuple(bias.tolist()))
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


def _corrected(layer: Layer, parameters: Parameters, chosen: WeightScheme, mean: Reals) -> Reals:
    rounded = weight_codes(parameters, chosen) * np.array(chosen.scales)[:, None, None, None]
    return parameters.bias + mean_products(layer, parameters.weights - rounded, mean)


def _may_correct(network: Network, scheme: Scheme, layer: Layer) -> bool:
    """Whether the layer has weights, and not such as came with the model."""
    if not layer.has_weights:
        return False
    parameters = network.parameters[layer.name]
    codes = weight_codes(parameters, scheme.weights[layer.name])
    return parameters.given is None or codes is not parameters.given.codes
