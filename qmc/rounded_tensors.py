"""Every tensor of a network at every width: the scales and codes that plain calibration gives it.

One look at the images serves all widths: ranges come from the same histograms, weights from their
own values, and each bias keeps its channel's mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams
from qmc.bias_correction import correct_biases
from qmc.channel_factors import ChannelLimits, equalized_params, with_factors
from qmc.fitted_weights import NO_FITS, Fits, with_fits
from qmc.network import Network, Parameters
from qmc.observe import Observed
from qmc.quantize import weight_codes
from qmc.ranges import Calibration
from qmc.scheme import Scheme, WeightScheme
from qmc.tensor_ranges import tensor_params
from qmc.weight_scales import least_error_scales, least_legal_scales
from qmc.widths import Widths, activation_bits


@dataclass(frozen=True, slots=True, eq=False)
class RoundedTensors:
    """Variants of every tensor.

    Attributes:
        weights: float parameters as quantization leaves them, by layer name, then bits.
        activations: by tensor name, then bits.
        limits: of the channels that are brought to one range first.
    """

    weights: Mapping[str, Mapping[int, Parameters]]
    activations: Mapping[str, Mapping[int, QuantParams]]
    limits: ChannelLimits = field(default_factory=dict)


def round_tensors(
    network: Network,
    seen: Observed,
    widths: Sequence[int],
    method: Calibration | None = None,
    fits: Fits = NO_FITS,
) -> RoundedTensors:
    """Quantize every tensor at every width.

    Args:
        network: float layers and parameters.
        seen: histograms and means of its tensors.
        widths: bits, 2 to 8.
        method: of activation ranges; None takes the default for each width.
        fits: fitted weights, that take the place of the nearest.
    """
    tensors = {
        bits: tensor_params(
            network, activation_bits(network, Widths(8, bits)), seen.histograms, method
        )
        for bits in widths
    }
    wide = tensors[max(widths)]
    schemes = {
        bits: plain_scheme(network, seen, Widths(bits, 8), wide, fits).weights for bits in widths
    }
    weights = {
        name: {bits: _as_floats(parameters, scheme[name]) for bits, scheme in schemes.items()}
        for name, parameters in network.parameters.items()
    }
    activations = {
        name: {bits: params[name] for bits, params in tensors.items()} for name in network.tensors
    }
    for name, ends in fits.limits.items():
        chosen = {bits: equalized_params(bits, ends[bits]) for bits in widths if bits in ends}
        activations[name] |= chosen
    return RoundedTensors(weights, activations, fits.limits)


def round_weights(network: Network, bits: int) -> dict[str, NDArray[np.float32]]:
    """The weights of every layer after quantization, without a look at any data."""
    return {
        name: _as_floats(
            parameters,
            WeightScheme(bits, _scales(parameters, bits), tuple(parameters.bias.tolist())),
        ).weights
        for name, parameters in network.parameters.items()
    }


def _scales(parameters: Parameters, bits: int) -> tuple[float, ...]:
    given = parameters.given
    if given is not None and given.bits <= bits:
        return tuple(given.scales.tolist())
    scales = least_error_scales(parameters.weights, bits)
    return tuple(np.where(scales > 0.0, scales, 1.0).tolist())


def plain_scheme(
    network: Network,
    seen: Observed,
    widths: Widths,
    tensors: Mapping[str, QuantParams],
    fits: Fits = NO_FITS,
) -> Scheme:
    """Fitted weights, or the nearest with corrected biases: a complete scheme at once.

    Args:
        network: float layers and parameters.
        seen: means of its tensors.
        widths: of the weights.
        tensors: quantization of every activation.
        fits: fitted weights, that take the place of the nearest.
    """
    weights = {}
    for layer in network.layers:
        if layer.has_weights:
            bits = widths.weight_bits(layer.name)
            parameters = network.parameters[layer.name]
            ends = tensors[layer.inputs[0]], tensors[layer.output]
            floors = least_legal_scales(parameters.bias, *ends)
            scales, given = _scales(parameters, bits), parameters.given
            if given is not None and given.bits <= bits:
                weights[layer.name] = WeightScheme(given.bits, scales)
            else:
                weights[layer.name] = WeightScheme(bits, tuple(np.maximum(scales, floors).tolist()))
    scheme = correct_biases(network, Scheme(tensors, weights), seen.means)
    fitted = replace(scheme, weights=with_fits(scheme.weights, fits))
    return with_factors(network, fitted, fits.limits)


def _as_floats(parameters: Parameters, scheme: WeightScheme) -> Parameters:
    codes = weight_codes(parameters, scheme).astype(np.float64)
    rounded = codes * np.array(scheme.scales)[:, None, None, None]
    bias = parameters.bias if scheme.bias is None else np.array(scheme.bias)
    return Parameters(rounded.astype(np.float32), bias.astype(np.float32))
