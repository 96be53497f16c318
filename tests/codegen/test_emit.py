"""The emitted C against the NumPy reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qmc.codegen import emit
from qmc.codegen.build import compile_folder, run_program, write_files
from qmc.integer import IntegerNetwork
from qmc.packing import pack_activation
from qmc.reference import run_network
from tests.codegen.networks import every_op


def check(network: IntegerNetwork, codes: np.ndarray, folder: Path, mappings=None) -> None:
    write_files(emit(network, mappings or {}), folder)
    program = compile_folder(folder, folder / "run", ("-O1", "-DQMC_TRACE"))
    values = run_network(network, codes)
    for i in range(len(codes)):
        packed = pack_activation(codes[i : i + 1], network.quantization[network.input].bits)
        run_program(program, packed.tobytes(), folder)
        trace = (folder / "output.bin.trace").read_bytes()
        for layer in network.layers:
            name = layer.layer.output
            expected = pack_activation(
                values[name][i : i + 1], network.quantization[name].bits
            ).tobytes()
            got, trace = trace[: len(expected)], trace[len(expected) :]
            assert got == expected, layer.layer.name
        assert trace == b""


def test_every_op_equals_reference(tmp_path: Path) -> None:
    builder = every_op()
    check(builder.network(), builder.codes(3), tmp_path)
