"""From an 8-bit image to the network's input: colour, resize, central crop, mean and scale."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from qmc.errors import DataError
from qmc.yaml_input import check_data, read_yaml

#: Larger images are refused before they are decoded.
MAX_PIXELS = 64 << 20


class Color(StrEnum):
    """Channels of the network's input."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"  # one channel
    GRAY3 = "gray3"  # one grey channel, three times


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Input = (x - mean) / std with x the pixels, 0 to 255. The default is the raw pixels.

    Attributes:
        color: order of the channels.
        resize: (height, width), bicubic, before the crop; None keeps the size.
        crop: central (height, width), offset = floor((size - crop) / 2); None keeps all.
        mean, std: one for all channels or one per channel.
    """

    color: Color = Color.RGB
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def to_data(self) -> dict[str, Any]:
        """Plain data, as a preprocess file would have it."""
        data = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return data | {"color": self.color.value}


_Extent = Annotated[int, Field(ge=1, le=1 << 15)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _PreprocessFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    color: Color = Color.RGB
    resize: tuple[_Extent, _Extent] | None = None
    crop: tuple[_Extent, _Extent] | None = None
    mean: list[_Finite] = Field(default=[0.0], min_length=1, max_length=4)
    std: list[Annotated[_Finite, Field(gt=0)]] = Field(default=[1.0], min_length=1, max_length=4)


def load_preprocess(model: Path, override: Path | None = None) -> Preprocess | None:
    """Preprocessing of a model.

    Args:
        model: the ONNX file; ``<model>.preprocess.yaml`` beside it is taken if it exists.
        override: a file to take instead.

    Returns:
        The preprocessing, or None when there is no file.

    Raises:
        DataError: the file is wrong.
    """
    path = override or model.with_suffix(".preprocess.yaml")
    if override is None and not path.is_file():
        return None
    file = check_data(read_yaml(path, DataError), _PreprocessFile, path, DataError)
    return Preprocess(file.color, file.resize, file.crop, tuple(file.mean), tuple(file.std))


def open_image(path: Path) -> Image.Image:
    """Open an image file without decoding it.

    Raises:
        DataError: it is not an image, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{path}: {image.height}x{image.width} pixels; at most {MAX_PIXELS} pixels")
    return image


def image_to_input(
    image: Image.Image, preprocess: Preprocess, shape: tuple[int, ...], name: str
) -> NDArray[np.float32]:
    """Preprocess one image.

    Args:
        image: any mode Pillow can convert.
        preprocess: what to do.
        shape: (C, H, W) of the network's input.
        name: of the image, for messages.

    Returns:
        (C, H, W) float32.

    Raises:
        DataError: the image cannot be decoded, or does not come out in ``shape``.
    """
    check_size(image.size, preprocess, shape, name)
    pixels = _crop(_decode(image, preprocess, name), preprocess.crop).astype(np.float32)
    if preprocess.color is Color.BGR:
        pixels = pixels[..., ::-1]
    if preprocess.color is Color.GRAY3:
        pixels = np.repeat(pixels, 3, axis=-1)
    mean = np.array(preprocess.mean, dtype=np.float32)
    std = np.array(preprocess.std, dtype=np.float32)
    scaled: NDArray[np.float32] = ((pixels - mean) / std).astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def check_size(
    size: tuple[int, int], preprocess: Preprocess, shape: tuple[int, ...], name: str
) -> None:
    """Check that an image of ``size`` (width, height) becomes an input of ``shape``.

    Raises:
        DataError: it does not.
    """
    height, width = preprocess.resize or (size[1], size[0])
    if preprocess.crop is not None:
        if preprocess.crop[0] > height or preprocess.crop[1] > width:
            crop = "x".join(map(str, preprocess.crop))
            raise DataError(f"{name}: image is {height}x{width}, smaller than the crop {crop}")
        height, width = preprocess.crop
    channels = 1 if preprocess.color is Color.GRAY else 3
    if (channels, height, width) != tuple(shape):
        found = f"{channels}x{height}x{width}"
        raise DataError(
            f"{name}: wrong shape: preprocessing gives {found} (channels x height x width), "
            f"the network takes {'x'.join(map(str, shape))}"
        )
    for values in (preprocess.mean, preprocess.std):
        if len(values) not in (1, channels):
            raise DataError(
                f"preprocessing: found {len(values)} means or stds, 1 or {channels} fit"
            )


def _decode(image: Image.Image, preprocess: Preprocess, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W, 1) pixels after the resize."""
    mode = "L" if preprocess.color in (Color.GRAY, Color.GRAY3) else "RGB"
    try:
        image = image.convert(mode)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{name}: cannot be read as an image: {error}") from None
    if preprocess.resize is not None:
        height, width = preprocess.resize
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, -1)


def _crop(pixels: NDArray[np.uint8], crop: tuple[int, int] | None) -> NDArray[np.uint8]:
    if crop is None:
        return pixels
    top, left = (pixels.shape[0] - crop[0]) // 2, (pixels.shape[1] - crop[1]) // 2
    return pixels[top : top + crop[0], left : left + crop[1]]
