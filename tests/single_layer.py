"""Networks of one layer, drawn by hypothesis: small, never square, with every kind of remainder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qmc.arithmetic import QuantParams
from qmc.integer import IntegerLayer
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import Network, Parameters, Tensor
from qmc.quantize import quantize
from qmc.scheme import Scheme, WeightScheme

ANY_WIDTH = st.integers(2, 8)


def network_of(
    layer: Layer, shapes: Mapping[str, tuple[int, ...]], parameters: Parameters | None = None
) -> Network:
    """A network of ``layer`` alone; the first input is the network's."""
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    weights = {} if parameters is None else {layer.name: parameters}
    return Network("net", tensors, (layer,), weights, layer.inputs[0], layer.output, {})


def integer_layer(
    layer: Layer,
    shapes: Mapping[str, tuple[int, ...]],
    params: Mapping[str, QuantParams],
    parameters: Parameters | None = None,
    weight_bits: int = 8,
) -> IntegerLayer:
    """The layer's integers at the given quantization, weight scales without clipping."""
    network = network_of(layer, shapes, parameters)
    weights = {}
    if parameters is not None:
        widest = np.abs(parameters.weights).reshape(len(parameters.weights), -1).max(axis=1)
        scales = np.maximum(widest.astype(np.float64), 1e-3) / ((1 << (weight_bits - 1)) - 1)
        weights[layer.name] = WeightScheme(weight_bits, tuple(scales.tolist()))
    return quantize(network, Scheme(params, weights)).layers[0]


@st.composite
def quantizations(draw: Any, widths: st.SearchStrategy[int] = ANY_WIDTH) -> QuantParams:
    """Any zero point."""
    width = draw(widths)
    scale = draw(st.floats(0.01, 0.5)) * 255 / ((1 << width) - 1)
    return QuantParams(width, scale, draw(st.integers(0, (1 << width) - 1)))


@st.composite
def windowed(draw: Any, op: Op) -> tuple[Layer, tuple[int, ...]]:
    """A convolution or pool, and the shape of its input."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 3))) if op is Op.CONV else (1, 1)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = [draw(st.integers(0, reach[axis])) for axis in (0, 1, 0, 1)]
    size = [draw(st.integers(reach[0] + 1, 8)), draw(st.integers(reach[1] + 1, 10))]
    outputs = [
        (size[axis] + pads[axis] + pads[axis + 2] - reach[axis] - 1) // strides[axis] + 1
        for axis in (0, 1)
    ]
    groups, multiplier, channels = draw(st.tuples(*[st.integers(1, 3)] * 3))
    if op is not Op.CONV:
        multiplier = channels = 1
    bounds = LoopBounds(1, groups, multiplier, channels, *outputs, *kernel)
    clamp = draw(st.sampled_from([None, (0.0, np.inf), (0.0, 6.0)]))
    layer = Layer(
        "layer",
        op,
        ("x",),
        "y",
        bounds,
        strides,
        dilations,
        (pads[0], pads[1], pads[2], pads[3]),
        None if op is Op.MAX_POOL else clamp,
        count_include_pad=op is Op.AVERAGE_POOL and draw(st.booleans()),
    )
    return layer, (1, groups * channels, *size)


def output_shape(layer: Layer) -> tuple[int, ...]:
    """(1, channels, P, Q)."""
    bounds = layer.bounds
    return (1, bounds.G * bounds.K, bounds.P, bounds.Q)
