"""From the ``kernels`` of a machine description to a :class:`~qmc.targets.KernelFamily`.

``kernels`` describes a vector unit. ``kernels_like`` names machines that do: the first whose
instructions this computer has is taken, none where there is no such machine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from qmc.errors import TargetError
from qmc.targets.kernel_family import Header, KernelFamily
from qmc.targets.processor import lacking
from qmc.targets.schema import KernelsSpec, ToolchainSpec
from qmc.targets.toolchain import Toolchain

_INCLUDE = re.compile(r'^#include "([a-z0-9_]+\.h)"$', re.MULTILINE)


def load_family(folder: Path, spec: KernelsSpec) -> KernelFamily:
    """The family with the text of its headers.

    Args:
        folder: of the description; its headers lie beside it or beside qmc's own machines.
        spec: the checked ``kernels``.

    Raises:
        TargetError: a header cannot be read.
    """
    return KernelFamily(
        header=spec.header,
        headers=tuple(_read_headers(folder, spec.header)),
        cpu_flags=spec.cpu_flags,
        lanes=spec.lanes,
        pixels=spec.pixels,
        depthwise_bytes=spec.depthwise_bytes,
        depthwise_pixels=spec.depthwise_pixels,
        widens=spec.widens,
        reads_codes=spec.reads_codes,
        registers=spec.registers,
        state_components=spec.state_components,
        check=spec.check,
        panel_bytes=spec.panel_bytes,
        strip_bytes=spec.strip_bytes,
        panels=spec.panels,
        run_bytes=spec.run_bytes,
        tile_bytes=spec.tile_bytes,
        block_cost=spec.block_cost,
        columns=spec.columns,
        requant=spec.requant,
        signed_inputs=spec.signed_inputs,
        alignment=spec.alignment,
        toolchain=None if spec.toolchain is None else _toolchain(spec.toolchain),
        files=() if spec.toolchain is None else _read_sources(folder, spec.toolchain.sources),
    )


def _toolchain(spec: ToolchainSpec) -> Toolchain:
    return Toolchain(**{name: getattr(spec, name) for name in ToolchainSpec.model_fields})


def _read_sources(folder: Path, names: tuple[str, ...]) -> tuple[Header, ...]:
    found = []
    for name in names:
        places = [place / name for place in (folder, Path(__file__).parent)]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise TargetError(
                folder, "kernels.toolchain.sources", name, "a file beside the description"
            )
        found.append(Header(name, file.read_text(encoding="ascii")))
    return tuple(found)


def _read_headers(folder: Path, name: str) -> list[Header]:
    """A header and those that it includes from the same places, each once, in order of name."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        wanted = waiting.pop()
        places = [place / wanted for place in (folder, Path(__file__).parent)]
        file = next((place for place in places if place.is_file()), None)
        if file is not None and wanted not in found:
            found[wanted] = file.read_text(encoding="ascii")
            waiting += _INCLUDE.findall(found[wanted])
    if name not in found:
        raise TargetError(folder, "kernels.header", name, "a C header beside the description")
    return [Header(*item) for item in sorted(found.items())]


def choose_kernels(candidates: list[tuple[str, dict[str, Any]]]) -> tuple[str, Any] | None:
    """The first of (machine, its ``kernels``) whose instructions this computer has."""
    for name, kernels in candidates:
        if not lacking(kernels.get("cpu_flags", ()), kernels.get("state_components", ())):
            return name, kernels
    return None
