"""AccelForge's mapper beside the exact search, on one machine written in both formats.

AccelForge proves optima in its own model, which reads an accumulator once more before it is written
back and may keep parts of a window that qmc's rule does not (and the other way round). So every
mapping on its front of energy and latency is priced by qmc's model too, and the search has to be at
or below the best of them. AccelForge holds each tensor from a loop of its own on; a memory here
begins at one loop for all. The mapper is asked for mappings of that kind (as Timeloop's); those
where a loop between two holders indexes the tensor held outside it are left out and counted.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path

from ask_peer import Json, ask_peer
from search_speed import conv, depthwise

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import QmcError
from qmc.layer import RELEVANT, Layer, LoopDim, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.search import search
from qmc.targets import Target, load_target

MODEL = AnalyticalModel()
PRECISION = Precision(8, 8, 8, psum_bits=8)  # AccelForge has one width of O
#: Name, bytes (None: any number), pJ per access of a byte; outermost first.
MEMORIES = (("DRAM", None, 64.0), ("Buffer", 16384, 4.0), ("Register", 32, 0.25))
MAC_PJ = 0.5
SIDE = 8
ROUNDING = 1e-9


def layers() -> tuple[Layer, ...]:
    """A pointwise, a depthwise and a 3x3 convolution and a dense layer."""
    return conv(14, 32, 64), depthwise(14, 32, 1), conv(14, 16, 32, kernel=3), conv(1, 256, 100)


def arch() -> str:
    """AccelForge's machine."""
    lines = ["arch:", "  nodes:"]
    for index, (name, size, pj) in enumerate(MEMORIES):
        bits = "inf" if size is None else 8 * size
        lines += [
            f"  - !Memory\n    name: {name}\n    size: {bits}\n    leak_power: 0\n    area: 0"
        ]
        lines += ["    tensors: {keep: All}", "    actions:"]
        for action in ("read", "write"):
            fields = f"name: {action}, energy: {pj}, latency: 0, bits_per_action: 8"
            lines.append(f"    - {{{fields}}}")
        if index == len(MEMORIES) - 1:
            lines += ["    spatial:", *(f"    - {{name: {a}, fanout: {SIDE}}}" for a in "XY")]
    lines += ["  - !Compute", "    name: MAC", "    leak_power: 0", "    area: 0", "    actions:"]
    return "\n".join([*lines, f"    - {{name: compute, energy: {MAC_PJ}, latency: 1}}", ""])


def machine() -> str:
    """The same as a target."""
    memories = []
    for index, (name, size, pj) in enumerate(MEMORIES):
        memory: Json = {"name": name, "word_bits": 8, "row_words": 1, "packing": "words"}
        memory |= {"depth_words": size or "unlimited", "keep": ["W", "I", "O"]}
        memory["energy_pj"] = dict.fromkeys(("read", "fill", "update"), pj)
        if index == len(MEMORIES) - 2:
            memory["fanout"] = {axis: {"size": SIDE} for axis in "xy"}
        memories.append(memory)
    about = {"description": "AccelForge's machine", "sources": {"energy": "made up"}}
    rules = {"schema_version": 1, "name": "both", "clock_mhz": 1000, "groups_follow": "K"}
    mac = {"weight_bits": [1, 8], "input_bits": [1, 8], "energy_pj": MAC_PJ}
    widths = {"psum_bits": PRECISION.psum_bits}
    return json.dumps(about | rules | widths | {"memories": memories, "mac": mac})


def workload(layer: Layer) -> str:
    """AccelForge's entry of one layer; a group stands for the channels of both sides."""
    sizes = {str(dim): layer.bounds[dim] for dim in LoopDim if layer.bounds[dim] > 1}
    tensors = {}
    for operand in (Operand.W, Operand.O):
        dims = [dim.lower() for dim in sizes if LoopDim(dim) in RELEVANT[operand]]
        tensors[operand.value] = "[" + ", ".join(dims) + "]"
    windows = {"H": ("P", "R", layer.strides[0]), "V": ("Q", "S", layer.strides[1])}
    parts = [f"{dim}: {dim.lower()}" for dim in ("N", "G", "C") if dim in sizes]
    shape = dict(sizes)
    for rank, (out, tap, stride) in windows.items():
        if out in sizes:
            parts.append(
                f"{rank}: {stride} * {out.lower()}" + (f" + {tap.lower()}" * (tap in sizes))
            )
            shape[rank] = (sizes[out] - 1) * stride + sizes.get(tap, 1)
    lines = ["workload:", f"  rank_sizes: {json.dumps(shape)}", "  bits_per_value: {All: 8}"]
    lines += ["  einsums:", "  - name: Layer", "    tensor_accesses:"]
    lines += [f"    - {{name: I, projection: {{{', '.join(parts)}}}}}"]
    lines += [f"    - {{name: W, projection: {tensors['W']}}}"]
    lines += [f"    - {{name: O, projection: {tensors['O']}, output: True}}"]
    return "\n".join([*lines, "    renames: {input: I, output: O, weight: W}", ""])


