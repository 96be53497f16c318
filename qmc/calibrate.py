"""Calibration: a network, a few images and widths in; a scale and zero point for every tensor out.

Deterministic: the same images give the same scheme to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qmc.arithmetic import QuantParams, Rounding
from qmc.bias_correction import correct_biases
from qmc.blas_threads import use_one_blas_thread
from qmc.errors import DataError
from qmc.fitting_memory import fitting_images, schemes_at_a_time
from qmc.format_rounding import format_scales
from qmc.formats import number_format
from qmc.layer import Layer
from qmc.network import GivenWeights, Network
from qmc.observe import Inputs, Observed, observe
from qmc.progress import Tick, no_tick
from qmc.ranges import Calibration
from qmc.reconstruct import reconstruct_weights
from qmc.scheme import Scheme, WeightRounding, WeightScheme
from qmc.tensor_ranges import tensor_params, tensors_to_observe
from qmc.weight_scales import least_error_scales, least_legal_scales
from qmc.widths import Widths, activation_bits

__all__ = ["Calibration", "WeightRounding", "calibrate"]


def calibrate(
    network: Network,
    inputs: Inputs | None,
    widths: Widths,
    *,
    method: Calibration | None = None,
    rounding: Rounding = Rounding.HALF_UP,
    weight_rounding: WeightRounding = WeightRounding.OPTIMIZED,
    seed: int = 0,
    seen: Observed | None = None,
    tick: Tick = no_tick,
) -> Scheme:
    """Choose scales and zero points.

    Args:
        network: float layers and parameters.
        inputs: a data set or batches of inputs; None only if every tensor came with its range.
        widths: bits of weights and activations.
        method: how activation ranges are chosen; None takes the least squared error.
        rounding: of requantizations, kept in the scheme.
        weight_rounding: how weights become integers; without inputs always the nearest.
        seed: of the positions that fitting the weights samples.
        seen: what :func:`qmc.observe.observe` makes of the inputs, where it is known already.
        tick: called with inputs done and in all.

    Raises:
        DataError: no inputs, or a value that is not finite.
    """
    how = Manner(method, rounding, weight_rounding, seed)
    return next(calibrate_all(network, inputs, [widths], how, seen=seen, tick=tick))


@dataclass(frozen=True, slots=True)
class Manner:
    """How a network is calibrated, whatever its widths; see :func:`calibrate`."""

    method: Calibration | None = None
    rounding: Rounding = Rounding.HALF_UP
    weight_rounding: WeightRounding = WeightRounding.OPTIMIZED
    seed: int = 0


def calibrate_all(
    network: Network,
    inputs: Inputs | None,
    asked: Sequence[Widths],
    how: Manner,
    *,
    seen: Observed | None = None,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> Iterator[Scheme]:
    """Calibrate a network at several widths; each scheme is what :func:`calibrate` makes.

    Several are fitted in one walk over the network; schemes come in order, some at a time.

    Args:
        network: float layers and parameters.
        inputs: see :func:`calibrate`.
        asked: widths of each scheme.
        how: everything else that decides them.
        seen: see :func:`calibrate`.
        jobs: threads; the result does not depend on them.
        tick: called with inputs, then layers done and in all.

    Raises:
        DataError: no inputs, or a value that is not finite.
    """
    use_one_blas_thread()
    needed = tensors_to_observe(network)
    if inputs is None and needed:
        raise DataError(
            f"no calibration data: {len(needed)} tensors have no range, '{needed[0]}' first; "
            "give images with --calib"
        )
    if seen is None:
        seen = Observed({}, {}) if inputs is None else observe(network, inputs, tick)
    if inputs is None:
        yield from (_nearest(network, seen, widths, how) for widths in asked)
        return
    if how.weight_rounding is WeightRounding.NEAREST:
        nearest = (_nearest(network, seen, widths, how) for widths in asked)
        yield from (correct_biases(network, scheme, seen.means) for scheme in nearest)
        return
    images = fitting_images(network, inputs)
    step = schemes_at_a_time(network, images)
    for first in range(0, len(asked), step):
        starts = [_nearest(network, seen, widths, how) for widths in asked[first : first + step]]
        yield from reconstruct_weights(network, starts, images, how.seed, jobs, tick)


def _nearest(network: Network, seen: Observed, widths: Widths, how: Manner) -> Scheme:
    """Ranges of activations, and scales for the nearest integers."""
    bits = activation_bits(network, widths)
    tensors = tensor_params(network, bits, seen.histograms, how.method)
    chosen = {
        layer.name: _weight_scheme(network, layer, tensors, widths)
        for layer in network.layers
        if layer.has_weights
    }
    raised = {name: count for name, (_, count) in chosen.items() if count}
    weights = {name: scheme for name, (scheme, _) in chosen.items()}
    notes = (_raised_note(raised),) if raised else ()
    return Scheme(tensors, weights, how.rounding, notes)


def _weight_scheme(
    network: Network, layer: Layer, tensors: Mapping[str, QuantParams], widths: Widths
) -> tuple[WeightScheme, int]:
    """Scales of a layer's weights, and how many had to be raised."""
    parameters = network.parameters[layer.name]
    bits = widths.weight_bits(layer.name)
    given = parameters.given
    if given is not None and given.bits <= bits:
        bias = _given_bias(given, tensors[layer.inputs[0]])
        return WeightScheme(given.bits, tuple(given.scales.tolist()), bias), 0
    form = widths.weight_format(layer.name)
    if form is None:
        scales = least_error_scales(parameters.weights, bits)
    else:
        scales = format_scales(parameters.weights, number_format(form))
    floors = least_legal_scales(parameters.bias, tensors[layer.inputs[0]], tensors[layer.output])
    legal = np.maximum(scales, floors)
    legal[legal == 0.0] = 1.0  # no weights, no bias: any scale will do
    raised = int(np.count_nonzero((scales > 0.0) & (scales < floors)))
    return WeightScheme(bits, tuple(legal.tolist()), format=form), raised


def _given_bias(given: GivenWeights, source: QuantParams) -> tuple[float, ...] | None:
    """A bias that came as integers; its scale is meant to be that of the accumulator."""
    if given.bias is None:
        return None
    steps, stated = source.scale * given.scales, given.bias.scales
    is_meant = np.abs(steps - stated) <= stated * 2.0**-20
    return tuple((given.bias.codes * np.where(is_meant, steps, stated)).tolist())


def _raised_note(raised: Mapping[str, int]) -> str:
    """One sentence on the channels whose scale had to be raised, by layer."""
    where = ", ".join(f"{name} ({count})" for name, count in raised.items())
    return (
        f"channels with almost no weights beside their bias: {sum(raised.values())}; their weight "
        f"scales were raised to keep the accumulator in range: {where}"
    )
