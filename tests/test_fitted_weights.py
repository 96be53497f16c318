"""Weights fitted at every width, each layer for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_classifier import write_classifier

from qmc import cache
from qmc.fitted_weights import FITTED_WIDTHS, FitTask, fit_weights
from qmc.frontend import load_network
from qmc.layer_model import LayerModel
from qmc.network import Network
from qmc.observe import Observed, observe
from qmc.rounded_tensors import RoundedTensors, round_tensors
from qmc.tensor_ranges import tensor_params
from qmc.widths import Widths, activation_bits


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load_network(write_classifier(tmp_path_factory.mktemp("small"))[0])[1]


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 1, (16, 3, 8, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def seen(network: Network, images: NDArray[np.float32]) -> Observed:
    return observe(network, [images])


def task(network: Network, images: NDArray[np.float32], seen: Observed, jobs: int = 1) -> FitTask:
    bits = activation_bits(network, Widths())
    tensors = tensor_params(network, bits, seen.histograms, None)
    return FitTask(tensors, images, "digest", jobs)


def test_fitted_weights_keep_every_layers_output_better_than_the_nearest(
    network: Network, images: NDArray[np.float32], seen: Observed
) -> None:
    fits = fit_weights(network, task(network, images, seen))
    assert fits.weights.keys() == network.parameters.keys()
    nearest = round_tensors(network, seen, FITTED_WIDTHS)
    fitted = round_tensors(network, seen, FITTED_WIDTHS, fits=fits)
    values = {network.input: images}
    for layer in network.layers:
        read = [values[name] for name in layer.inputs]
        plain = LayerModel(network, layer).run(*read)
        values[layer.output] = plain
        for bits in (2, 3, 4) if layer.has_weights else ():

            def error(variants: RoundedTensors, bits: int = bits) -> float:
                changed = variants.weights[layer.name][bits]  # noqa: B023
                found = LayerModel(network, layer, changed).run(*read)  # noqa: B023
                return float(np.square(found - plain).mean())  # noqa: B023

            assert error(fitted) < 1.02 * error(nearest), f"{layer.name} at {bits} bits"


def test_fits_do_not_depend_on_threads_and_come_back_from_the_cache(
    network: Network,
    images: NDArray[np.float32],
    seen: Observed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QMC_CACHE_DIR", str(tmp_path))
    first = fit_weights(network, task(network, images, seen, jobs=2))
    monkeypatch.setattr(cache, "store", lambda key, value: pytest.fail("fitted again"))
    assert fit_weights(network, task(network, images, seen)).weights == first.weights
    monkeypatch.setattr(cache, "store", lambda key, value: None)
    monkeypatch.setattr(cache, "load", lambda key: [["damaged"]])
    assert fit_weights(network, task(network, images, seen)).weights == first.weights
