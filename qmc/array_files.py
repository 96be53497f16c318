"""Reading ``.npy`` and ``.npz`` files that nobody vouches for: no pickles, no zip bombs."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from qmc.errors import DataError

#: Largest array that is read into memory.
MAX_ARRAY_BYTES = 4 << 30
#: Above this size an array that is packed more than _MAX_RATIO times is taken for a bomb.
_SMALL_BYTES = 64 << 20
_MAX_RATIO = 100

Array = NDArray[np.generic]


def read_npy(path: Path) -> Array:
    """An ``.npy`` file, mapped into memory and read as it is used.

    Raises:
        DataError: it is not one, or holds Python objects.
    """
    try:
        return npy_format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as .npy: {error}") from None


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """Those of the arrays called ``names`` that an ``.npz`` file has.

    Raises:
        DataError: the file is damaged, or an array is too large or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            present = [name for name in names if f"{name}.npy" in archive.namelist()]
            return {name: _read_member(path, archive, name) for name in present}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from None
    except (ValueError, SyntaxError, RuntimeError) as error:
        raise DataError(f"{path}: an array cannot be read: {error}") from None


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> Array:
    info = archive.getinfo(f"{name}.npy")
    packed = max(info.compress_size, 1)
    bomb = info.file_size > _SMALL_BYTES and info.file_size > _MAX_RATIO * packed
    if info.file_size > MAX_ARRAY_BYTES or bomb:
        raise DataError(
            f"{path}: array '{name}' unpacks to {info.file_size} bytes from {packed}; refused"
        )
    with archive.open(info) as file:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0
        if version != (1, 0):
            read = npy_format.read_array_header_2_0
        shape, _, dtype = read(file)
        needed = dtype.itemsize
        for extent in shape:
            needed *= extent  # Python integers: no overflow
        if dtype.hasobject or needed > info.file_size:
            raise DataError(
                f"{path}: array '{name}' declares {needed} bytes of {dtype}, the file holds "
                f"{info.file_size}; Python objects are not allowed"
            )
    with archive.open(info) as file:
        array: Array = npy_format.read_array(file, allow_pickle=False)
    return array
