"""Layers, widths and latencies as users type them: ``C=32 K=64 R=3``, ``w4a8o8``, ``1.5ms``."""

from __future__ import annotations

import re

from qmc.errors import DataError
from qmc.layer import ACCUMULATOR_BITS, Layer, LoopBounds, Op, Precision

_SIZES = ("N", "C", "K", "P", "Q", "R", "S", "groups")
_PAIRS = ("stride", "dilation")
_BITS = re.compile(r"w(\d+)a(\d+)(?:o(\d+))?(?:p(\d+))?")
_LARGEST = 1 << 24
_LATENCY = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|cycles)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_layer(text: str, name: str = "layer") -> Layer:
    """A convolution from ``key=value`` words.

    C and K are *total* channel counts, as in ONNX; ``groups`` splits both. ``stride`` and
    ``dilation`` take one number or ``height,width``. What is left out is 1.

    Raises:
        DataError: a key is unknown or repeated, or a value is not allowed.
    """
    values = _read_words(text)
    size = {key: _whole(key, values.get(key, "1")) for key in _SIZES}
    groups = size["groups"]
    for key in ("C", "K"):
        if size[key] % groups:
            raise DataError(
                f"--layer: groups: found {groups}; allowed: a divisor of C and of K "
                f"({key} is {size[key]})"
            )
    bounds = LoopBounds(
        N=size["N"],
        G=groups,
        K=size["K"] // groups,
        C=size["C"] // groups,
        P=size["P"],
        Q=size["Q"],
        R=size["R"],
        S=size["S"],
    )
    strides, dilations = (_pair(key, values.get(key, "1")) for key in _PAIRS)
    return Layer(
        name=name,
        op=Op.CONV,
        inputs=("input",),
        output="output",
        bounds=bounds,
        strides=strides,
        dilations=dilations,
    )


def _read_words(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    allowed = ", ".join((*_SIZES, *_PAIRS))
    for word in re.sub(r"\s*=\s*", "=", text).split():
        key, equals, value = word.partition("=")
        if not equals or key not in (*_SIZES, *_PAIRS):
            raise DataError(f"--layer: found '{word}'; allowed: key=value with key of {allowed}")
        if key in values:
            raise DataError(f"--layer: {key}: found twice; allowed: once")
        values[key] = value
    if not values:
        raise DataError(f"--layer: found nothing; allowed: key=value with key of {allowed}")
    return values


def _whole(key: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= _LARGEST:
        raise DataError(
            f"--layer: {key}: found '{text}'; allowed: a whole number of 1 to {_LARGEST}"
        )
    return int(text)


def _pair(key: str, text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) > 2:
        raise DataError(f"--layer: {key}: found '{text}'; allowed: one number or height,width")
    numbers = [_whole(key, part) for part in parts]
    return numbers[0], numbers[-1]


def parse_bits(text: str, psum_bits: int = ACCUMULATOR_BITS) -> Precision:
    """Widths from ``w4a8``, ``w4a8o8`` or ``w4a8o8p16``; the output defaults to the input's width.

    Args:
        text: what the user typed.
        psum_bits: width of partial sums where the text gives none.

    Raises:
        DataError: another form, or a width outside 1 to 16 (partial sums: 64).
    """
    match = _BITS.fullmatch(text.strip().lower())
    if match is None:
        raise DataError(f"--bits: found '{text}'; allowed: w4a8, w4a8o8 or w4a8o8p16")
    weight, inputs, output, psum = (None if part is None else int(part) for part in match.groups())
    assert weight is not None
    assert inputs is not None
    limits = (("weights", weight, 16), ("activations", inputs, 16), ("outputs", output, 16))
    for what, bits, limit in (*limits, ("partial sums", psum, 64)):
        if bits is not None and not 1 <= bits <= limit:
            raise DataError(f"--bits: {what}: found {bits}; allowed: 1 to {limit}")
    return Precision(
        weight_bits=weight,
        input_bits=inputs,
        output_bits=inputs if output is None else output,
        psum_bits=psum_bits if psum is None else psum,
    )


def parse_latency(text: str, clock_hz: float) -> int:
    """Whole cycles that fit into ``1.5ms`` or ``20000cycles`` at a clock.

    Raises:
        DataError: another form, or less than one cycle.
    """
    match = _LATENCY.fullmatch(text.strip().lower().replace("μ", "µ"))
    if match is None:
        raise DataError(
            f"--max-latency: found '{text}'; allowed: a number with ns, us, ms, s or cycles"
        )
    number, unit = float(match[1]), match[2]
    # 1.1 ms at 1 GHz are 1,100,000 cycles although the product of the floats is a little less.
    cycles = number if unit == "cycles" else number * _SECONDS[unit] * clock_hz * (1 + 1e-12)
    if cycles < 1:
        raise DataError(f"--max-latency: found '{text}', less than a cycle; allowed: 1 cycle up")
    return int(cycles)
