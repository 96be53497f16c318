"""Golden vectors: the packed input and the packed output of every layer, from the reference."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.cfile import CFile
from qmc.codegen.names import layer_identifier
from qmc.integer import IntegerNetwork
from qmc.packing import pack_activation
from qmc.reference import run_network

#: File that lists the vectors.
INDEX = "golden/index.json"


def golden_files(network: IntegerNetwork, codes: NDArray[np.integer]) -> tuple[CFile, ...]:
    """Run the reference and pack what it gives.

    Args:
        network: the integer network.
        codes: input codes, (n, ...) for the network's input (1, ...).

    Returns:
        ``golden/index.json`` and, for input i, ``golden/<i>/<tensor>.bin``: tensors as they lie in
        the memory of the emitted program.
    """
    stems = _stems(network)
    files = [CFile(INDEX, _index(network, len(codes), stems))]
    for i in range(len(codes)):
        values = run_network(network, codes[i : i + 1].astype(np.int32))
        for tensor, stem in stems.items():
            packed = pack_activation(values[tensor], network.quantization[tensor].bits)
            files.append(CFile(f"golden/{i}/{stem}.bin", packed.tobytes()))
    return tuple(files)


def _stems(network: IntegerNetwork) -> dict[str, str]:
    stems = {network.input: "input"}
    for i, integer in enumerate(network.layers):
        stems[integer.layer.output] = layer_identifier(i, integer.layer.name)
    return stems


def _index(network: IntegerNetwork, cases: int, stems: dict[str, str]) -> bytes:
    def tensor(name: str) -> dict[str, object]:
        return {
            "file": f"{stems[name]}.bin",
            "shape": list(network.tensors[name].shape),
            "bits": network.quantization[name].bits,
        }

    index = {
        "cases": cases,
        "input": tensor(network.input),
        "layers": [
            {
                "name": integer.layer.name,
                "op": integer.layer.op.value,
                "inputs": [f"{stems[name]}.bin" for name in integer.layer.inputs],
                **tensor(integer.layer.output),
            }
            for integer in network.layers
        ],
    }
    return (json.dumps(index, indent=1) + "\n").encode("ascii")
