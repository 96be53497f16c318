"""TVM's code generator ``qmc``: from a region function to C."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from qmc.codegen import make_program
from qmc.codegen.tvm_source import print_tvm_source
from qmc.mapping import Mapping
from qmc.mapping_text import read_mapping_data
from qmc.network import Network
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.extract_network import extract_network
from qmc.passes.grouping import layer_of
from qmc.passes.region_module import region_module
from qmc.quantize import quantize
from qmc.targets import KernelFamily, load_target

#: Attribute of a region function: the machine it is for.
TARGET = "qmc.target"
#: Attribute of a composite: its mapping as JSON.
MAPPING = "qmc.mapping"


@dataclass(frozen=True, slots=True)
class RegionName:
    """What a region is called in messages and in C."""

    name: str
    path: Path = Path("module")


def region_network(function: Any) -> Network:
    """The layers of a region function.

    Raises:
        UnsupportedOpError: a layer is outside qmc's rules.
    """
    symbol = str(function.attrs["global_symbol"])
    return extract_network(region_module(function), RegionName(symbol))


def generate(function: Any) -> Any:
    """A TVM module with the C of a region function.

    Args:
        function: annotated by ``QuantizeRegions`` and, for a machine, by ``MapLayers``.

    Raises:
        SchemeError: it is not annotated.
        CodegenError: a layer has no C form.
    """
    symbol = str(function.attrs["global_symbol"])
    module = region_module(function)
    integer = quantize(region_network(function), annotated_scheme(module))
    program = make_program(integer, _mappings(module), target_family(function))
    source = print_tvm_source(program, symbol)
    create = tvm.get_global_func("runtime.CSourceModuleCreate")
    return create(source, "c", [symbol], [])


def target_family(function: Any) -> KernelFamily | None:
    """The vector unit of the machine that a region function is for, if it has one."""
    name = function.attrs.get(TARGET)
    return None if name is None else load_target(str(name)).kernels


def _mappings(module: Any) -> dict[str, Mapping]:
    texts = {
        layer_of(function): str(function.attrs[MAPPING])
        for _, function in module.functions_items()
        if layer_of(function) and MAPPING in function.attrs
    }
    return {name: read_mapping_data(json.loads(text), name) for name, text in texts.items()}
