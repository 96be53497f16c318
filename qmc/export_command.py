"""``qmc export``: a finished build in the formats of other tools."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from qmc.chosen_network import Chosen, load_chosen
from qmc.data import Use, load_dataset
from qmc.encodings import encodings_text
from qmc.errors import OutputError, QmcError
from qmc.integer import IntegerNetwork
from qmc.layer import ACCUMULATOR_BITS, Layer, Precision
from qmc.plain_qdq import plain_difference, to_plain_qdq
from qmc.plan import load_io
from qmc.qdq_export import to_qdq
from qmc.qdq_layers import WEIGHT_TYPES, stored_bits
from qmc.qonnx_export import to_qonnx
from qmc.sample_inputs import sample_codes
from qmc.timeloop_export import timeloop_text
from qmc.zigzag_export import mapping_text, workload_text


class ExportFormat(StrEnum):
    """What ``--format`` may be."""

    QDQ = "qdq"
    QONNX = "qonnx"
    ENCODINGS = "encodings"
    TIMELOOP = "timeloop"
    ZIGZAG = "zigzag"


#: Inputs of the comparison where no images are given.
_SAMPLES = 16


def export_build(
    build: Path,
    file_format: str,
    output: Path,
    model: Path | None = None,
    plain: bool = False,
    calib: Path | None = None,
) -> dict[str, Any]:
    """Write ``build`` in another format.

    Args:
        build: folder made by ``qmc compile``, or its ``plan.yaml``.
        file_format: a value of :class:`ExportFormat`.
        output: a file; for ``timeloop`` and ``zigzag`` a folder, made if it is not there.
        model: the model, where the build lacks its network.
        plain: of ``qdq``: standard operators only.
        calib: with ``plain``: images on which its codes are compared with those of the C; None
            takes seeded random inputs.

    Returns:
        ``format``, ``files`` and ``notes``; with ``plain`` also ``difference``, the fields of
        :class:`qmc.plain_qdq.Difference`.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    if file_format not in list(ExportFormat):
        allowed = ", ".join(ExportFormat)
        raise QmcError(f"--format: found {file_format!r}; allowed: {allowed}")
    if plain and file_format != ExportFormat.QDQ:
        raise QmcError(f"--plain: found --format {file_format}; allowed: --format qdq")
    if calib is not None and not plain:
        raise QmcError("--calib: belongs to --plain, which is not given")
    chosen = load_chosen(build, model)
    if plain:
        return _export_plain(chosen, output, calib)
    files, notes = _WRITERS[ExportFormat(file_format)](chosen)
    if "" in files:
        write_whole(output, files[""])
        written = [str(output)]
    else:
        written = [str(write_whole(output / name, content)) for name, content in files.items()]
    return {"format": file_format, "files": written, "notes": notes}


def _export_plain(chosen: Chosen, output: Path, calib: Path | None) -> dict[str, Any]:
    integer = chosen.integer
    inputs = _inputs(chosen, calib)
    model = to_plain_qdq(to_qdq(chosen.network, chosen.scheme, integer))
    difference = plain_difference(model, integer, inputs)
    opset = next(entry.version for entry in model.opset_import)
    of = "random inputs" if calib is None else str(calib)
    notes = [f"opset {opset}, standard operators only", f"{of}: {difference}", *_in_bytes(integer)]
    write_whole(output, model.SerializeToString(deterministic=True))
    files = [str(output)]
    return {"format": "qdq", "files": files, "notes": notes, "difference": asdict(difference)}


def _inputs(chosen: Chosen, calib: Path | None) -> NDArray[np.float32]:
    integer = chosen.integer
    if calib is None:
        source = integer.quantization[integer.input]
        return source.dequantize(sample_codes(integer, None, _SAMPLES, seed=0))
    shape = integer.tensors[integer.input].shape
    images = load_dataset(calib, Use.CALIB, shape, load_io(chosen.folder).preprocess)
    return images.inputs(range(len(images)))


def _in_bytes(integer: IntegerNetwork) -> list[str]:
    """What is told of weights whose width no type of ONNX has."""
    widths = [stored_bits(layer) for layer in integer.layers if layer.weights is not None]
    odd = [bits for bits in widths if bits not in WEIGHT_TYPES]
    if not odd:
        return []
    told = ", ".join(str(bits) for bits in sorted(set(odd)))
    return [f"weights of {told} bits lie in int8, a Clip says their range: {len(odd)} layers"]


