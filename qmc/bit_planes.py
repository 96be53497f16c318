"""Multi-bit tensors as sums of {-1, +1} planes: one b-bit product is b times b' binary ones.

The decomposition of H. Sun et al., Multi-Precision Quantized Neural Networks via Encoding
Decomposition of {-1, +1} (AAAI 2019): a code of b bits with bits c_i is
sum 2^i c_i = ((2^b - 1) + sum 2^i s_i) / 2 with signs s_i = 2 c_i - 1, so machines that count equal
bits execute any width, at a cost that grows with the product of the widths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.integer import IntegerLayer
from qmc.windows import windows

Planes = NDArray[np.int8]


def to_planes(codes: NDArray[np.integer], bits: int, *, signed: bool) -> Planes:
    """(bits, ...) signs of ``codes``, plane 0 of the lowest bits.

    Args:
        codes: (...) integers of ``bits`` bits; two's complement when ``signed``.
        bits: 1 to 16.
        signed: the top plane then counts -2^(bits-1), which :func:`plane_weights` accounts for.
    """
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if codes.size and not low <= codes.min() <= codes.max() <= high:
        found = f"{codes.min()} to {codes.max()}"
        raise ValueError(f"codes must be {low} to {high} in {bits} bits, found {found}")
    shifts = np.arange(bits).reshape(-1, *(1,) * codes.ndim)
    return np.asarray(2 * ((codes.astype(np.int64) >> shifts) & 1) - 1, dtype=np.int8)


def plane_weights(bits: int, *, signed: bool) -> tuple[NDArray[np.int64], int]:
    """Weights of the planes, and the constant beside them, of *twice* the code."""
    weights = 1 << np.arange(bits, dtype=np.int64)
    if signed:
        weights[-1] = -weights[-1]
    return weights, int(weights.sum())


def from_planes(planes: Planes, *, signed: bool) -> NDArray[np.int64]:
    """Inverse of :func:`to_planes`."""
    weights, constant = plane_weights(len(planes), signed=signed)
    return np.asarray((np.tensordot(weights, planes.astype(np.int64), 1) + constant) >> 1)


def binary_products(weights: Planes, inputs: Planes) -> NDArray[np.int64]:
    """(bits of weights, bits of inputs, M, N): all products of planes by counting equal signs.

    Args:
        weights: (bits, M, d) signs.
        inputs: (bits, d, N) signs.
    """
    length = weights.shape[-1]
    ours = np.packbits(weights > 0, axis=-1)
    theirs = np.packbits(np.moveaxis(inputs, 1, 2) > 0, axis=-1)
    different = np.bitwise_count(ours[:, None, :, None] ^ theirs[None, :, None, :])
    return np.asarray(length - 2 * different.sum(axis=-1, dtype=np.int64))


def product_by_planes(
    weights: NDArray[np.integer], weight_bits: int, inputs: NDArray[np.integer], input_bits: int
) -> NDArray[np.int64]:
    """The integer product ``weights @ inputs`` of signed weights and unsigned inputs.

    Every multiplication is one of signs. Equal to the integer product, bit for bit.

    Args:
        weights: (M, d) two's complement codes.
        weight_bits: their width.
        inputs: (d, N) unsigned codes.
        input_bits: their width.
    """
    w_signs = to_planes(weights, weight_bits, signed=True)
    x_signs = to_planes(inputs, input_bits, signed=False)
    w_scale, w_constant = plane_weights(weight_bits, signed=True)
    x_scale, x_constant = plane_weights(input_bits, signed=False)
    both = np.einsum("i,j,ijmn->mn", w_scale, x_scale, binary_products(w_signs, x_signs))
    of_weights = np.tensordot(w_scale, w_signs.sum(axis=2, dtype=np.int64), 1)[:, None]
    of_inputs = np.tensordot(x_scale, x_signs.sum(axis=1, dtype=np.int64), 1)[None, :]
    constant = weights.shape[1] * w_constant * x_constant
    fourfold = both + of_weights * x_constant + of_inputs * w_constant + constant
    return np.asarray(fourfold >> 2)


def accumulate_by_planes(layer: IntegerLayer, codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """What :func:`qmc.reference.accumulate` computes of a CONV layer, by products of signs alone.

    Args:
        layer: a CONV layer.
        codes: (n, G*C, H, W) input codes.

    Returns:
        (n, G*K, P, Q).
    """
    assert layer.weights is not None
    assert layer.weight_bits is not None
    bounds, source = layer.layer.bounds, layer.inputs[0]
    taps = np.stack(list(windows(layer.layer, codes.astype(np.int64), source.zero_point)), axis=2)
    columns = taps.reshape(len(codes), bounds.G, bounds.C * bounds.R * bounds.S, -1)
    matrices = layer.weights.reshape(bounds.G, bounds.K, -1)
    sums = [
        [
            product_by_planes(w, layer.weight_bits, x, source.bits)
            for w, x in zip(matrices, image, strict=True)
        ]
        for image in columns
    ]
    return np.array(sums).reshape(len(codes), -1, bounds.P, bounds.Q)
