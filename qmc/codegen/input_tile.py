"""Which part of the input a MAC kernel unpacks at a time, and how it lies there."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from qmc.codegen.nest import Nest, NestLoop
from qmc.integer import IntegerLayer
from qmc.layer import LoopDim
from qmc.network import Tensor

#: A smaller tile may cost this many times the unpacking of the whole input, halos included.
_MOST_UNPACKING = 4
#: Bytes; between tiles below this size the one unpacked least often wins.
_SMALL_BYTES = 4096
_CHANNEL_DIMS = (LoopDim.G, LoopDim.C)


@dataclass(frozen=True, slots=True)
class InputTile:
    """The unpacked, padded input of the loops inside ``load``.

    Attributes:
        direct: the kernel reads the tensor itself; there is no tile.
        load: temporal loops before this one step over tiles.
        height, width, channels: extents, channels innermost.
        strides: of the loops by variable, in elements; loops outside have none.
    """

    direct: bool
    load: int
    height: int
    width: int
    channels: int
    strides: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """Scratch memory it takes."""
        return 0 if self.direct else self.height * self.width * self.channels


def plan_input(
    integer: IntegerLayer,
    nest: Nest,
    body: tuple[NestLoop, ...],
    vector: tuple[NestLoop, ...],
    source: Tensor,
) -> InputTile:
    """Choose the smallest tile that is not unpacked too often; none where none is needed.

    Args:
        integer: the layer.
        nest: its loops.
        body: the spatial loops in layout order.
        vector: those of them that run innermost.
        source: the input tensor.
    """
    layer = integer.layer
    is_natural = _is_natural(integer, vector)
    if is_natural and not any(layer.pads) and integer.inputs[0].bits == 8:
        height, width = image_size(source)
        channel = {loop.index: channel_step(integer, loop) for loop in nest.loops}
        strides = _strides(integer, nest.loops, width, source.channels, channel)
        return InputTile(True, 0, height, width, source.channels, strides)
    tiles = [_tile(integer, nest, body, is_natural, load) for load in range(len(nest.temporal) + 1)]
    limit = _MOST_UNPACKING * _unpacking(integer, nest, tiles[0], source)
    fitting = [tile for tile in tiles if _unpacking(integer, nest, tile, source) <= limit]
    return min(fitting, key=lambda tile: (max(tile.size_bytes, _SMALL_BYTES), tile.load))


def _is_natural(integer: IntegerLayer, vector: tuple[NestLoop, ...]) -> bool:
    """Whether the vector loops walk through neighbouring channels of the tensor, or none."""
    step = 1
    for loop in reversed(vector):
        if channel_step(integer, loop) not in (0, step):
            return False
        step *= loop.extent
    return True


def channel_step(integer: IntegerLayer, loop: NestLoop) -> int:
    """Channels of the input tensor that one iteration of ``loop`` advances."""
    match loop.dim:
        case LoopDim.G:
            return loop.step * integer.layer.bounds.C
        case LoopDim.C:
            return loop.step
        case _:
            return 0


def pixel_step(integer: IntegerLayer, loop: NestLoop) -> tuple[int, int]:
    """Rows and columns of the input that one iteration of ``loop`` advances."""
    layer = integer.layer
    match loop.dim:
        case LoopDim.P:
            return loop.step * layer.strides[0], 0
        case LoopDim.R:
            return loop.step * layer.dilations[0], 0
        case LoopDim.Q:
            return 0, loop.step * layer.strides[1]
        case LoopDim.S:
            return 0, loop.step * layer.dilations[1]
        case _:
            return 0, 0


def image_size(tensor: Tensor) -> tuple[int, int]:
    """Height and width; a vector is one pixel, a line one row."""
    spatial = tensor.shape[2:]
    width = spatial[-1] if spatial else 1
    return tensor.pixels // width, width


def _tile(
    integer: IntegerLayer, nest: Nest, body: tuple[NestLoop, ...], is_natural: bool, load: int
) -> InputTile:
    inside = nest.temporal[load:] + body
    steps = [(loop.extent - 1, *pixel_step(integer, loop)) for loop in inside]
    height = 1 + sum(last * rows for last, rows, _ in steps)
    width = 1 + sum(last * columns for last, _, columns in steps)
    order = [loop for loop in inside if loop.dim in _CHANNEL_DIMS]
    if is_natural:
        order.sort(key=lambda loop: (loop.dim is LoopDim.C, -loop.step))
    channel: dict[str, int] = {}
    channels = 1
    for loop in reversed(order):
        channel[loop.index] = channels
        channels *= loop.extent
    strides = _strides(integer, inside, width, channels, channel)
    return InputTile(False, load, height, width, channels, strides)


def _strides(
    integer: IntegerLayer,
    loops: tuple[NestLoop, ...],
    width: int,
    channels: int,
    channel: dict[str, int],
) -> dict[str, int]:
    strides = {}
    for loop in loops:
        rows, columns = pixel_step(integer, loop)
        strides[loop.index] = (rows * width + columns) * channels + channel.get(loop.index, 0)
    return strides


def _unpacking(integer: IntegerLayer, nest: Nest, tile: InputTile, source: Tensor) -> int:
    """Elements unpacked over the whole run; below 8 bits always all channels of a pixel."""
    times = prod(loop.extent for loop in nest.temporal[: tile.load])
    channels = tile.channels if integer.inputs[0].bits == 8 else source.channels
    return times * tile.height * tile.width * channels
