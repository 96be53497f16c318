"""AIMET's encodings JSON: scales, offsets and widths of tensors, beside a float model.

Written in version 1.0.0, which AIMET 2 writes by default; read in 0.6.1, 1.0.0, 2.0.0 and 2.1.0.
An entry says real = scale * (code + offset), codes unsigned; version 2 has ONNX's zero point
instead. Source: aimet-onnx 2.42, ``_encoding.py`` and ``quantsim.py``.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import qmc
from qmc.arithmetic import QuantParams
from qmc.errors import SchemeError
from qmc.network import GivenRange, GivenWeights, Network, Parameters
from qmc.scheme import Scheme

VERSION = "1.0.0"
_READ = ("0.6.1", "1.0.0", "2.0.0", "2.1.0")
_MAX_BYTES = 64 << 20
_DTYPE = re.compile(r"(u?)int(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the file says of one tensor: real = scale * (code - zero), codes 0 to 2^bits - 1.

    Attributes:
        scales, zeros: one, or one per channel.
    """

    name: str
    bits: int
    scales: tuple[float, ...]
    zeros: tuple[int, ...]


def encodings_text(network: Network, scheme: Scheme) -> str:
    """The scheme as encodings; weights are called ``<layer>.weight``."""
    activations = [
        _entry(name, params.bits, (params.scale,), -params.zero_point, "PER_TENSOR", False)
        for name, params in scheme.tensors.items()
    ]
    weights = [
        _entry(
            f"{layer.name}.weight",
            scheme.weights[layer.name].bits,
            scheme.weights[layer.name].scales,
            -(1 << (scheme.weights[layer.name].bits - 1)),
            "PER_CHANNEL",
            True,
        )
        for layer in network.layers
        if layer.has_weights
    ]
    data = {
        "producer": {"package": "qmc", "version": qmc.__version__},
        "version": VERSION,
        "activation_encodings": activations,
        "param_encodings": weights,
        "excluded_layers": [],
        "quantizer_args": {"is_symmetric": True, "per_channel_quantization": True},
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _entry(
    name: str, bits: int, scales: Iterable[float], offset: int, kind: str, symmetric: bool
) -> dict[str, Any]:
    values = [float(scale) for scale in scales]
    return {
        "name": name,
        "dtype": "INT",
        "enc_type": kind,
        "bw": bits,
        "is_sym": symmetric,
        "scale": values,
        "offset": [offset] * len(values),
    }


def read_encodings(path: Path) -> tuple[Encoding, ...]:
    """Read a file; entries of floats and of 32-bit biases are left out.

    Raises:
        SchemeError: it is no encodings file, or an entry is none of integers by tensor or channel.
    """
    data = _json(path)
    version = data.get("version") if isinstance(data, dict) else None
    if version not in _READ:
        raise SchemeError(f"{path}: version: found {version!r:.40}; allowed: {', '.join(_READ)}")
    found = []
    for name, entry in _entries(path, data, str(version)):
        encoding = _read_entry(path, name, entry)
        if encoding is not None:
            found.append(encoding)
    return tuple(found)


def _json(path: Path) -> Any:
    def refuse(text: str) -> float:
        raise ValueError(f"{text} is no number")

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SchemeError(f"{path}: larger than {_MAX_BYTES >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise SchemeError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise SchemeError(f"{path}: not JSON: {error}") from None


def _entries(path: Path, data: Mapping[str, Any], version: str) -> list[tuple[str, Any]]:
    sections = ["encodings"] if version >= "2" else ["activation_encodings", "param_encodings"]
    entries: list[tuple[str, Any]] = []
    for section in sections:
        value = data.get(section, [])
        if version == "0.6.1" and isinstance(value, dict):
            entries += value.items()
        elif version != "0.6.1" and isinstance(value, list):
            for entry in value:
                name = entry.get("name") if isinstance(entry, dict) else None
                if not isinstance(name, str):
                    raise SchemeError(f"{path}: {section}: found {entry!r:.60}; allowed: a name")
                entries.append((name, entry))
        else:
            kind = "an object" if version == "0.6.1" else "a list"
            raise SchemeError(f"{path}: {section}: found {value!r:.60}; allowed: {kind}")
    return entries


def _read_entry(path: Path, name: str, entry: Any) -> Encoding | None:
    where = f"{path}: '{name}'"
    if isinstance(entry, list):  # 0.6.1: one object for every channel
        if not entry or not all(isinstance(one, dict) for one in entry):
            raise SchemeError(f"{where}: found {entry!r:.60}; allowed: a list of objects")
        first = entry[0]
        entry = {
            "dtype": first.get("dtype", "int"),
            "bw": first.get("bitwidth"),
            "scale": [one.get("scale") for one in entry],
            "offset": [one.get("offset") for one in entry],
        }
    if not isinstance(entry, dict):
        raise SchemeError(f"{where}: found {entry!r:.60}; allowed: an object")
    if "output_dtype" in entry:
        return _version_2(where, name, entry)
    if str(entry.get("dtype", "")).upper() != "INT":
        return None
    if entry.get("enc_type", "PER_TENSOR") not in ("PER_TENSOR", "PER_CHANNEL"):
        kind = f"{entry['enc_type']!r:.40}"
        raise SchemeError(f"{where}: enc_type: found {kind}; allowed: PER_TENSOR, PER_CHANNEL")
    if "zero_point_shift" in entry:
        raise SchemeError(f"{where}: zero_point_shift: found one; allowed: none")
    return _encoding(where, name, entry.get("bw"), entry.get("scale"), entry.get("offset"), -1, 0)


def _version_2(where: str, name: str, entry: Mapping[str, Any]) -> Encoding | None:
    dtype = entry["output_dtype"]
    match = _DTYPE.fullmatch(dtype) if isinstance(dtype, str) else None
    if match is None:
        return None
    if "y_scale" not in entry or "block_size" in entry:
        raise SchemeError(f"{where}: allowed: y_scale of the tensor or by channel, no blocks")
    bits = int(match[2])
    shift = 0 if match[1] else 1 << max(bits - 1, 0)
    return _encoding(where, name, bits, entry["y_scale"], entry.get("y_zero_point", 0), 1, shift)


def _encoding(
    where: str, name: str, bits: Any, scale: Any, offset: Any, sign: int, shift: int
) -> Encoding | None:
    """Check numbers; zero = sign * offset + shift."""
    scales, offsets = _numbers(where, "scale", scale), _numbers(where, "offset", offset)
    if len(offsets) == 1:
        offsets *= len(scales)
    if not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits <= 32:
        raise SchemeError(f"{where}: bit width: found {bits!r:.20}; allowed: 1 to 32")
    if bits > 16:
        return None  # a bias, whose scale follows from weights and input
    if len(offsets) != len(scales) or not all(value > 0 for value in scales):
        raise SchemeError(f"{where}: allowed: positive scales, and as many offsets")
    zeros = [sign * value + shift for value in offsets]
    if any(zero != round(zero) or abs(zero) > 1 << 16 for zero in zeros):
        raise SchemeError(f"{where}: offset: found {offsets[0]!r:.20}; allowed: whole numbers")
    return Encoding(name, bits, tuple(scales), tuple(int(zero) for zero in zeros))


def _numbers(where: str, key: str, value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    is_number = [isinstance(v, int | float) and not isinstance(v, bool) for v in values]
    if not values or not all(is_number) or not all(abs(v) < 1e30 for v in values):
        raise SchemeError(f"{where}: {key}: found {value!r:.40}; allowed: numbers")
    floats = [float(v) for v in values]
    if not all(math.isfinite(v) for v in floats):
        raise SchemeError(f"{where}: {key}: found {value!r:.40}; allowed: finite numbers")
    return floats


def apply_encodings(
    network: Network,
    encodings: Iterable[Encoding],
    weight_names: Mapping[str, str],
    known: Iterable[str],
    path: Path,
) -> Network:
    """Give ``network`` the quantization of a file, as if it had arrived with it.

    Args:
        network: float.
        encodings: of the file.
        weight_names: name of the weights in the model by ONNX node.
        known: every value of the model; those that no layer writes are skipped.
        path: the file, for messages.

    Raises:
        SchemeError: a name is unknown, or an entry does not fit its tensor.
    """
    layers = {layer.name: layer for layer in network.layers if layer.has_weights}
    by_weight = {f"{name}.weight": name for name in layers}
    for name, layer in layers.items():
        by_weight |= {weight_names[n]: name for n in layer.source if n in weight_names}
    ranges = dict(network.given_ranges)
    parameters = dict(network.parameters)
    names = set(known) | set(network.tensors) | set(by_weight)
    for encoding in encodings:
        if encoding.name in by_weight:
            layer_name = by_weight[encoding.name]
            parameters[layer_name] = _with_codes(parameters[layer_name], encoding, path)
        elif encoding.name in network.tensors:
            ranges[encoding.name] = _range(encoding, path)
        elif encoding.name not in names:
            near = difflib.get_close_matches(encoding.name, sorted(names), n=1, cutoff=0.0)
            hint = f"; the nearest is '{near[0]}'" if near else ""
            raise SchemeError(f"{path}: the model has no tensor '{encoding.name}'{hint}")
    return replace(network, given_ranges=ranges, parameters=parameters)


def _range(encoding: Encoding, path: Path) -> GivenRange:
    if len(encoding.scales) != 1:
        raise SchemeError(f"{path}: '{encoding.name}': activations have one scale per tensor")
    entry = GivenRange(encoding.bits, encoding.scales[0], encoding.zeros[0])
    try:
        QuantParams(entry.bits, entry.scale, entry.zero_point)
    except ValueError as error:
        raise SchemeError(f"{path}: '{encoding.name}': {error}") from None
    return entry


def _with_codes(own: Parameters, encoding: Encoding, path: Path) -> Parameters:
    """Nearest codes of the weights at the given scales, halves to even."""
    count, where = len(own.weights), f"{path}: '{encoding.name}'"
    if len(encoding.scales) not in (1, count) or not 2 <= encoding.bits <= 8:
        rule = f"allowed: 2 to 8 bits, 1 or {count} scales"
        raise SchemeError(f"{where}: {encoding.bits} bits, {len(encoding.scales)} scales; {rule}")
    scales = np.broadcast_to(np.array(encoding.scales), (count,)).astype(np.float64)
    zeros = np.broadcast_to(np.array(encoding.zeros), (count,))[:, None, None, None]
    ratio = own.weights.astype(np.float64) / scales[:, None, None, None]
    codes = np.clip(np.rint(ratio) + zeros, 0, (1 << encoding.bits) - 1) - zeros
    if codes.min() < -128 or codes.max() > 127:
        raise SchemeError(f"{where}: codes less the zero point leave -128..127 (symmetric)")
    low, high = int(codes.min()), int(codes.max())
    needed = next(b for b in range(2, 9) if -(1 << (b - 1)) <= low and high < 1 << (b - 1))
    given = GivenWeights(codes.astype(np.int8), scales, max(encoding.bits, needed))
    shape = scales[:, None, None, None]
    return replace(own, weights=(given.codes * shape).astype(np.float32), given=given)
