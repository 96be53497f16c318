"""Average widths by measured harm: brute force over all assignments, and a whole network."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_classifier import write_classifier
from test_average_widths import sized

from qmc import cache
from qmc.average_widths import average_widths
from qmc.bit_groups import activation_groups
from qmc.compiler import choose_scheme
from qmc.data import Dataset
from qmc.errors import SchemeError
from qmc.find_sensitivities import find_sensitivities, fit_at_all_widths, fit_images, probe_images
from qmc.frontend import load_network
from qmc.measured_average import least_harm, measured_average
from qmc.network import GivenWeights, Network
from qmc.observe import observe
from qmc.open_images import load_data
from qmc.options import Options
from qmc.progress import no_tick
from qmc.widths import Average

WIDTHS = (2, 4, 8)
ROW = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400), ROW), min_size=1, max_size=5),
    st.sampled_from([2.0, 3.5, 4.5, 7.9]),
)
def test_no_assignment_with_that_average_harms_less(
    layers: list[tuple[int, list[float]]], average: float
) -> None:
    network = sized([size for size, _ in layers])
    harm = {str(i): dict(zip(WIDTHS, row, strict=True)) for i, (_, row) in enumerate(layers)}
    sizes = np.array([size for size, _ in layers])

    def total(bits: tuple[int, ...]) -> float:
        return sum(harm[str(i)][one] for i, one in enumerate(bits))

    allowed = [
        bits
        for bits in product(WIDTHS, repeat=len(layers))
        if sizes @ np.array(bits) <= average * sizes.sum() * (1 + 1e-9)
    ]
    found = tuple(least_harm(network, average, harm).values())
    assert found in allowed
    assert total(found) == pytest.approx(min(map(total, allowed)), rel=1e-6, abs=1e-9)


def test_what_came_quantized_keeps_its_width_and_counts() -> None:
    network = sized([10, 30])
    codes = np.ones((10, 1, 1, 1), np.int8)
    kept = replace(network.parameters["0"], given=GivenWeights(codes, np.ones(10), 8))
    network = replace(network, parameters={**network.parameters, "0": kept})
    harm = {name: {2: 3.0, 4: 2.0, 8: 1.0} for name in ("0", "1")}
    assert least_harm(network, 5.0, harm) == {"0": 8, "1": 4}  # (80 + 120) / 40
    with pytest.raises(SchemeError, match=r"average of 3 bits; allowed: at least 3\.5"):
        least_harm(network, 3.0, harm)


def test_weights_are_measured_on_images_they_were_not_fitted_to() -> None:
    for size in (2, 3, 100, 1000):
        assert not {*probe_images(size)} & {*fit_images(size)}
        assert {*probe_images(size), *fit_images(size)} <= {*range(size)}
        assert len(probe_images(size)) <= 64
    assert probe_images(1) == fit_images(1) == [0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("small"))[:2]


def test_widths_have_the_least_measured_sum(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    network: Network = load_network(files[0])[1]
    images = np.random.default_rng(3).normal(0, 1, (12, 3, 8, 6)).astype(np.float32)
    calib = Dataset(tmp_path, (3, 8, 6), len(images), None, lambda i: images[i])
    seen = observe(network, calib)
    found = measured_average(Average(4.5, 8), network, calib, None, seen)
    fits = fit_at_all_widths(network, calib, seen, None, 1)
    table = find_sensitivities("kl", network, calib, None, seen, fits, weights_only=True)
    assert not table.activations

    def harm(bits: dict[str, int]) -> float:
        return sum(table.weights[name][one] for name, one in bits.items())

    bits = {name: found.weight_bits(name) for name in network.parameters}
    sizes = {name: one.weights.size for name, one in network.parameters.items()}
    assert sum(bits[n] * sizes[n] for n in bits) <= 4.5 * sum(sizes.values())
    assert harm(bits) <= harm(average_widths(network, 4.5))


def test_compile_measures_unless_told_to_use_no_data(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    network = load_network(files[0])[1]

    def bits(sensitivity: str) -> dict[str, int]:
        options = Options(files[0], "host", tmp_path, "w4.5a8", sensitivity, calib=files[1])
        scheme = choose_scheme(options, network, load_data(options, network), no_tick)
        return {name: chosen.bits for name, chosen in scheme.weights.items()}

    assert bits("weights") == average_widths(network, 4.5)
    sizes = {name: one.weights.size for name, one in network.parameters.items()}
    table = tmp_path / "table.csv"
    rows = [f"W,{name},{b},{int(b < 8) if name == 'head' else 0}" for name in sizes for b in WIDTHS]
    free = [group.name for group in activation_groups(network) if group.fixed is None]
    rows += [f"A,{name},8,0" for name in free]
    table.write_text("\n".join(["operand,name,bits,sensitivity", *rows]))
    assert bits(str(table))["head"] == 8  # all that counts, by this file
    measured = bits("auto")
    assert sum(measured[n] * sizes[n] for n in sizes) <= 4.5 * sum(sizes.values())
