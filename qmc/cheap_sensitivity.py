"""Sensitivities that need few runs of the network, or none.

*Weights alone*: the squared rounding error of every layer's weights relative to their size, and for
activations that of evenly spread values (MixQuant's proxy, 2023: rounding error, no data).
*Second order*: the divergence grows with the square of a small change, so one measured width of a
tensor and the squared rounding errors of all give the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qmc.arithmetic import QuantParams
from qmc.bit_groups import SEARCH_WIDTHS, activation_groups
from qmc.measure_sensitivity import Probe, measure_sensitivities
from qmc.network import Network
from qmc.progress import Tick, no_tick
from qmc.ranges import Histogram
from qmc.rounded_tensors import RoundedTensors, round_weights
from qmc.sensitivity import Sensitivities, Source

#: The width that the second-order estimate measures: changes large enough to tell from noise.
_MEASURED_BITS = 4


def weight_sensitivities(network: Network) -> Sensitivities:
    """Relative squared rounding errors, without a look at any data."""
    weights: dict[str, dict[int, float]] = {name: {} for name in network.parameters}
    for bits in SEARCH_WIDTHS:
        for name, rounded in round_weights(network, bits).items():
            own = network.parameters[name].weights.astype(np.float64)
            power = float(np.square(own).sum())
            error = float(np.square(rounded - own).sum())
            weights[name][bits] = error / power if power else 0.0
    even = {bits: 4.0**-bits for bits in SEARCH_WIDTHS}  # step^2 / 12 over a mean square of 1/12
    free = [g.name for g in activation_groups(network) if g.fixed is None]
    return Sensitivities(Source.WEIGHTS, 0, weights, {name: dict(even) for name in free})


def second_order_sensitivities(
    network: Network,
    rounded: RoundedTensors,
    histograms: Mapping[str, Histogram],
    probe: Probe,
    tick: Tick = no_tick,
) -> Sensitivities:
    """One measured width of each tensor, scaled by the squared rounding errors of the others.

    Args:
        network: float layers.
        rounded: every tensor at every width.
        histograms: values of the activations.
        probe: images.
        tick: called with tensors done and in all.
    """
    one = RoundedTensors(
        {name: {_MEASURED_BITS: row[_MEASURED_BITS]} for name, row in rounded.weights.items()},
        {name: {_MEASURED_BITS: row[_MEASURED_BITS]} for name, row in rounded.activations.items()},
    )
    measured = measure_sensitivities(network, one, probe, tick)
    weights = {
        name: _scaled(row[_MEASURED_BITS], _weight_errors(network, rounded, name))
        for name, row in measured.weights.items()
    }
    activations = {
        name: _scaled(row[_MEASURED_BITS], _activation_errors(rounded, histograms, name))
        for name, row in measured.activations.items()
    }
    return Sensitivities(Source.SECOND_ORDER, measured.images, weights, activations)


def _scaled(measured: float, errors: Mapping[int, float]) -> dict[int, float]:
    unit = errors[_MEASURED_BITS]
    return {bits: measured * error / unit if unit else 0.0 for bits, error in errors.items()}


def _weight_errors(network: Network, rounded: RoundedTensors, name: str) -> dict[int, float]:
    own = network.parameters[name].weights.astype(np.float64)
    variants = rounded.weights[name].items()
    return {bits: float(np.square(p.weights - own).sum()) for bits, p in variants}


def _activation_errors(
    rounded: RoundedTensors, histograms: Mapping[str, Histogram], name: str
) -> dict[int, float]:
    if name not in histograms:  # a known range: evenly spread values
        return {bits: 4.0**-bits for bits in rounded.activations[name]}
    centres, counts = histograms[name].filled()
    return {
        bits: float(np.dot(counts, np.square(_rounded(centres, params) - centres)))
        for bits, params in rounded.activations[name].items()
    }


def _rounded(values: np.ndarray, params: QuantParams) -> np.ndarray:
    codes = np.clip(np.floor(values / params.scale + 0.5) + params.zero_point, 0, params.high)
    return np.asarray((codes - params.zero_point) * params.scale)
