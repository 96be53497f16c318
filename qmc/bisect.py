"""``qmc verify --bisect``: the first layer where things part.

Twice: where the emitted C and the integer reference differ in a bit, and where the integer network
and the float network differ by more than a stated SQNR.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qmc.errors import DataError
from qmc.golden_index import golden_vector, load_index
from qmc.packing import unpack_activation
from qmc.plan import file_sha256, load_plan, load_report
from qmc.verify import layer_traces, traced_program

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

#: Below this a layer's output is more noise than most networks bear; --sqnr sets another.
DEFAULT_SQNR_DB = 10.0


@dataclass(frozen=True, slots=True)
class Difference:
    """The first layer whose codes differ between the C and the reference.

    Attributes:
        index, name, op: of the layer.
        case: golden input.
        elements, differing: of its output tensor.
        first_element: index of the first that differs, as in the ONNX tensor.
        got, expected: its codes.
        largest: largest difference of codes.
        inputs_equal: whether everything the layer reads is equal: then the fault is its own.
    """

    index: int
    name: str
    op: str
    case: int
    elements: int
    differing: int
    first_element: tuple[int, ...]
    got: int
    expected: int
    largest: int
    inputs_equal: bool


def bisect(folder: Path, limit_db: float = DEFAULT_SQNR_DB, model: Path | None = None) -> Json:
    """Find the first layers that part.

    Args:
        folder: made by ``qmc compile``; it is not changed.
        limit_db: SQNR that a layer's output should have against float.
        model: the ONNX file the build was made of: SQNR is then measured anew, of the emitted C
            on the golden inputs; without it the figures of report.json count.

    Returns:
        ``{"ok", "cases", "layers", "c": first difference or null, "float": {...}}``.

    Raises:
        DataError: the folder is damaged, or ``model`` is another file.
        BuildError: the C does not compile.
    """
    index = load_index(folder)
    with tempfile.TemporaryDirectory(prefix="qmc-bisect-") as name:
        work = Path(name)
        program = traced_program(folder, work)
        traces = [list(case) for case in layer_traces(folder, index, program, work)]
    found = _first_difference(folder, index, traces)
    if model is None:
        figures, source = _reported(folder), "report.json"
    else:
        figures, source = _measured(folder, index, traces, model), "golden inputs"
    return {
        "ok": found is None,
        "cases": index["cases"],
        "layers": len(index["layers"]),
        "c": None if found is None else asdict(found),
        "float": _first_below(figures, limit_db) | {"source": source},
    }


def _first_difference(folder: Path, index: Json, traces: list[list[bytes]]) -> Difference | None:
    """In execution order, over all cases: the earliest layer counts."""
    for place, layer in enumerate(index["layers"]):
        for case, trace in enumerate(traces):
            expected = golden_vector(folder, case, layer)
            if place >= len(trace) or trace[place] != expected:
                got = trace[place] if place < len(trace) else b""
                equal = _inputs_equal(folder, index, place, case, trace)
                return _difference(place, layer, case, got, expected, equal)
    return None


def _inputs_equal(folder: Path, index: Json, place: int, case: int, trace: list[bytes]) -> bool:
    """Whether every layer output that layer ``place`` reads is as the reference has it."""
    wanted = set(index["layers"][place].get("inputs", ()))
    return all(
        trace[i] == golden_vector(folder, case, layer)
        for i, layer in enumerate(index["layers"][:place])
        if layer["file"] in wanted
    )


def _difference(
    place: int, layer: Json, case: int, got: bytes, expected: bytes, inputs_equal: bool
) -> Difference:
    wanted = _codes(expected, layer)
    found = _codes(got.ljust(len(expected), b"\0")[: len(expected)], layer)
    unequal = np.argwhere(found != wanted)
    first = tuple(int(i) for i in unequal[0]) if len(unequal) else (0,) * wanted.ndim
    return Difference(
        index=place,
        name=layer["name"],
        op=layer["op"],
        case=case,
        elements=int(wanted.size),
        differing=len(unequal),
        first_element=first,
        got=int(found[first]),
        expected=int(wanted[first]),
        largest=int(np.abs(found.astype(np.int64) - wanted).max()),
        inputs_equal=inputs_equal,
    )


def _codes(data: bytes, layer: Json) -> NDArray[np.int32]:
    packed = np.frombuffer(data, np.uint8)
    return unpack_activation(packed, layer["bits"], tuple(layer["shape"])).astype(np.int32)


def _reported(folder: Path) -> dict[str, float | None]:
    """SQNR by layer from the report; of a build of an older qmc there is none."""
    layers = load_report(folder)["layers"]
    if any("sqnr_db" not in layer for layer in layers):
        raise DataError(
            f"{folder / 'report.json'}: has no sqnr_db; give the ONNX file with --model"
        )
    return {layer["name"]: layer["sqnr_db"] for layer in layers}


def _measured(
    folder: Path, index: Json, traces: list[list[bytes]], model: Path
) -> dict[str, float | None]:
    """SQNR by layer of what the emitted C gave for the golden inputs."""
    from qmc.damage import Squares
    from qmc.float_model import FloatModel
    from qmc.frontend import load_network
    from qmc.scheme_io import load_scheme

    _, network = load_network(model, _equalized(folder, model), None)
    if [layer.name for layer in network.layers] != [entry["name"] for entry in index["layers"]]:
        raise DataError(f"{model}: gives other layers than golden/index.json of {folder} lists")
    tensors = load_scheme(folder / "scheme.yaml", network).tensors
    squares = {layer.name: Squares() for layer in network.layers}
    real_model = FloatModel(network)
    for case, trace in enumerate(traces):
        codes = _codes(golden_vector(folder, case, index["input"]), index["input"])
        real = real_model.run(tensors[network.input].dequantize(codes))
        for layer, entry, data in zip(network.layers, index["layers"], trace, strict=True):
            found = tensors[layer.output].dequantize(_codes(data, entry))
            squares[layer.name].add(real[layer.output], found)
    return {name: one.sqnr_db() for name, one in squares.items()}


def _equalized(folder: Path, model: Path) -> bool:
    """Whether the build equalized its model.

    Raises:
        DataError: ``model`` is not what the build was made of.
    """
    plan = load_plan(folder)
    try:
        name, wanted = str(plan["model"]["file"]), str(plan["model"]["sha256"])
        equalized = bool(plan["options"]["equalize"])
        found = file_sha256(model)
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'plan.yaml'}: not a plan of qmc: {error!r}") from error
    except OSError as error:
        raise DataError(f"{model}: cannot be read: {error.strerror}") from error
    if found != wanted:
        raise DataError(
            f"{model}: found another file than the one of this build; allowed: {name} with "
            f"SHA-256 {wanted[:12]}..."
        )
    return equalized


def _first_below(figures: Mapping[str, float | None], limit_db: float) -> Json:
    """The first layer below the limit, and the worst of all; None is no difference at all."""
    known = [(i, name, db) for i, (name, db) in enumerate(figures.items()) if db is not None]
    first = next((one for one in known if one[2] < limit_db), None)
    worst = min(known, key=lambda one: one[2], default=None)

    def entry(one: tuple[int, str, float] | None) -> Json | None:
        return one and {"index": one[0], "name": one[1], "sqnr_db": one[2]}

    return {"limit_db": limit_db, "first": entry(first), "worst": entry(worst)}


def print_bisect(data: Json, console: Console) -> None:
    """Print both findings for people."""
    from rich.text import Text

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style))

    found = data["c"]
    if found is None:
        line(f"C and reference: equal in all {data['layers']} layers, {data['cases']} inputs")
    else:
        line(
            f"C and reference part at layer {found['index']} '{found['name']}' ({found['op']}), "
            f"input {found['case']}: {found['differing']} of {found['elements']} codes differ",
            "bold red",
        )
        at = ", ".join(map(str, found["first_element"]))
        whose = "its own" if found["inputs_equal"] else "in what it reads"
        line(
            f"  first at [{at}]: got {found['got']}, expected {found['expected']}; largest "
            f"difference {found['largest']}; the fault is {whose}"
        )
    noise = data["float"]
    first, worst = noise["first"], noise["worst"]
    if first is None:
        told = f"no layer is below {noise['limit_db']:g} dB"
    else:
        told = (
            f"first below {noise['limit_db']:g} dB is layer {first['index']} '{first['name']}' "
            f"with {first['sqnr_db']:.1f} dB"
        )
    line(f"integer and float ({noise['source']}): {told}")
    if worst is not None:
        line(f"  worst is layer {worst['index']} '{worst['name']}', {worst['sqnr_db']:.1f} dB")
