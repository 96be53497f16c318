"""Integer networks run fast on this computer, bit for bit as the reference runs them.

ONNX Runtime multiplies and adds in float32. That is exact where a proof says so: as long as no
partial sum of integers can reach 2^24, float32 holds all of them, in whatever order they are added.
Where one could, the weights are cut into two parts of 4 bits with a convolution each. What has no
proof even then, and the layers without weights, the reference computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import Rounding, requantize
from qmc.float_model import make_session, part_to_onnx
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.layer import Op
from qmc.network import Network, Parameters
from qmc.reference import run_layer
from qmc.requant_kernel import requantize_sums
from qmc.windows import windows

#: Codes of at most 16 bits, unsigned, in as few bytes as hold them.
Codes = NDArray[Any]
_Step = Callable[[Sequence[Codes]], Codes]

#: Integers up to here are exact in float32, and in float64.
_FLOAT32, _FLOAT64 = 1 << 24, 1 << 53
#: Images run at a time: their largest tensors should stay near the processor.
_BATCH = 8


class IntegerRunner:
    """Runs an integer network on any number of inputs."""

    def __init__(self, network: IntegerNetwork) -> None:
        """Prove what can be exact, and build the models of the layers."""
        self._network = network
        self._steps = [_step(network, layer) for layer in network.layers]
        names = ((name, i) for i, one in enumerate(network.layers) for name in one.layer.inputs)
        self._last_use = dict(names)

    def run(self, codes: Codes) -> Codes:
        """The output's codes, (n, ...), for the input's, (n, ...)."""
        network = self._network
        values = {network.input: codes}
        for number, (layer, step) in enumerate(zip(network.layers, self._steps, strict=True)):
            spec = layer.layer
            result = step([values[name] for name in spec.inputs])
            shape = network.tensors[spec.output].shape
            values[spec.output] = result.reshape(len(codes), *shape[1:])
            for name in {*spec.inputs} - {network.output}:
                if self._last_use[name] == number:
                    del values[name]
        return values[network.output]

    def classify(self, inputs: NDArray[np.float32], jobs: int = 1) -> NDArray[np.int64]:
        """The class of the largest output for each real input, (n,).

        Args:
            inputs: (n, ...) in the units the network was trained with.
            jobs: threads; the result does not depend on them.
        """
        quantize = self._network.quantization[self._network.input].quantize

        def classes(first: int) -> NDArray[np.int64]:
            output = self.run(quantize(inputs[first : first + _BATCH]))
            return np.asarray(output.reshape(len(output), -1).argmax(axis=1), dtype=np.int64)

        with ThreadPoolExecutor(jobs) as pool:
            return np.concatenate(list(pool.map(classes, range(0, len(inputs), _BATCH))))


def _step(network: IntegerNetwork, layer: IntegerLayer) -> _Step:
    """What computes the codes of one layer."""
    dtype = np.uint8 if layer.high < 256 else np.uint16
    spec = layer.layer
    if layer.weights is not None:
        parts = _exact_parts(layer)
        if parts:
            return _Product.of(network, layer, parts).run
    elif spec.op is Op.LOOKUP and layer.table is not None:
        table = layer.table.astype(dtype)
        return lambda inputs: table[inputs[0]]
    elif spec.op is Op.MAX_POOL:  # padding has the least code
        return lambda inputs: np.clip(
            reduce(np.maximum, windows(spec, inputs[0], padding=0)), layer.low, layer.high
        )
    shape = network.tensors[spec.output].shape
    return lambda inputs: run_layer(layer, [i.astype(np.int32) for i in inputs], shape).astype(
        dtype
    )


def _exact_parts(layer: IntegerLayer) -> tuple[NDArray[np.integer], ...]:
    """The layer's weights if float32 adds them up exactly, else sixteens and rest if it adds those.

    Empty where not even the parts are proved.
    """
    assert layer.weights is not None
    whole = layer.weights.astype(np.int64)
    if _largest_sum(layer, whole) < _FLOAT32:
        return (whole,)
    rest = ((whole + 8) & 15) - 8
    parts = ((whole - rest) >> 4, rest)
    return parts if all(_largest_sum(layer, part) < _FLOAT32 for part in parts) else ()


def _largest_sum(layer: IntegerLayer, weights: NDArray[np.integer]) -> int:
    """No partial sum of weights times (input code - zero point) is larger, in any order."""
    zero, high = layer.inputs[0].zero_point, layer.inputs[0].high
    rows = weights.reshape(len(weights), -1)
    positive, negative = np.maximum(rows, 0).sum(axis=1), np.maximum(-rows, 0).sum(axis=1)
    up, down = high - zero, zero
    upper, lower = positive * up + negative * down, positive * down + negative * up
    return int(np.maximum(upper, lower).max())


@dataclass(frozen=True, slots=True, eq=False)
class _Product:
    """A CONV or DENSE layer.

    Attributes:
        layer: with its constants.
        models: sessions of the weights, or of their two parts.
        start: (channels,) what is added to a sum, the input's zero point included.
        in_floats: whether float64 holds every step of the requantization exactly.
    """

    layer: IntegerLayer
    models: tuple[Any, ...]
    start: NDArray[np.int64]
    in_floats: bool

    @classmethod
    def of(
        cls, network: IntegerNetwork, layer: IntegerLayer, parts: Sequence[NDArray[np.integer]]
    ) -> _Product:
        assert layer.requant is not None
        assert layer.weights is not None
        requant, zero = layer.requant, layer.inputs[0].zero_point
        models = tuple(_session(network, layer, part) for part in parts)
        whole = layer.weights.astype(np.int64)
        start = requant.start + zero * whole.reshape(len(whole), -1).sum(axis=1)
        reach = _largest_sum(layer, whole) + int(np.abs(start).max())
        largest = reach * int(requant.multiplier.max()) + (1 << int(requant.shift.max()))
        plain = requant.rounding is not Rounding.TFLITE_DOUBLE
        return cls(layer, models, start, plain and largest < _FLOAT64)

    def run(self, inputs: Sequence[Codes]) -> Codes:
        layer, requant = self.layer, self.layer.requant
        assert requant is not None
        sums = self._sums(inputs[0])
        if self.in_floats:
            return _requantized(sums, self.start, layer)
        rest = replace(requant, start=np.zeros_like(requant.start))
        return requantize(sums.astype(np.int64) + self.start[:, None], rest, layer.low, layer.high)

    def _sums(self, codes: Codes) -> NDArray[np.floating]:
        """Sums of weights times (code - zero point), (n, channels, pixels)."""
        values = codes.astype(np.float32)
        values -= np.float32(self.layer.inputs[0].zero_point)
        feeds = {self.layer.layer.inputs[0]: values}
        found = [model.run(None, feeds)[0] for model in self.models]
        sums = found[0] if len(found) == 1 else 16.0 * found[0].astype(np.float64) + found[1]
        return np.asarray(sums.reshape(len(codes), len(self.start), -1))


def _requantized(
    sums: NDArray[np.floating], start: NDArray[np.int64], layer: IntegerLayer
) -> Codes:
    """Codes of sums, where float64 is proved to be exact."""
    assert layer.requant is not None
    requant, shift = layer.requant, layer.requant.shift.astype(np.float64)
    half = np.exp2(shift - 1) if requant.rounding is Rounding.HALF_UP else np.zeros_like(shift)
    constants = (start, requant.multiplier, half, np.exp2(-shift), requant.offset)
    begin, multiplier, nudge, step, offset = (np.asarray(c, dtype=np.float64) for c in constants)
    codes = np.empty(sums.shape, np.uint8 if layer.high < 256 else np.uint16)
    requantize_sums(sums, begin, multiplier, nudge, step, offset, layer.low, layer.high, codes)
    return codes


def _session(network: IntegerNetwork, layer: IntegerLayer, weights: NDArray[np.integer]) -> Any:
    """The sums of products of one layer, from inputs less their zero point."""
    spec = replace(layer.layer, clamp=None)
    parameters = Parameters(weights.astype(np.float32), np.zeros(len(weights), np.float32))
    part = Network(
        *(network.name, network.tensors, (spec,), {spec.name: parameters}),
        *(spec.inputs[0], spec.output, {}),
    )
    model = part_to_onnx(part, [spec], spec.inputs, [spec.output])
    return make_session(model.SerializeToString(), 1, optimized=True)
