"""Bit packing: element 0 in the low bits, rows padded to a byte (ONNX sub-byte order per row)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def row_bytes(count: int, bits: int) -> int:
    """Bytes of a row of ``count`` elements of ``bits`` bits."""
    return (count * bits + 7) // 8


def storage_bytes(shape: tuple[int, ...], bits: int) -> int:
    """Bytes of a packed activation: channels-last, one row per pixel, each row padded to a byte."""
    channels = shape[1]
    pixels = int(np.prod(shape, dtype=np.int64)) // channels
    return pixels * row_bytes(channels, bits)


def pack_rows(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Pack the last axis.

    Args:
        codes: (..., n) integers; two's complement is taken of negative ones.
        bits: 1 to 16.

    Returns:
        (..., ceil(n * bits / 8)) bytes.
    """
    planes = np.arange(bits, dtype=np.uint32)
    unsigned = (codes.astype(np.int64) & ((1 << bits) - 1)).astype(np.uint32)
    stream = ((unsigned[..., None] >> planes) & 1).astype(np.uint8)
    stream = stream.reshape(*codes.shape[:-1], codes.shape[-1] * bits)
    return np.packbits(stream, axis=-1, bitorder="little")


def unpack_rows(
    packed: NDArray[np.uint8], bits: int, count: int, signed: bool
) -> NDArray[np.int32]:
    """Inverse of :func:`pack_rows`: (..., bytes) to (..., count)."""
    stream = np.unpackbits(packed, axis=-1, bitorder="little")[..., : count * bits]
    stream = stream.reshape(*packed.shape[:-1], count, bits).astype(np.int32)
    codes: NDArray[np.int32] = (stream << np.arange(bits, dtype=np.int32)).sum(
        axis=-1, dtype=np.int32
    )
    if signed:
        codes = np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)
    return codes.astype(np.int32)


def pack_activation(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Pack (N=1, C, H, W) or (1, C) codes as they lie in the emitted program's memory.

    Returns:
        Flat bytes, channels-last, one row per pixel.
    """
    pixel_rows = np.moveaxis(codes[0], 0, -1)
    return pack_rows(pixel_rows, bits).reshape(-1)


def unpack_activation(
    packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Inverse of :func:`pack_activation`; returns codes of ``shape``."""
    channels, spatial = shape[1], shape[2:]
    rows = packed.reshape(*spatial, row_bytes(channels, bits))
    codes = unpack_rows(rows, bits, channels, signed=False)
    return np.moveaxis(codes, -1, 0)[None]
