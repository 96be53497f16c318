"""scheme.yaml: a scheme saved with every scale to the last bit, and read back with suspicion."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from qmc.arithmetic import QuantParams, Rounding
from qmc.errors import SchemeError
from qmc.formats import NumberFormat, WeightFormat
from qmc.network import Network, Parameters
from qmc.packing import pack_rows, row_bytes, unpack_rows
from qmc.scheme import Scheme, WeightScheme
from qmc.yaml_input import check_data, read_yaml

SCHEMA_VERSION = 1
#: Characters of base64 in a line.
_LINE = 88

_Scale = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
_Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Annotated[int, Field(ge=1, le=16, strict=True)]
    scale: _Scale
    zero_point: Annotated[int, Field(ge=0, strict=True)]


class _Weights(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Annotated[int, Field(ge=1, le=8, strict=True)]
    format: WeightFormat | None = None
    scales: list[_Scale]
    bias: list[_Finite] | None = None
    codes: list[str] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1]
    rounding: Rounding = Rounding.HALF_UP
    tensors: dict[str, _Tensor]
    weights: dict[str, _Weights]
    notes: list[str] = []


def scheme_to_text(scheme: Scheme) -> str:
    """The scheme as YAML; the same scheme gives the same bytes."""
    lines = [f"schema_version: {SCHEMA_VERSION}", f"rounding: {scheme.rounding.value}", "tensors:"]
    for name, params in scheme.tensors.items():
        entry = f"bits: {params.bits}, scale: {_number(params.scale)}"
        lines.append(f"  {_text(name)}: {{{entry}, zero_point: {params.zero_point}}}")
    lines.append("weights:" if scheme.weights else "weights: {}")
    for name, weights in scheme.weights.items():
        lines += [f"  {_text(name)}:", f"    bits: {weights.bits}"]
        lines += [] if weights.format is None else [f"    format: {weights.format}"]
        lines += _numbers("scales", weights.scales)
        lines += [] if weights.bias is None else _numbers("bias", weights.bias)
        lines += [] if weights.codes is None else _codes_lines(weights)
    lines.append("notes:" if scheme.notes else "notes: []")
    lines += [f"  - {_text(note)}" for note in scheme.notes]
    return "\n".join(lines) + "\n"


def load_scheme(path: Path, network: Network) -> Scheme:
    """Read a scheme that :func:`scheme_to_text` wrote, for ``network``.

    Raises:
        SchemeError: the file is wrong or belongs to another network.
    """
    return scheme_from_data(read_yaml(path, SchemeError), path, network)


def scheme_from_data(data: Any, path: Path, network: Network) -> Scheme:
    """Check plain data read from ``path`` and make a scheme of it.

    Raises:
        SchemeError: the data is wrong or belongs to another network.
    """
    file = check_data(data, _File, path, SchemeError)
    _check_names(path, "tensor", file.tensors, network.tensors)
    _check_names(path, "layer", file.weights, network.parameters)
    try:
        tensors = {
            name: QuantParams(entry.bits, entry.scale, entry.zero_point)
            for name, entry in file.tensors.items()
        }
    except ValueError as error:
        raise SchemeError(f"{path}: {error}") from None
    weights = {
        name: _weights(path, name, entry, network.parameters[name])
        for name, entry in file.weights.items()
    }
    return Scheme(tensors, weights, file.rounding, tuple(file.notes))


def _weights(path: Path, name: str, entry: _Weights, parameters: Parameters) -> WeightScheme:
    channels = len(parameters.bias)
    for key, values in (("scales", entry.scales), ("bias", entry.bias)):
        if values is not None and len(values) != channels:
            raise SchemeError(
                f"{path}: weights.{name}.{key}: found {len(values)} numbers, the layer has "
                f"{channels} output channels"
            )
    bias = None if entry.bias is None else tuple(entry.bias)
    plain = WeightScheme(entry.bits, tuple(entry.scales), bias, format=entry.format)
    if plain.numbers.bits != entry.bits:
        raise SchemeError(
            f"{path}: weights.{name}: found {entry.bits} bits; {entry.format} has "
            f"{plain.numbers.bits}"
        )
    codes = None
    if entry.codes is not None:
        where = f"{path}: weights.{name}.codes"
        codes = _read_codes(where, "".join(entry.codes), plain.numbers, parameters.weights.size)
    return replace(plain, codes=codes)


def _codes_lines(weights: WeightScheme) -> list[str]:
    """Codes packed at their width, element 0 in the low bits, as lines of base64."""
    assert weights.codes is not None
    codes = np.frombuffer(weights.codes, dtype=np.int8)
    packed = pack_rows(weights.numbers.to_codes(codes), weights.bits)
    text = base64.b64encode(packed.tobytes()).decode("ascii")
    rows = [text[first : first + _LINE] for first in range(0, len(text), _LINE)]
    return ["    codes:", *(f'      - "{row}"' for row in rows)]


def _read_codes(where: str, text: str, numbers: NumberFormat, count: int) -> bytes:
    """Inverse of :func:`_codes_lines` for ``count`` codes."""
    bits = numbers.bits
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except ValueError as error:
        raise SchemeError(f"{where}: not base64: {error}") from None
    if len(packed) != row_bytes(count, bits):
        raise SchemeError(
            f"{where}: found {len(packed)} bytes; {count} weights of {bits} bits take "
            f"{row_bytes(count, bits)}"
        )
    codes = unpack_rows(packed, bits, count, signed=False)
    return numbers.decode(codes).astype(np.int8).tobytes()


def _check_names(path: Path, kind: str, found: Iterable[str], known: Iterable[str]) -> None:
    wrong = sorted(set(found) ^ set(known))
    if wrong:
        state = "is not in the network" if wrong[0] in found else "has no entry"
        raise SchemeError(f"{path}: {kind} '{wrong[0]}' {state}; the scheme is of another network")


def _numbers(key: str, values: Iterable[float]) -> list[str]:
    texts = [_number(value) for value in values]
    rows = [", ".join(texts[first : first + 4]) for first in range(0, len(texts), 4)]
    return [f"    {key}: [", *(f"      {row}," for row in rows), "    ]"]


def _number(value: float) -> str:
    """The shortest text that reads back as the same double; YAML 1.1 wants a point."""
    text = repr(float(value))
    return text if "." in text else text.replace("e", ".0e")


def _text(text: str) -> str:
    return json.dumps(text)  # a JSON string is a YAML string