def print_export(data: dict[str, Any], console: Console) -> None:
    """The files and what to know of them."""
    for file in data["files"]:
        console.print(Text(file), soft_wrap=True)
    for note in data["notes"]:
        console.print(Text(f"  {note}"), soft_wrap=True)


Written = tuple[dict[str, bytes], list[str]]


def _qdq(chosen: Chosen) -> Written:
    model = to_qdq(chosen.network, chosen.scheme, chosen.integer)
    return {"": model.SerializeToString(deterministic=True)}, []


def _qonnx(chosen: Chosen) -> Written:
    model = to_qonnx(to_qdq(chosen.network, chosen.scheme, chosen.integer))
    note = "QONNX computes in float32: a code may differ where a sum lies on a rounding edge"
    return {"": model.SerializeToString(deterministic=True)}, [note]


def _encodings(chosen: Chosen) -> Written:
    fitted = [name for name, weights in chosen.scheme.weights.items() if weights.codes is not None]
    notes = [f"fitted integers of {', '.join(fitted)} are not in it: nearest ones differ"]
    text = encodings_text(chosen.network, chosen.scheme)
    return {"": text.encode()}, notes if fitted else []


def _timeloop(chosen: Chosen) -> Written:
    files, notes = {}, []
    for index, layer in enumerate(chosen.network.layers):
        mapping = chosen.mappings.get(layer.name)
        if not layer.has_weights or mapping is None:
            notes.append(f"layer '{layer.name}' ({layer.op}) has no mapping")
            continue
        if _is_cut(chosen, layer):
            notes.append(f"layer '{layer.name}' {_CUT}: left out")
            continue
        safe = re.sub(r"[^0-9A-Za-z_.-]+", "_", layer.name).lstrip(".")[:60]
        text = timeloop_text(layer, _precision(chosen, layer), mapping)
        files[f"{index:03d}_{safe}.yaml"] = text.encode()
    return files, notes


def _zigzag(chosen: Chosen) -> Written:
    layers = [layer for layer in chosen.network.layers if layer.has_weights]
    work = [(layer, _precision(chosen, layer)) for layer in layers]
    even = {one.name for one in layers if not _is_cut(chosen, one)}
    mappings = {name: mapping for name, mapping in chosen.mappings.items() if name in even}
    files = {
        "workload.yaml": workload_text(work, _weighted_sources(chosen)).encode(),
        "mapping.yaml": mapping_text(layers, mappings).encode(),
    }
    missing = [one for one in chosen.network.layers if not one.has_weights]
    notes = [f"layer '{one.name}' ({one.op}) is not in the workload" for one in missing]
    cut = [one.name for one in layers if one.name not in even]
    return files, [*notes, *(f"layer '{name}' {_CUT}: its mapping is left out" for name in cut)]


#: What is said of mappings that have no form in the files of other tools.
_CUT = "has loops that do not divide their bounds"


def _is_cut(chosen: Chosen, layer: Layer) -> bool:
    mapping = chosen.mappings.get(layer.name)
    return mapping is not None and mapping.is_cut(layer.bounds)


_WRITERS: dict[ExportFormat, Callable[[Chosen], Written]] = {
    ExportFormat.QDQ: _qdq,
    ExportFormat.QONNX: _qonnx,
    ExportFormat.ENCODINGS: _encodings,
    ExportFormat.TIMELOOP: _timeloop,
    ExportFormat.ZIGZAG: _zigzag,
}


def _precision(chosen: Chosen, layer: Layer) -> Precision:
    tensors = chosen.scheme.tensors
    return Precision(
        chosen.scheme.weights[layer.name].bits,
        tensors[layer.inputs[0]].bits,
        tensors[layer.output].bits,
        ACCUMULATOR_BITS,
    )


def _weighted_sources(chosen: Chosen) -> dict[str, str]:
    """By layer, the layer with weights that its first input comes from."""
    origins: dict[str, str] = {}  # by tensor
    sources: dict[str, str] = {}
    for layer in chosen.network.layers:
        origin = origins.get(layer.inputs[0], "")
        sources[layer.name] = origin
        origins[layer.output] = layer.name if layer.has_weights else origin
    return sources


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written: {reason}") from None
    return path
