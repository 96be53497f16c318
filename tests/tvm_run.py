"""Running Relax modules, and what their region functions should give."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from qmc.arithmetic import QuantParams
from qmc.integer import IntegerNetwork
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.region_module import region_module, regions
from qmc.quantize import quantize
from qmc.reference import run_network
from qmc.tvm.generate import region_network

Floats = NDArray[np.float32]


def run(module: Any, *inputs: Floats, function: str = "main") -> Any:
    """Build a module for LLVM and run it: an array, or a list of arrays."""
    machine = relax.VirtualMachine(relax.build(module, "llvm"), tvm.cpu())
    result = machine[function](*(tvm.runtime.tensor(np.ascontiguousarray(x)) for x in inputs))
    return result.numpy() if hasattr(result, "numpy") else [value.numpy() for value in result]


def integer_networks(annotated: Any) -> list[IntegerNetwork]:
    """The integers of every region function, in order of name."""
    return [
        quantize(region_network(function), annotated_scheme(region_module(function)))
        for function in regions(annotated).values()
    ]


def codes_of(values: Floats, quant: QuantParams) -> NDArray[np.int32]:
    """Nearest codes, halves up, saturated."""
    codes = np.floor(values.astype(np.float64) / quant.scale + 0.5) + quant.zero_point
    return np.clip(codes, 0, quant.high).astype(np.int32)


def reference(network: IntegerNetwork, values: Floats) -> Floats:
    """What a region gives for a float input: NumPy's integers between float ends."""
    source = network.tensors[network.input].shape
    codes = codes_of(values.reshape(source), network.quantization[network.input])
    result = run_network(network, codes)[network.output]
    quant = network.quantization[network.output]
    return ((result - quant.zero_point) * np.float64(quant.scale)).astype(np.float32)
