"""Milliseconds per image of the emitted C on one core, alone or in turns with public int8 runtimes.

    python benchmarks/latency.py MODEL.onnx... [--target host] [--scheme w8a8,w4a8] [--rounds 20]
    python benchmarks/latency.py MODEL.onnx... --peers PYTHON [--most 0.9]
    python benchmarks/latency.py MODEL.onnx... --target c99 --flags "-O3 -march=native"

Activation ranges come from random inputs, and weights are rounded to the nearest: neither changes
the time, and no data set is needed.
With ``--peers``, an interpreter that has onnxruntime, onnx, sympy and openvino, each round gives
every runtime and the emitted program a short turn, so that a busy machine disturbs all alike. The
ratio is ours / best peer, the least of each over all rounds; beside it stands the median of the
ratios round by round. OpenVINO is held to the instruction set of the target
(``ONEDNN_MAX_CPU_ISA``). LiteRT is not run: no converter from ONNX comes without TensorFlow. Exit
status 1 where a ratio exceeds ``--most``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
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
from qmc.scheme import WeightRounding
from qmc.targets import Target, load_target
from qmc.widths import parse_widths

RUNTIMES = Path(__file__).with_name("peer_runtimes.py")
PEERS = ("openvino", "ort")
#: What oneDNN calls the instruction sets of our kernels' headers.
ISA = {
    "x86_avx2.h": "AVX2",
    "x86_avx512vnni.h": "AVX512_CORE_VNNI",
    "x86_amx.h": "AVX512_CORE_AMX",
}
#: Machines whose bars are checked where they run.
FASTEST = ("x86-amx", "x86-avx512vnni", "x86-avx2")
#: A turn of a round, in milliseconds.
SLOT = 60.0


def integer_network(model: Path, scheme: str) -> IntegerNetwork:
    _, network = load_network(model)
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, *shape[1:])).astype(np.float32)
    widths, rounding = parse_widths(scheme, network), WeightRounding.NEAREST
    return quantize(network, calibrate(network, [inputs], widths, weight_rounding=rounding))


def best_mappings(network: IntegerNetwork, target: Target) -> dict[str, Mapping]:
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


@dataclass
class Peer:
    """A runtime in a process of its own."""

    name: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, python: Path, name: str, model: Path, isa: str | None) -> Peer | None:
        """The runtime ``name`` on a quantized model; None where it does not run."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if isa:
            environment["ONEDNN_MAX_CPU_ISA"] = isa
        process = subprocess.Popen(
            [str(python), str(RUNTIMES), name, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            print(f"  {name}: left out, it does not run here")
            return None
        return cls(name, process)

    def turn(self, count: int) -> np.ndarray:
        """Milliseconds of ``count`` inferences."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return np.array(json.loads(self.process.stdout.readline()))

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


@dataclass
class Ours:
    """The emitted program; it warms up by itself."""

    name: str
    program: Path

    def turn(self, count: int) -> np.ndarray:
        """Milliseconds of ``count`` inferences."""
        return bench_program(self.program, count)

    def stop(self) -> None:
        """Nothing to end: the program runs anew for every turn."""


def build(program: Program, folder: Path, flags: list[str]) -> Path:
    write_files(print_program(program), folder)
    return compile_folder(folder, folder / "run", flags)


def compare(sides: list[Ours | Peer], rounds: int) -> dict[str, np.ndarray]:
    """Least milliseconds of each side in every round."""
    counts = {side.name: max(3, round(SLOT / side.turn(3).min())) for side in sides}
    least = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            least[side.name].append(side.turn(counts[side.name]).min())
    return {name: np.array(values) for name, values in least.items()}


def unchecked() -> list[str]:
    """A line for each machine whose kernels do not run here, so that its bars were not checked."""
    families = {name: load_target(name).kernels for name in FASTEST}
    return [
        f"bars of {name}: not checked, this computer lacks {', '.join(family.lacking_here())}"
        for name, family in families.items()
        if family and family.lacking_here()
    ]


def run_model(model: Path, options: argparse.Namespace, folder: Path) -> float:
    """Print the figures of one model; returns ours / best peer, 0 without peers."""
    target = load_target(options.target)
    schemes, programs = options.scheme.split(","), {}
    for scheme in schemes:
        network = integer_network(model, scheme)
        mappings = {} if target.kernels else best_mappings(network, target)
        programs[scheme] = make_program(network, mappings, target.kernels)
    flags = options.flags.split()
    sides: list[Ours | Peer] = [
        Ours(scheme, build(program, folder / scheme, flags)) for scheme, program in programs.items()
    ]
    if options.peers:
        int8 = folder / "int8.onnx"
        command = [options.peers, RUNTIMES, "prepare", model, int8]
        subprocess.run(command, check=True, capture_output=True)
        isa = ISA.get(target.kernels.header) if target.kernels else None
        started = (Peer.start(options.peers, name, int8, isa) for name in PEERS)
        sides += [peer for peer in started if peer]
    least = compare(sides, options.rounds)
    for side in sides:
        side.stop()
    macs = sum(integer.layer.macs for integer in programs[schemes[0]].network.layers)
    for scheme in schemes:
        ours, program = least[scheme], programs[scheme]
        print(
            f"{model.stem} {scheme} {options.target}: {ours.min():.4f} ms, "
            f"{macs / ours.min() / 1e6:.1f} GMAC/s; weights {program.weight_bytes} bytes, "
            f"arena {program.ram_peak_bytes} bytes"
        )
        if scheme != schemes[0]:
            print(f"  {_ratio(ours, least[schemes[0]], schemes[0])}")
    peers = {name: values for name, values in least.items() if name not in schemes}
    if not peers:
        return 0.0
    best = min(peers, key=lambda name: peers[name].min())
    times = ", ".join(f"{name} {values.min():.4f}" for name, values in peers.items())
    print(f"  {times}; {_ratio(least[schemes[0]], peers[best], best)}", flush=True)
    return float(least[schemes[0]].min() / peers[best].min())


def _ratio(ours: np.ndarray, other: np.ndarray, name: str) -> str:
    """Ratio of the least times, and the median of the ratios round by round."""
    paired = float(np.median(ours / other))
    return f"ours / {name} {ours.min() / other.min():.2f} (median by round {paired:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--target", default="host")
    parser.add_argument("--scheme", default="w8a8", help="several take turns: w8a8,w4a8")
    parser.add_argument("--flags", default="-O3", help="of the compiler, in one argument")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", type=Path, help="interpreter that has the runtimes")
    parser.add_argument("--most", type=float, help="largest ratio to the best peer")
    options = parser.parse_args()
    ratios = []
    for model in options.models:
        with tempfile.TemporaryDirectory(prefix="qmc-latency-") as folder:
            ratios.append(run_model(model, options, Path(folder)))
    print(*unchecked(), sep="\n")
    sys.exit(1 if options.most and max(ratios) > options.most else 0)


if __name__ == "__main__":
    main()
