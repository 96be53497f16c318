"""Large layers at 8, 4 and 2 bits of weights: where low widths pay, by the time of emitted C.

    python benchmarks/large_layers.py [--target host] [--rounds 30] [--flags "-O3"]

Fully connected layers of 4 and 16 MB at 8 bits, and 3x3 convolutions of 512 channels on 7x7 pixels.
Each case is a chain of equal layers that together exceed the second-level cache at every width, as
they do inside a network: weights come from the third level or from memory. Weights and inputs are
random, which does not change the time; the assembler reads weights from files, which a compiler
would take minutes for. The widths take turns, one short run each; printed are the least of all
rounds and its ratio to w8a8, beside the median of the ratios round by round. Exit status 1 where a
ratio exceeds its bar: 0.6 (fully connected) and 0.75 (convolutions) at w4, and w2 below w4.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from latency import Ours, compare, integer_network, unchecked
from onnx import TensorProto, helper, numpy_helper

from qmc.codegen import Program, make_program, print_program
from qmc.codegen.build import compile_folder, write_files
from qmc.targets import Target, load_target

WIDTHS = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Case:
    """A chain of equal layers.

    Attributes:
        name: of the case.
        channels: of inputs and outputs.
        size: of the square image; 1 is fully connected.
        layers: in the chain.
        most: bar of the time at w4 over that at w8.
    """

    name: str
    channels: int
    size: int
    layers: int
    most: float


CASES = (
    Case("fully connected 2048 x 2048 (4 MB)", 2048, 1, 4, 0.6),
    Case("fully connected 4096 x 4096 (16 MB)", 4096, 1, 1, 0.6),
    Case("3x3 512 channels 7 x 7 (2.25 MB)", 512, 7, 4, 0.75),
)


def write_model(case: Case, folder: Path) -> Path:
    """The chain as ONNX, with random weights."""
    rng = np.random.default_rng(0)
    window = 1 if case.size == 1 else 3
    nodes, weights, at = [], [], "input"
    for index in range(case.layers):
        shape = (case.channels, case.channels, window, window)
        values = rng.normal(0, (case.channels * window**2) ** -0.5, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        pads = [window // 2] * 4
        nodes.append(helper.make_node("Conv", [at, f"w{index}"], [f"c{index}"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        at = f"r{index}"
    ends = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, (1, case.channels, case.size, case.size)
        )
        for name in ("input", at)
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    path = folder / "large.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


def build_quickly(program: Program, folder: Path, flags: list[str]) -> Path:
    """Compile a program whose constants the assembler reads from a file each."""
    lines = []
    for constant in program.constants.kept:
        (folder / f"{constant.name}.bin").write_bytes(constant.values.tobytes())
        lines.append(
            f'__asm__(".globl {constant.name}\\n.section .rodata\\n.balign 64\\n{constant.name}: '
            f'.incbin \\"{constant.name}.bin\\"\\n.previous");\n'
        )
    write_files(print_program(program), folder)
    (folder / "weights.c").write_text("".join(lines), encoding="ascii")
    return compile_folder(folder, folder / "run", flags)


def run_case(case: Case, target: Target, rounds: int, flags: list[str], folder: Path) -> bool:
    """Print the figures of one case; returns whether it keeps its bars."""
    model = write_model(case, folder)
    sides = []
    for bits in WIDTHS:
        network = integer_network(model, f"w{bits}a8")
        program = make_program(network, {}, target.kernels)
        place = folder / f"w{bits}"
        place.mkdir()
        sides.append(Ours(f"w{bits}", build_quickly(program, place, flags)))
    least = compare(sides, rounds)
    base = least["w8"]
    macs = case.layers * case.channels**2 * case.size**2 * (9 if case.size > 1 else 1)
    ratios = {}
    print(f"{case.name}, {case.layers} layers")
    for name, times in least.items():
        ratios[name] = float(times.min() / base.min())
        paired = float(np.median(times / base))
        per_layer = 1e3 * times.min() / case.layers
        print(
            f"  {name}a8: {per_layer:8.1f} us a layer, {macs / times.min() / 1e6:6.1f} GMAC/s, "
            f"{ratios[name]:.2f} of w8a8 (median by round {paired:.2f})"
        )
    kept = ratios["w4"] <= case.most and ratios["w2"] < ratios["w4"]
    print(f"  bars: w4 <= {case.most}, w2 < w4: {'kept' if kept else 'MISSED'}", flush=True)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="host")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--flags", default="-O3", help="of the compiler, in one argument")
    options = parser.parse_args()
    target, kept = load_target(options.target), []
    for case in (case for case in CASES if options.only in case.name):
        with tempfile.TemporaryDirectory(prefix="qmc-large-") as folder:
            kept.append(run_case(case, target, options.rounds, options.flags.split(), Path(folder)))
    print(*unchecked(), sep="\n")
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
