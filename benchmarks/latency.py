"""Milliseconds per image of the emitted C at -O3 on one core of this computer.

    python benchmarks/latency.py MODEL.onnx [--target simba] [--scheme w8a8] [--runs 20]

Activation ranges come from random inputs: they do not change the time, and no data set is needed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from qmc.calibrate import calibrate
from qmc.codegen import Program, make_program, print_program
from qmc.codegen.build import bench_program, compile_folder, write_files
from qmc.cost_models.analytical import AnalyticalModel
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.layer import Precision
from qmc.mapping import Mapping
from qmc.quantize import quantize
from qmc.schedule import schedule_network
from qmc.targets import load_target
from qmc.widths import parse_widths


def integer_network(model: Path, scheme: str) -> IntegerNetwork:
    _, network = load_network(model)
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, *shape[1:])).astype(np.float32)
    return quantize(network, calibrate(network, [inputs], parse_widths(scheme, network)))


def best_mappings(network: IntegerNetwork, target_name: str) -> dict[str, Mapping]:
    target = load_target(target_name)
    work = [
        (
            integer.layer,
            Precision(
                integer.weight_bits,
                integer.inputs[0].bits,
                integer.output.bits,
                target.psum_bits,
            ),
        )
        for integer in network.layers
        if integer.weight_bits is not None
    ]
    found = schedule_network(work, target, AnalyticalModel())
    return {name: result.mapping for name, result in found.items()}


def measure(program: Program, runs: int) -> np.ndarray:
    with tempfile.TemporaryDirectory(prefix="qmc-latency-") as name:
        folder = Path(name)
        write_files(print_program(program), folder)
        return bench_program(compile_folder(folder, folder / "run", ("-O3",)), runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--target", default="simba")
    parser.add_argument("--scheme", default="w8a8")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    network = integer_network(options.model, options.scheme)
    program = make_program(network, best_mappings(network, options.target))
    times = measure(program, options.runs)
    macs = sum(integer.layer.macs for integer in network.layers)
    print(
        f"{options.model.stem} {options.scheme} {options.target}: "
        f"min {times.min():.2f} ms, median {np.median(times):.2f} ms of {options.runs} runs; "
        f"{macs / times.min() / 1e6:.2f} GMAC/s; "
        f"weights {program.weight_bytes} bytes, arena {program.ram_peak_bytes} bytes"
    )


if __name__ == "__main__":
    main()
