"""Weights of every layer fitted at every width, each layer for itself.

Full calibration fits layer after layer, each to what the layers before it lost
(:mod:`qmc.reconstruct`); it is one walk for one assignment of widths. Sensitivities and trials need
weights for all of them: here each layer is fitted at every width to its float output from inputs
that are quantized to 8 bits, in one walk, with the statistics of a layer gathered once. The walk
also gives the ranges of channels that full calibration brings to one before depthwise layers.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc import cache
from qmc.arithmetic import QuantParams
from qmc.bias_correction import mean_products
from qmc.blas_threads import use_one_blas_thread
from qmc.channel_factors import COARSE_BITS, ChannelLimits, channel_limits, feeds_depthwise
from qmc.layer import Layer
from qmc.layer_model import LayerModel
from qmc.layer_statistics import Live, independent_samples, layer_statistics, sample_positions
from qmc.network import Network
from qmc.progress import Tick, no_tick
from qmc.scheme import WeightScheme
from qmc.simulate import nearest_codes
from qmc.weight_rounding import regressed_weights, ridged, round_rows
from qmc.weight_scales import least_legal_scales

FloatArray = NDArray[np.float32]
Reals = NDArray[np.float64]

#: Widths that are fitted; above them the nearest integers are nearly as good.
FITTED_WIDTHS = (2, 3, 4, 5, 6)
_VERSION = 3
_BATCH = 8

_COARSE = tuple(range(2, COARSE_BITS + 1))


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """What trials are put together from.

    Attributes:
        weights: by layer name, then bits.
        limits: of the channels of tensors that depthwise layers read, at few bits.
    """

    weights: Mapping[str, Mapping[int, WeightScheme]]
    limits: ChannelLimits


NO_FITS = Fits({}, {})


@dataclass(frozen=True, slots=True, eq=False)
class FitTask:
    """What weights are fitted on.

    Attributes:
        tensors: quantization of every activation at 8 bits.
        images: (n, ...) inputs.
        digest: hash of the network and the images, for the cache.
        jobs: threads; the result does not depend on them.
    """

    tensors: Mapping[str, QuantParams]
    images: FloatArray
    digest: str
    jobs: int = 1


def fit_weights(network: Network, task: FitTask, tick: Tick = no_tick) -> Fits:
    """Fit every layer's weights at every width of :data:`FITTED_WIDTHS`.

    Layers are kept in the cache as they are finished. Weights that came quantized have no entry at
    their own width and above.

    Args:
        network: float layers and parameters.
        task: images and activations.
        tick: called with layers done and in all.
    """
    use_one_blas_thread()
    params = task.tensors[network.input]
    live = {network.input: _live(task.images, params)}
    last_use = {name: i for i, layer in enumerate(network.layers) for name in layer.inputs}
    total = sum(layer.has_weights for layer in network.layers)
    fits: dict[str, Mapping[int, WeightScheme]] = {}
    limits: dict[str, dict[int, Reals]] = {}
    with ThreadPoolExecutor(task.jobs) as pool:
        for number, layer in enumerate(network.layers):
            if layer.has_weights:
                fits[layer.name] = _layer_fits(network, task, layer, live, pool)
                tick(len(fits), total)
            if len(fits) == total:
                break
            params = task.tensors[layer.output]
            real = _run(network, layer, live, pool)
            if feeds_depthwise(network, layer) and network.parameters[layer.name].given is None:
                ends = pool.map(partial(channel_limits, real), _COARSE)
                limits[layer.output] = dict(zip(_COARSE, ends, strict=True))
            live[layer.output] = _live(real, params)
            for name in {name for name in live if last_use.get(name, -1) <= number}:
                del live[name]
    return Fits(fits, limits)


def _live(values: FloatArray, params: QuantParams) -> Live:
    """A tensor with its codes, of at most 8 bits: the network's wide output is read by no layer."""
    codes = nearest_codes(values, params).astype(np.uint8)
    return Live(values, codes, params, np.ones(values.shape[1]))


