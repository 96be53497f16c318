"""A whole network as plain data: layers in execution order, their tensors and float parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.layer import Layer

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation tensor; shape as in ONNX: (N, C, H, W) or (N, C), N = 1."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def channels(self) -> int:
        """Extent of axis 1."""
        return self.shape[1]

    @property
    def pixels(self) -> int:
        """Elements per channel (H*W; 1 for a vector)."""
        return self.size // self.channels


@dataclass(frozen=True, slots=True, eq=False)
class GivenBias:
    """A bias that arrived quantized: real = scales * codes, each (G*K,)."""

    codes: NDArray[np.int64]
    scales: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class GivenWeights:
    """Weights that arrived quantized (QDQ import): their integers and scales are kept exactly.

    Attributes:
        codes: (G*K, C, R, S) int8 integers.
        scales: (G*K,) float64.
        bits: width of the stored type.
        bias: the integers of the bias, if it had any.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float64]
    bits: int
    bias: GivenBias | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """Float parameters of a CONV or DENSE layer.

    Attributes:
        weights: (G*K, C, R, S) float32; DENSE has R = S = 1.
        bias: (G*K,) float32.
        given: the original integers when the model was already quantized.
    """

    weights: FloatArray
    bias: FloatArray
    given: GivenWeights | None = None


@dataclass(frozen=True, slots=True)
class GivenRange:
    """Quantization a tensor arrived with (QDQ import): real = scale * (code - zero_point)."""

    bits: int
    scale: float
    zero_point: int  # of the unsigned code; a signed ONNX type is shifted by 2^(bits-1)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Layers in execution order; one input, one output.

    Attributes:
        name: a C identifier made from the model's file name.
        tensors: every activation tensor by name, the network's input included.
        layers: in execution order.
        parameters: by layer name, for CONV and DENSE.
        input, output: tensor names.
        given_ranges: quantization parameters that came with the model, by tensor name.
    """

    name: str
    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    parameters: Mapping[str, Parameters]
    input: str
    output: str
    given_ranges: Mapping[str, GivenRange]

    def layer(self, name: str) -> Layer:
        """The layer called ``name``.

        Raises:
            KeyError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)
