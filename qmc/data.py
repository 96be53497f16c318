"""Images for calibration and evaluation: a folder, an ``.npz`` or an ``.npy`` file.

A folder with ``labels.csv`` (columns ``file``, ``label``; files relative to the folder or in its
``images/``), a plain folder of images (calibration only), an ``.npz`` with ``images`` (uint8
N x H x W x C or N x H x W, or float N x C x H x W) and ``labels``, or an ``.npy`` like ``images``.
A column or array ``part`` selects the rows ``calib``, ``train`` or ``eval``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qmc.array_files import Array, read_npy, read_npz
from qmc.errors import DataError
from qmc.preprocess import Preprocess, check_size, image_to_input, load_preprocess, open_image

__all__ = ["Dataset", "Preprocess", "Use", "load_dataset", "load_preprocess"]

FloatArray = NDArray[np.float32]
Labels = NDArray[np.int64]

_IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_MAX_CSV_BYTES = 64 << 20


class Use(StrEnum):
    """What the images are for; also the value of ``part`` that selects them."""

    CALIB = "calib"
    TRAIN = "train"
    EVAL = "eval"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Network inputs that are loaded when asked for.

    Attributes:
        path: where they come from.
        shape: of one input, (C, H, W) or (C,).
        size: how many there are.
        labels: (size,) class numbers, or None.
        load: the input of an index, float32 of ``shape``.
    """

    path: Path
    shape: tuple[int, ...]
    size: int
    labels: Labels | None
    load: Callable[[int], FloatArray]

    def __len__(self) -> int:
        return self.size

    def inputs(self, indices: Sequence[int]) -> FloatArray:
        """Inputs of ``indices``, stacked: (n, C, H, W).

        Raises:
            DataError: an image cannot be read.
        """
        return np.stack([self.load(index) for index in indices])

    def batches(self, size: int = 32) -> Iterator[FloatArray]:
        """All inputs in order, at most ``size`` at a time."""
        for first in range(0, self.size, size):
            yield self.inputs(range(first, min(first + size, self.size)))


def load_dataset(
    path: Path,
    use: Use,
    shape: tuple[int, ...],
    preprocess: Preprocess | None = None,
    limit: int | None = None,
) -> Dataset:
    """Open a data set; image headers and sizes are checked, pixels are read later.

    Args:
        path: folder, ``.npz`` or ``.npy``.
        use: what for; evaluation needs labels, training takes them where they are.
        shape: of the network's input tensor, (1, C, H, W) or (1, C).
        preprocess: for 8-bit images; None takes the raw pixels.
        limit: keep only the first so many.

    Raises:
        DataError: the data cannot be used; says which file and why.
    """
    preprocess = preprocess or Preprocess()
    if path.is_dir():
        files, labels = _folder(path, use)
        files, labels = files[:limit], labels if labels is None else labels[:limit]
        _check_files(files, preprocess, shape[1:])
        load = partial(_load_file, files, preprocess, shape[1:])
        return Dataset(path, shape[1:], len(files), labels, load)
    images, labels = _arrays(path, use)
    images, labels = images[:limit], labels if labels is None else labels[:limit]
    return _array_dataset(path, images, labels, preprocess, shape[1:])


def _folder(path: Path, use: Use) -> tuple[tuple[Path, ...], Labels | None]:
    table = path / "labels.csv"
    if table.is_file():
        return _labelled_files(table, use)
    if use is Use.EVAL:
        raise DataError(f"{path}: no labels.csv; evaluation needs labels (columns file,label)")
    found = (file for file in path.rglob("*") if file.suffix.lower() in _IMAGE_SUFFIXES)
    files = tuple(sorted((file for file in found if file.is_file()), key=Path.as_posix))
    if not files:
        kinds = " ".join(sorted(_IMAGE_SUFFIXES))
        raise DataError(f"{path}: no image found; looked for {kinds}")
    return files, None


def _labelled_files(table: Path, use: Use) -> tuple[tuple[Path, ...], Labels | None]:
    rows = _rows(table)
    if not rows or "file" not in rows[0]:
        raise DataError(f"{table}: no rows, or no column 'file'")
    if "part" in rows[0]:
        parts = sorted({str(row["part"]) for row in rows})
        rows = [row for row in rows if row["part"] == use.value]
        if not rows:
            raise DataError(f"{table}: no row has part '{use}'; found {', '.join(parts)}")
    files = tuple(_find_file(table, str(row["file"])) for row in rows)
    if use is Use.CALIB:
        return files, None
    return files, np.array([_label(table, row) for row in rows], dtype=np.int64)


