"""What a finished build chose, read back: network, scheme, integers and mappings."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmc.errors import DataError
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.mapping import Mapping
from qmc.mapping_text import read_mapping_data
from qmc.network import Network
from qmc.plan import file_sha256, load_plan
from qmc.quantize import quantize
from qmc.scheme import Scheme
from qmc.scheme_io import load_scheme

#: The network in a build, exact and quantized: what export reads where the model is not at hand.
NETWORK_FILE = "network.onnx"
PLAN_FILE = "plan.yaml"


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A network with everything that was chosen for it.

    Attributes:
        mappings: by layer, of those that have one.
        folder: the build.
    """

    network: Network
    scheme: Scheme
    integer: IntegerNetwork
    mappings: Dict[str, Mapping]
    folder: Path


def load_chosen(build: Path, model: Path | None = None) -> Chosen:
    """Read a build.

    Args:
        build: the folder, or the ``plan.yaml`` in it.
        model: the model it was compiled from; None takes the copy of the network in the folder,
            or the model if it lies in or beside the folder.

    Raises:
        DataError: this is no build, or there is no network.
        SchemeError: scheme and network do not belong together.
    """
    folder = build.parent if build.name == PLAN_FILE or build.is_file() else build
    plan = load_plan(folder)
    options = plan.get("options")
    equalize = bool(options.get("equalize")) if isinstance(options, dict) else False
    path = _network_file(folder, plan, model)
    network = load_network(path, equalize and path.name != NETWORK_FILE)[1]
    scheme = load_scheme(folder / "scheme.yaml", network)
    return Chosen(network, scheme, quantize(network, scheme), _mappings(folder, plan), folder)


def _network_file(folder: Path, plan: dict[str, Any], model: Path | None) -> Path:
    entry = plan.get("model")
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise DataError(f"{folder / PLAN_FILE}: model: found {entry!r:.60}; allowed: file, sha256")
    if model is not None:
        if not model.is_file() or file_sha256(model) != entry.get("sha256"):
            raise DataError(
                f"{model}: is not the model of {folder / PLAN_FILE} ('{entry['file']}')"
            )
        return model
    own = folder / NETWORK_FILE
    if own.is_file():
        return own
    name = Path(entry["file"]).name
    for place in (folder / name, folder.parent / name, Path(name)):
        if place.is_file() and file_sha256(place) == entry.get("sha256"):
            return place
    raise DataError(f"{folder}: holds no {NETWORK_FILE}; give the model '{name}' with --model")


def _mappings(folder: Path, plan: dict[str, Any]) -> dict[str, Mapping]:
    where, data = str(folder / PLAN_FILE), plan.get("mappings", {})
    if not isinstance(data, dict):
        raise DataError(f"{where}: mappings: found {data!r:.60}; allowed: one for each layer")
    return {str(name): read_mapping_data(value, f"{where}: {name}") for name, value in data.items()}