def read_mapping(nodes: list[Json], layer: Layer) -> Mapping | None:
    """A mapping of AccelForge; None where a memory does not begin at one loop for all tensors."""
    begins = {node["memory"]: at for at, node in enumerate(nodes) if "memory" in node}
    for at, node in enumerate(nodes):
        if "memory" in node:
            between = [n["loop"] for n in nodes[at : begins[node["memory"]]] if "loop" in n]
            held = [RELEVANT[Operand(name)] for name in node["tensors"]]
            if any(LoopDim(dim.upper()) in dims for dim in between for dims in held):
                return None
    left = {dim: layer.bounds[dim] for dim in LoopDim}
    in_time: dict[str, list[Loop]] = {name: [] for name, _, _ in MEMORIES}
    in_space: list[Loop] = []
    for at, node in enumerate(nodes):
        if "loop" not in node:
            continue
        dim = LoopDim(node["loop"].upper())
        extent, left[dim] = left[dim] // node["tile"], node["tile"]
        level = [name for name, _, _ in MEMORIES if begins[name] < at][-1]
        if node["axis"] is None:
            in_time[level].append(Loop(dim, extent, level))
        else:
            in_space.append(Loop(dim, extent, MEMORIES[-2][0], node["axis"].lower()))
    loops = []
    for name, _, _ in MEMORIES:
        loops += in_time[name] + (in_space if name == MEMORIES[-2][0] else [])
    keeps = tuple(Keep(name, frozenset(Operand)) for name, _, _ in MEMORIES)
    return Mapping(tuple(loop for loop in loops if loop.extent > 1), keeps)


def price(found: Json, layer: Layer, target: Target) -> float:
    """EDP of AccelForge's mapping in qmc's model; inf where qmc has no such mapping."""
    mapping = read_mapping(found["nodes"], layer)
    if mapping is None:
        return math.inf
    try:
        return MODEL.evaluate(layer, PRECISION, target, mapping).edp_pj_cycles
    except QmcError:
        return math.inf


def compare_accelforge(python: Path) -> bool:
    """Print one row for every layer; whether the search is never above AccelForge."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.yaml"
        file.write_text(machine())
        target = load_target(str(file))
    request = {"arch": arch(), "layers": [workload(layer) for layer in layers()]}
    answers = ask_peer(python, "accelforge_mapper.py", request)
    if isinstance(answers, str):
        print(f"AccelForge cannot be run: {answers}")
        return False
    print("AccelForge: EDP in pJ x cycles")
    print(f"{'layer':<23} {'qmc':>10} {'itself':>10} {'best':>10} qmc/best proved seconds  theirs")
    fine = True
    for layer, found in zip(layers(), answers, strict=True):
        began = time.perf_counter()
        ours = search(layer, PRECISION, target, MODEL)
        seconds = time.perf_counter() - began
        values = [price(mapping, layer, target) for mapping in found["mappings"]]
        itself = min(m["energy_pj"] * m["cycles"] for m in found["mappings"])
        best, edp = min(values), ours.cost.edp_pj_cycles
        fine &= edp <= best * (1 + ROUNDING)
        print(
            f"{layer.name:<23} {edp:>10.4g} {itself:>10.4g} {best:>10.4g} {edp / best:>8.4f} "
            f"{ours.certificate.proved!s:>6} {seconds:>7.2f} {found['seconds']:>7.1f}   "
            f"front {len(values)}, left out {values.count(math.inf)}",
            flush=True,
        )
    return fine