def _rows(table: Path) -> list[dict[str, str | None]]:
    if table.stat().st_size > _MAX_CSV_BYTES:
        raise DataError(f"{table}: larger than {_MAX_CSV_BYTES >> 20} MiB")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as CSV: {error}") from None


def _find_file(table: Path, name: str) -> Path:
    folder = table.parent.resolve()
    for candidate in (folder / name, folder / "images" / name):
        if "\0" in name or not candidate.resolve().is_relative_to(folder):
            raise DataError(f"{table}: file {name!r} lies outside the folder")
        if candidate.is_file():
            return candidate
    raise DataError(f"{table}: file '{name}' is neither in the folder nor in its images/")


def _label(table: Path, row: dict[str, str | None]) -> int:
    text = (row.get("label") or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise DataError(
            f"{table}: file '{row['file']}': label missing or not a class number: found '{text}'"
        )
    return int(text)


def _check_files(files: tuple[Path, ...], preprocess: Preprocess, shape: tuple[int, ...]) -> None:
    for file in files:
        with open_image(file) as image:
            check_size(image.size, preprocess, shape, str(file))


def _load_file(
    files: tuple[Path, ...], preprocess: Preprocess, shape: tuple[int, ...], index: int
) -> FloatArray:
    with open_image(files[index]) as image:
        return image_to_input(image, preprocess, shape, str(files[index]))


def _arrays(path: Path, use: Use) -> tuple[Array, Labels | None]:
    """Images and labels of the rows of this use."""
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix == ".npy":
        arrays = {"images": read_npy(path)}
    elif path.suffix == ".npz":
        arrays = read_npz(path, ("images", "labels", "part"))
    else:
        raise DataError(f"{path}: found '{path.suffix}'; allowed: a folder, .npz, .npy")
    if "images" not in arrays or arrays["images"].ndim < 2:
        raise DataError(f"{path}: no array 'images' of at least two dimensions")
    count = len(arrays["images"])
    for name, array in arrays.items():
        if array.shape[:1] != (count,) or (name != "images" and array.ndim != 1):
            raise DataError(f"{path}: '{name}' has shape {array.shape}, expected ({count},)")
    if "part" in arrays:
        arrays = _select_part(path, arrays, use)
    if len(arrays["images"]) == 0:
        raise DataError(f"{path}: no image")
    wanted = use is Use.EVAL or (use is Use.TRAIN and "labels" in arrays)
    labels = _label_array(path, arrays.get("labels")) if wanted else None
    return arrays["images"], labels


def _select_part(path: Path, arrays: dict[str, Array], use: Use) -> dict[str, Array]:
    parts = arrays["part"].astype(str)
    rows = np.flatnonzero(parts == use.value)
    if not len(rows):
        found = ", ".join(sorted(set(parts.tolist()))[:5])
        raise DataError(f"{path}: no row has part '{use}'; found {found}")
    return {name: array[rows] for name, array in arrays.items()}


def _label_array(path: Path, labels: Array | None) -> Labels:
    if labels is None:
        raise DataError(f"{path}: no array 'labels'; evaluation needs labels")
    if labels.dtype.kind not in "iu" or int(labels.min()) < 0:
        raise DataError(f"{path}: 'labels' must be class numbers, found {labels.dtype}")
    return labels.astype(np.int64)


def _array_dataset(
    path: Path,
    images: Array,
    labels: Labels | None,
    preprocess: Preprocess,
    shape: tuple[int, ...],
) -> Dataset:
    if images.dtype == np.uint8:
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
            raise DataError(
                f"{path}: uint8 images have shape {images.shape}; "
                "allowed: N x H x W x C with C 1 or 3, or N x H x W"
            )
        check_size((images.shape[2], images.shape[1]), preprocess, shape, str(path))
        load = partial(_load_pixels, path, images, preprocess, shape)
        return Dataset(path, shape, len(images), labels, load)
    if images.ndim == 3 and len(shape) == 3 and shape[1] == 1:
        images = images[:, :, None]  # signals (N, C, L) are images of height 1
    if images.dtype.kind != "f" or images.shape[1:] != shape:
        wanted = " x ".join(map(str, shape))
        raise DataError(
            f"{path}: wrong shape or type: found {images.dtype} {images.shape}, the network takes "
            f"float N x {wanted}"
        )
    return Dataset(path, shape, len(images), labels, partial(_load_floats, path, images))


def _load_pixels(
    path: Path, images: Array, preprocess: Preprocess, shape: tuple[int, ...], index: int
) -> FloatArray:
    pixels = np.asarray(images[index])
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    return image_to_input(image, preprocess, shape, f"{path}: image {index}")


def _load_floats(path: Path, images: Array, index: int) -> FloatArray:
    values = np.asarray(images[index]).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: input {index} has values that are not finite")
    return values
