"""What a learned model sees of a layer and of a way to build its kernel: counts and sizes."""

from __future__ import annotations

import math

from qmc.codegen.vector.blocks import block_count
from qmc.codegen.vector.depthwise import depthwise_blocks, depthwise_pixels
from qmc.codegen.vector.kernel import choose_printer
from qmc.codegen.vector.knobs import Knobs
from qmc.codegen.vector.matrix import block_pixels, plan_matrix, print_matrix
from qmc.codegen.vector.sources import VectorLayer
from qmc.tuning.problem import Problem, vector_layer

#: Raised whenever names, meanings or kernels change; records of other versions are not used.
VERSION = 1

_LAYER = (
    *("is_matrix", "log_groups", "log_outputs", "log_inputs", "log_taps", "log_pixels"),
    *("log_width", "stride", "weight_bits", "input_bits", "output_bits", "log_sweep"),
    *("log_dots", "log_input_bytes", "log_weight_bytes"),
)
_CHOICE = (
    *("vectors", "pixels", "block", "pixels_outside", "unpacks_all", "unpacks_each", "ahead"),
    *("log_calls", "padded_outputs", "padded_pixels", "padded_both", "loads_per_dot"),
    *("log_panel_bytes", "log_strip_bytes", "strips", "rows_again", "log_unpacked"),
)
#: Of the layer, of the choice, and of the choice over the defaults.
FEATURES = (*_LAYER, *_CHOICE, *(f"{name}_over_default" for name in _CHOICE))


def describe(problem: Problem, knobs: Knobs) -> list[float]:
    """The values of FEATURES for one way to build the layer's kernel."""
    assert problem.family is not None
    base = problem.layer
    chosen = vector_layer(problem.network, problem.index, problem.family, knobs)
    own, default = _choice(chosen), _choice(base)
    beside = [a - b for a, b in zip(own, default, strict=True)]
    return [*_layer(base, problem.sweep_bytes), *own, *beside]


def _layer(layer: VectorLayer, sweep_bytes: int) -> list[float]:
    integer, bounds = layer.integer, layer.integer.layer.bounds
    dots = bounds.G * bounds.K * bounds.C * bounds.P * bounds.Q * bounds.R * bounds.S
    weights = bounds.G * bounds.K * bounds.C * bounds.R * bounds.S
    return [
        float(_is_matrix(layer)),
        _log(bounds.G),
        _log(bounds.K),
        _log(bounds.C),
        _log(bounds.R * bounds.S),
        _log(bounds.P * bounds.Q),
        _log(bounds.Q),
        float(integer.layer.strides[1]),
        float(integer.weight_bits or 8),
        float(integer.inputs[0].bits),
        float(integer.output.bits),
        _log(sweep_bytes),
        _log(dots),
        _log(layer.source().size),
        _log(weights * (integer.weight_bits or 8) / 8),
    ]


def _is_matrix(layer: VectorLayer) -> bool:
    return choose_printer(layer) is print_matrix


def _choice(layer: VectorLayer) -> list[float]:
    return _matrix(layer) if _is_matrix(layer) else _depthwise(layer)


def _matrix(layer: VectorLayer) -> list[float]:
    plan, lanes = plan_matrix(layer), layer.family.lanes
    geometry, bounds = plan.geometry, layer.integer.layer.bounds
    first = max(plan.blocks, key=lambda block: block.vectors)
    sizes = [block_pixels(layer, plan, block) for block in plan.blocks]
    pixels = min(sizes) if plan.pixels_outside else max(sizes)
    lines = geometry.strip_rows or geometry.lines
    strips = block_count(geometry.lines, lines)
    places = sum(block.vectors * block.repeat for block in plan.blocks)
    columns = block_count(geometry.pixels, pixels)
    padded = [places * lanes / bounds.K, columns * pixels / geometry.pixels]
    stride, reach = layer.integer.layer.strides[0], (bounds.R - 1)
    codes = sum(size * b.repeat for size, b in zip(plan.panel_codes, plan.blocks, strict=True))
    times = {"": 0, "all": 1, "each": strips}[plan.unpack]
    return [
        float(first.vectors),
        float(pixels),
        float(first.vectors * pixels),
        float(plan.pixels_outside),
        float(plan.unpack == "all"),
        float(plan.unpack == "each"),
        float(layer.knobs.prefetch_kib),
        _log(bounds.G * sum(block.repeat for block in plan.blocks) * columns * geometry.lines),
        *padded,
        padded[0] * padded[1],
        (first.vectors + pixels) / (first.vectors * pixels),
        _log(max(plan.panel_codes) * plan.scratch_bytes),
        _log(geometry.strip_bytes or 1),
        float(strips),
        (lines * stride + reach) / (lines * stride),
        _log(1 + codes * bounds.G * times),
    ]


def _depthwise(layer: VectorLayer) -> list[float]:
    bounds, channels = layer.integer.layer.bounds, layer.source().channels
    pixels, blocks = depthwise_pixels(layer), depthwise_blocks(layer)
    columns = block_count(bounds.Q, pixels)
    widest = max(width for width, *_ in blocks)
    padded = [
        sum(width * repeat for width, _, _, repeat in blocks) / channels,
        columns * pixels / bounds.Q,
    ]
    calls = sum(repeat for *_, repeat in blocks) * columns * bounds.P
    is_outer = float(layer.knobs.outside == "channels")
    return [
        widest / 16,
        float(pixels),
        widest / 16 * pixels,
        1.0 - is_outer,
        *(0.0, 0.0, 0.0),
        _log(calls),
        *padded,
        padded[0] * padded[1],
        (pixels * layer.integer.layer.strides[1] + bounds.S - 1) / pixels,
        *(0.0, 0.0, 1.0, 1.0, 0.0),
    ]


def _log(value: float) -> float:
    return math.log2(max(value, 1e-9))
