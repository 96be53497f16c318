"""Layers and widths as users type them."""

from __future__ import annotations

import pytest

from qmc.errors import DataError
from qmc.layer import Precision
from qmc.layer_text import parse_bits, parse_latency, parse_layer


def test_layer_text_gives_bounds_of_one_group() -> None:
    layer = parse_layer("C=32 K=64 P=56 Q=28 R=3 S=5 stride=2,1 dilation=2 groups=4 N=2")
    bounds = layer.bounds
    assert (bounds.N, bounds.G, bounds.K, bounds.C) == (2, 4, 16, 8)
    assert (bounds.P, bounds.Q, bounds.R, bounds.S) == (56, 28, 3, 5)
    assert layer.strides == (2, 1)
    assert layer.dilations == (2, 2)
    assert layer.macs == 2 * 4 * 16 * 8 * 56 * 28 * 15


def test_layer_text_takes_spaces_around_equals_and_defaults_to_one() -> None:
    layer = parse_layer(" C = 3  K= 8 ")
    assert (layer.bounds.C, layer.bounds.K, layer.bounds.P) == (3, 8, 1)
    assert layer.strides == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing; allowed: key=value"),
        ("C=3 M=4", r"found 'M=4'; allowed: key=value with key of N, C, K"),
        ("C=3 K", r"found 'K'; allowed"),
        ("C=3 C=4", r"C: found twice"),
        ("C=0", r"C: found '0'; allowed: a whole number of 1"),
        ("C=-3", r"C: found '-3'"),
        ("C=3.5", r"C: found '3\.5'"),
        ("C=99999999999999", r"C: found '9+'"),
        ("C=6 K=8 groups=4", r"groups: found 4; allowed: a divisor of C and of K \(C is 6\)"),
        ("C=4 K=6 groups=4", r"\(K is 6\)"),
        ("stride=1,2,3", r"stride: found '1,2,3'; allowed: one number or height,width"),
        ("stride=0", r"stride: found '0'"),
    ],
)
def test_wrong_layer_text_raises(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_layer(text)


@pytest.mark.parametrize(
    ("text", "widths"),
    [
        ("w4a8", (4, 8, 8, 32)),
        ("w4a8o6", (4, 8, 6, 32)),
        ("W2A3o16p24", (2, 3, 16, 24)),
        ("w1a1p1", (1, 1, 1, 1)),
    ],
)
def test_bits_text_gives_widths(text: str, widths: tuple[int, int, int, int]) -> None:
    assert parse_bits(text) == Precision(*widths)


def test_bits_text_takes_the_machines_width_of_partial_sums() -> None:
    assert parse_bits("w4a8", psum_bits=24).psum_bits == 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", "found '8'; allowed: w4a8, w4a8o8 or w4a8o8p16"),
        ("a8w4", "allowed: w4a8"),
        ("w0a8", "weights: found 0; allowed: 1 to 16"),
        ("w4a17", "activations: found 17; allowed: 1 to 16"),
        ("w4a8o0", "outputs: found 0"),
        ("w4a8p65", "partial sums: found 65; allowed: 1 to 64"),
    ],
)
def test_wrong_bits_text_raises(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_bits(text)


@pytest.mark.parametrize(
    ("text", "clock_hz", "cycles"),
    [
        ("1.1ms", 1e9, 1_100_000),
        ("20000cycles", 1e6, 20_000),
        ("2 us", 333e6, 666),
        ("0.5s", 200e6, 100_000_000),
        ("10ns", 160e6, 1),
        ("3µs", 1e9, 3000),
    ],
)
def test_latency_text_gives_whole_cycles(text: str, clock_hz: float, cycles: int) -> None:
    assert parse_latency(text, clock_hz) == cycles


@pytest.mark.parametrize("text", ["", "5", "-1ms", "1h", "ms", "nan ms", "1e3ms", "0.1ns", "0s"])
def test_latency_text_that_is_no_time_raises(text: str) -> None:
    with pytest.raises(DataError, match=r"--max-latency: found .*allowed: "):
        parse_latency(text, 1e9)
