"""Widths with an average: brute force over all assignments, and the limit."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_calibrate import network, parameters

from qmc.average_widths import average_widths
from qmc.network import GivenWeights, Network, Parameters
from qmc.widths import Widths, parse_widths

SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=5)


def sized(sizes: list[int]) -> Network:
    """A network of which only the numbers of weights matter."""
    weights = {
        str(i): Parameters(np.zeros((size, 1, 1, 1), np.float32), np.zeros(size, np.float32))
        for i, size in enumerate(sizes)
    }
    return Network("net", {}, (), weights, "x", "y", {})


@given(SIZES, st.sampled_from([2.5, 3.5, 4.5, 5.25]))
def test_average_is_kept_and_small_layers_get_no_fewer_bits(
    sizes: list[int], average: float
) -> None:
    bits = list(average_widths(sized(sizes), average).values())
    assert sum(b * n for b, n in zip(bits, sizes, strict=True)) <= average * sum(sizes)
    assert all(max(2, int(average) - 1) <= b <= 8 for b in bits)
    order = np.argsort(sizes)
    # A layer four times as large may get a bit more only where rounding to whole bits leaves room.
    for small, large in pairwise(order):
        assert bits[small] >= bits[large] - 1


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_error_is_near_the_least_of_all_assignments(sizes: list[int]) -> None:
    def error(bits: tuple[int, ...]) -> float:
        return sum(4.0**-b for b in bits)

    found = tuple(average_widths(sized(sizes), 4.5).values())
    budget = 4.5 * sum(sizes)
    best = min(
        error(bits)
        for bits in product(range(3, 9), repeat=len(sizes))
        if sum(b * n for b, n in zip(bits, sizes, strict=True)) <= budget
    )
    # The greedy choice is short of the best by at most what one more bit anywhere would give.
    assert error(found) <= 4 * best


def test_what_came_quantized_keeps_its_width() -> None:
    own = parameters(0, 3, 2, 1, 1)
    codes = np.ones((3, 2, 1, 1), np.int8)
    kept = Parameters(own.weights, own.bias, GivenWeights(codes, np.ones(3), 8))
    net = Network("net", {}, (), {"a": kept, "b": parameters(1, 4, 5, 1, 1)}, "x", "y", {})
    assert average_widths(net, 4.0)["a"] == 8


@pytest.mark.parametrize("text", ["w4.5a8", "w3.25a5"])
def test_average_is_a_spelling_of_the_scheme(text: str) -> None:
    net = network()
    widths = parse_widths(text, net)
    assert isinstance(widths, Widths)
    assert widths.activation == int(text[-1])
    average, total = float(text[1:].split("a")[0]), 0
    for name, one in net.parameters.items():
        total += widths.weight_bits(name) * one.weights.size
    weights = sum(one.weights.size for one in net.parameters.values())
    assert average - 0.3 < total / weights <= average