def _run(
    network: Network, layer: Layer, live: Mapping[str, Live], pool: ThreadPoolExecutor
) -> FloatArray:
    model = LayerModel(network, layer)
    inputs = [live[name].real for name in layer.inputs]
    starts = range(0, len(inputs[0]), _BATCH)
    parts = pool.map(lambda i: model.run(*(v[i : i + _BATCH] for v in inputs)), starts)
    return np.concatenate(list(parts)).astype(np.float32, copy=False)


def _layer_fits(
    network: Network,
    task: FitTask,
    layer: Layer,
    live: Mapping[str, Live],
    pool: ThreadPoolExecutor,
) -> Mapping[int, WeightScheme]:
    ends = task.tensors[layer.inputs[0]], task.tensors[layer.output]
    key = cache.cache_key("fit", _VERSION, task.digest, layer.name, FITTED_WIDTHS, *ends)
    known = _read(cache.load(key))
    if known is None:
        known = _fit(network, task, layer, live[layer.inputs[0]], pool)
        cache.store(key, [_plain(scheme) for scheme in known.values()])
    return known


def _fit(
    network: Network, task: FitTask, layer: Layer, source: Live, pool: ThreadPoolExecutor
) -> dict[int, WeightScheme]:
    """All widths of one layer."""
    parameters = network.parameters[layer.name]
    given = parameters.given
    widths = [bits for bits in FITTED_WIDTHS if given is None or bits < given.bits]
    positions = sample_positions(layer, len(source.real), np.random.default_rng(0))
    found = layer_statistics(layer, parameters, source, None, positions)
    floors = least_legal_scales(
        parameters.bias, task.tensors[layer.inputs[0]], task.tensors[layer.output]
    ).reshape(layer.bounds.G, -1)
    kernels = parameters.weights.reshape(layer.bounds.G, layer.bounds.K, -1).astype(np.float64)
    hessian = ridged(found.covariance, independent_samples(positions))
    targets = regressed_weights(kernels, found.covariance, found.cross, hessian)
    wanted = parameters.bias + mean_products(
        layer, parameters.weights, source.real.mean(axis=0, dtype=np.float64)
    )
    mean = source.codes.mean(axis=0, dtype=np.float64)
    seen = (mean - source.params.zero_point) * source.params.scale

    def at_width(bits: int) -> WeightScheme:
        codes, scales = round_rows(targets, hessian, bits, floors)
        integers, steps = codes.reshape(parameters.weights.shape), scales.reshape(-1)
        bias = wanted - mean_products(layer, integers * steps[:, None, None, None], seen)
        ends = tuple(steps.tolist()), tuple(bias.tolist())
        return WeightScheme(bits, *ends, integers.astype(np.int8).tobytes())

    return dict(zip(widths, pool.map(at_width, widths), strict=True))


def _plain(scheme: WeightScheme) -> list[Any]:
    codes = base64.b64encode(scheme.codes or b"").decode("ascii")
    return [scheme.bits, list(scheme.scales), list(scheme.bias or ()), codes]


def _read(entry: object) -> dict[int, WeightScheme] | None:
    """The widths of a layer as the cache has them; None when it has none."""
    if not isinstance(entry, list):
        return None
    try:
        return {
            int(bits): WeightScheme(int(bits), tuple(scales), tuple(bias), base64.b64decode(codes))
            for bits, scales, bias, codes in entry
        }
    except (TypeError, ValueError):
        return None


def with_fits(weights: Mapping[str, WeightScheme], fits: Fits) -> dict[str, WeightScheme]:
    """Weights of a scheme, the fitted ones where there are any at their width."""
    return {
        name: scheme if scheme.codes else fits.weights.get(name, {}).get(scheme.bits, scheme)
        for name, scheme in weights.items()
    }
