"""Widths asked for by the user: ``w8a8`` and the like, or a scheme file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from qmc.average_widths import average_widths
from qmc.errors import SchemeError
from qmc.formats import WEIGHT_FORMATS, number_format
from qmc.layer import Op
from qmc.network import GivenRange, Network
from qmc.scheme import Scheme
from qmc.scheme_io import scheme_from_data
from qmc.yaml_input import check_data, read_yaml

#: Width of the network's input and, where the operator allows it, of its output: logits of
#: 8 bits tie too often.
INPUT_BITS = 8
OUTPUT_BITS = 16
#: Operators whose output may have more bits than the rest of the network when it is the last.
_WIDE_OUTPUT = frozenset({Op.CONV, Op.DENSE, Op.SOFTMAX, Op.LOOKUP, Op.AVERAGE_POOL})
#: Operators that only select or move codes: the output has the quantization of the input.
TRANSPARENT = frozenset({Op.MAX_POOL, Op.RESHAPE, Op.SLICE})
_PATTERN = re.compile(rf"w([2-8]|{'|'.join(WEIGHT_FORMATS)})a([2-8])")
_AVERAGE = re.compile(r"w([2-7]\.[0-9]{1,3})a([2-8])")
_FORMS = (
    "w8a8, w4a8, ... (2 to 8 bits each), w4.5a8 (4.5 bits on average), a number format of weights "
    f"({', '.join(f'w{name}a8' for name in WEIGHT_FORMATS)}), auto, or a scheme or plan file"
)


@dataclass(frozen=True, slots=True)
class LayerWidths:
    """Bits of a layer's weights and of its output; None takes the default.

    ``format`` names the weights' number format if they are no integers; ``weight`` is its width.
    """

    weight: int | None = None
    activation: int | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of every weight and activation of a network.

    Attributes:
        weight, activation: of layers not listed.
        layers: by layer name.
        format: of the weights of layers not listed; None is integers.
    """

    weight: int = 8
    activation: int = 8
    layers: Mapping[str, LayerWidths] = field(default_factory=dict)
    format: str | None = None

    def weight_format(self, layer: str) -> str | None:
        """Number format of the weights of ``layer``; None is integers."""
        own = self.layers.get(layer, LayerWidths())
        return self.format if own.weight is None else own.format

    def weight_bits(self, layer: str) -> int:
        """Bits of the weights of ``layer``."""
        return self.layers.get(layer, LayerWidths()).weight or self.weight


@dataclass(frozen=True, slots=True)
class Average:
    """Bits per weight over all layers, at most, and the bits of every activation."""

    weight: float
    activation: int


def asked_average(text: str) -> Average | None:
    """What ``w4.5a8`` and the like ask for; None where the text asks for something else."""
    match = _AVERAGE.fullmatch(text)
    return Average(float(match[1]), int(match[2])) if match else None


def widths_of_weights(bits: Mapping[str, int], activation: int) -> Widths:
    """Widths with the weights' bits by layer name, and one width of activations."""
    by_layer = {name: LayerWidths(weight=one) for name, one in bits.items()}
    return Widths(min(bits.values(), default=8), activation, by_layer)


_Bits = Annotated[int, Field(ge=2, le=8, strict=True)]


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    w: int | str | None = None
    a: _Bits | None = None

    @field_validator("w", mode="plain")
    @classmethod
    def _width_or_format(cls, value: Any) -> Any:
        is_width = type(value) is int and 2 <= value <= 8
        if not (is_width or (isinstance(value, str) and value in WEIGHT_FORMATS)):
            raise ValueError(f"allowed: 2 to 8, {', '.join(WEIGHT_FORMATS)}")
        return value


class _WidthsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    default: str = Field("w8a8", pattern=f"^{_PATTERN.pattern}$")
    layers: dict[str, _Layer] = {}

    @field_validator("layers", mode="before")
    @classmethod
    def _expand(cls, layers: Any) -> Any:
        """Write ``name: w4a8`` as ``name: {w: 4, a: 8}``."""
        if not isinstance(layers, dict):
            return layers
        return {name: _expand_pattern(value) for name, value in layers.items()}


