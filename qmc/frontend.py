"""ONNX file to Relax module.

TVM is imported by ``qmc.relax_importer`` and the passes only, after the version check here.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmc.encodings import apply_encodings, read_encodings
from qmc.errors import ModelError, VersionError
from qmc.given_scheme import GivenScheme, read_given, refine
from qmc.network import Network
from qmc.onnx_checks import check_model, parse_model
from qmc.onnx_folding import fold_model
from qmc.onnx_lifting import lift_model

#: The one pair that works: TVM's API moves with every minor, ffi 0.1.15 crashes on constants.
PINNED_VERSIONS = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """An imported model.

    Attributes:
        module: Relax module with one function ``main`` and the attributes ``qmc.*``.
        path: the file.
        name: a C identifier made from the file's name.
        input, output: tensor names of the ONNX graph.
        nodes: (node name, output tensor name) by node index.
        given: what a quantized model says beside its graph.
    """

    module: Any
    path: Path
    name: str
    input: str
    output: str
    nodes: tuple[tuple[str, str], ...]
    given: GivenScheme


def check_versions() -> None:
    """Refuse any TVM but the pinned one, before importing it.

    Raises:
        VersionError: names the library, the version found and the one needed.
    """
    for library, wanted in PINNED_VERSIONS.items():
        try:
            found = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found != wanted:
            fix = f"pip install {library}=={wanted}"
            raise VersionError(f"{library}: found {found}; needed: {wanted} ({fix})")


def network_name(path: Path) -> str:
    """A C identifier made from the file's name."""
    name = re.sub(r"[^0-9A-Za-z_]+", "_", path.stem).strip("_")
    if not name or name[0].isdigit():
        name = f"net_{name}"
    return name


def import_onnx(path: Path | str) -> Imported:
    """Import an ONNX file.

    Raises:
        ModelError: the file is not a network qmc can take.
        UnsupportedOpError: it uses an operator outside the supported set.
        VersionError: TVM is not the pinned version.
    """
    path = Path(path)
    check_versions()
    from qmc.relax_importer import to_relax

    try:
        model = lift_model(path, parse_model(path))
        model = check_model(path, model)
        given = read_given(model)
        model = fold_model(path, model)
        module = to_relax(path, model)
    except UnicodeDecodeError:  # protobuf decodes strings when they are read
        raise ModelError(path, "holds a name that is not UTF-8 text") from None
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    source = next(value.name for value in graph.input if value.name not in constants)
    nodes = tuple((node.name, node.output[0]) for node in graph.node)
    return Imported(module, path, network_name(path), source, graph.output[0].name, nodes, given)


def load_network(
    path: Path | str,
    equalize: bool = False,
    dump_dir: Path | None = None,
    encodings: Path | None = None,
) -> tuple[Any, Network]:
    """Import an ONNX file and run the front passes.

    Args:
        path: the model.
        equalize: equalize channels across layers.
        dump_dir: where the module after each pass is written.
        encodings: AIMET encodings, which give the model a quantization as if it came with it.

    Returns:
        The partitioned module, and the same as plain data.

    Raises:
        QmcError: as :func:`import_onnx`.
    """
    imported = import_onnx(path)
    from qmc.passes.extract_network import extract_network
    from qmc.passes.pipeline import front_passes, run_pipeline

    module = run_pipeline(imported.module, front_passes(equalize), dump_dir)
    given = imported.given
    network = refine(extract_network(module, imported), given, imported.path)
    if encodings is not None:
        entries = read_encodings(encodings)
        network = apply_encodings(network, entries, given.weights, given.values, encodings)
    return module, network