def parse_widths(text: str, network: Network) -> Widths | Scheme:
    """What ``--scheme`` asks for.

    Args:
        text: ``w4a8`` and the like, ``w4.5a8`` for an average width of weights, or the path of
            a file: ``default: w8a8`` with ``layers: {name: w4a8}`` or ``{name: {w: 4, a: 8}}``,
            or a saved ``scheme.yaml``.
        network: whose layers the file may name.

    Returns:
        Widths to calibrate for, or the complete scheme of a saved file.

    Raises:
        SchemeError: the text or file is wrong, or names a layer that does not exist.
    """
    match = _PATTERN.fullmatch(text)
    if match:
        bits, name = _weight_width(match[1])
        return Widths(bits, int(match[2]), format=name)
    average = asked_average(text)
    if average is not None:
        return widths_of_weights(average_widths(network, average.weight), average.activation)
    path = Path(text)
    if not path.is_file():
        raise SchemeError(f"scheme: found '{text}'; allowed: {_FORMS}")
    data = read_yaml(path, SchemeError)
    if isinstance(data, dict) and "mappings" in data:
        path = path.with_name("scheme.yaml")  # a plan has its scheme beside it
        if not path.is_file():
            raise SchemeError(f"scheme: '{text}' is a plan; its scheme.yaml is not beside it")
        data = read_yaml(path, SchemeError)
    if isinstance(data, dict) and "tensors" in data:
        return scheme_from_data(data, path, network)
    file = check_data(data, _WidthsFile, path, SchemeError)
    names = [layer.name for layer in network.layers]
    for name in file.layers:
        check_name(path, "layer", name, names)
    default = _PATTERN.fullmatch(file.default)
    assert default is not None
    layers = {name: _layer_widths(layer) for name, layer in file.layers.items()}
    bits, form = _weight_width(default[1])
    return Widths(bits, int(default[2]), layers, form)


def _layer_widths(asked: _Layer) -> LayerWidths:
    if asked.w is None:
        return LayerWidths(None, asked.a)
    bits, name = _weight_width(str(asked.w))
    return LayerWidths(bits, asked.a, name)


def _weight_width(text: str) -> tuple[int, str | None]:
    """Bits, and the number format if it is not integers, of what stands behind a ``w``."""
    return (int(text), None) if text.isdigit() else (number_format(text).bits, text)


def activation_bits(network: Network, widths: Widths) -> dict[str, int]:
    """Bits of every activation tensor.

    A layer's activation width is that of its output. Pools of maxima and reshapes pass their
    input's on; the network's input has 8 bits, its output 16 where the operator allows it, no layer
    reads it and the user did not name the layer; tensors that came quantized keep their width.
    """
    roots, given = shared_quantization(network), shared_given(network)
    bits = {network.input: INPUT_BITS}
    wide = _wide_tensor(network)
    for layer in network.layers:
        asked = widths.layers.get(layer.name, LayerWidths()).activation
        is_wide = asked is None and layer.output == wide and layer.op in _WIDE_OUTPUT
        bits[layer.output] = OUTPUT_BITS if is_wide else asked or widths.activation
    bits |= {name: entry.bits for name, entry in given.items()}
    return {name: bits[roots[name]] for name in network.tensors}


def shared_quantization(network: Network) -> dict[str, str]:
    """For every tensor the one whose quantization it has: itself, or that behind its reshapes."""
    roots = {name: name for name in network.tensors}
    for layer in network.layers:
        if layer.op in TRANSPARENT:
            roots[layer.output] = roots[layer.inputs[0]]
    return roots


def shared_given(network: Network) -> dict[str, GivenRange]:
    """Ranges that came with the model, by the tensor of :func:`shared_quantization`."""
    roots = shared_quantization(network)
    given: dict[str, GivenRange] = {}
    for name in network.tensors:
        if name in network.given_ranges and (name == roots[name] or roots[name] not in given):
            given[roots[name]] = network.given_ranges[name]
    return given


def check_name(path: Path, kind: str, name: str, known: list[str]) -> None:
    """Raise SchemeError, with the nearest known name, unless ``name`` is in ``known``."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        raise SchemeError(f"{path}: no {kind} is called '{name}'{hint}")


def _wide_tensor(network: Network) -> str | None:
    """The output, unless it has the quantization of a tensor that a layer reads.

    What a layer reads has at most 8 bits.
    """
    last = next((layer for layer in network.layers if layer.output == network.output), None)
    is_read = any(network.output in layer.inputs for layer in network.layers)
    return None if last is None or last.op in TRANSPARENT or is_read else network.output


def _expand_pattern(value: Any) -> Any:
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    return {"w": int(match[1]) if match[1].isdigit() else match[1], "a": int(match[2])}
