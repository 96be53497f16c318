"""ZigZag's own mapper beside the exact search, on machines written in ZigZag's hardware format.

qmc reads the same file by ``qmc targets import``. ZigZag optimizes EDP as it counts it: it adds
the time of the first load and the last store, and knows no sliding window. So every mapping that
it tried is priced by qmc's model too, and the search has to be at or below the best of them all.

ZigZag lets every operand end its tiles at a loop of its own ("uneven"). For pricing, every memory
is taken apart into one memory for each operand, in the order of those loops; room and ports stay
shared. Memories of one operand each have no order in ZigZag: the search is run on every order.
What is left out: imperfect factors, which ZigZag rounds up, and tiles in the array that outlast a
tile of the buffer above it, which neither Timeloop's mappings nor qmc's say.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

from ask_peer import Json, ask_peer
from search_speed import conv, depthwise

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import QmcError
from qmc.layer import RELEVANT, Layer, LoopDim, Operand, Precision
from qmc.machine_import import import_machine
from qmc.mapping import Keep, Loop, Mapping
from qmc.search import search
from qmc.search_result import SearchResult
from qmc.targets import Target
from qmc.targets.target import MemoryLevel

MODEL = AnalyticalModel()
PRECISION = Precision(8, 8, 8, psum_bits=32)
#: ZigZag's defaults: prime factors that are ordered (merged down to so many), spatial mappings.
PRIME_FACTORS, SPATIAL_MAPPINGS = 6, 3
DIMS = {"G": "G", "K": "K", "C": "C", "OY": "P", "OX": "Q", "FY": "R", "FX": "S"}
OPERANDS = {"W": "I2", "I": "I1", "O": "O"}
ROUNDING = 1e-9
#: Whether operands that share a memory end their tiles there at the same loop; the default: uneven.
TILINGS = ("even", "uneven")


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory; sizes in bits, pJ per access of ``width`` bits, ``least`` the smallest access."""

    name: str
    size: int
    pj: float
    width: int
    least: int
    operands: str
    in_every_unit: bool = False


BUFFER = Memory("buffer", 1 << 20, 20.0, 128, 128, "WIO")
DRAM = Memory("dram", 10**10, 700.0, 64, 64, "WIO")
#: 8 x 8 units; a register file for all operands, or one for each.
MACHINES = {
    "shared registers": (Memory("registers", 4096, 0.3, 48, 8, "WIO", True), BUFFER, DRAM),
    "own registers": (
        Memory("weights", 1024, 0.1, 8, 8, "W", True),
        Memory("inputs", 512, 0.08, 8, 8, "I", True),
        Memory("sums", 1024, 0.2, 32, 8, "O", True),
        BUFFER,
        DRAM,
    ),
}


def layers() -> tuple[Layer, ...]:
    """A 3x3, a pointwise, a depthwise, a strided convolution and a dense layer."""
    return (
        conv(56, 64, 64, kernel=3),
        conv(56, 128, 128),
        depthwise(56, 128, 1),
        conv(112, 3, 32, kernel=3, stride=2),
        conv(1, 512, 1000),
    )


def hardware(name: str, memories: tuple[Memory, ...]) -> Json:
    """ZigZag's hardware file."""
    return {
        "name": name.replace(" ", "_"),
        "memories": {memory.name: _memory(memory) for memory in memories},
        "operational_array": {
            "unit_energy": 0.5,
            "unit_area": 1,
            "dimensions": ["D1", "D2"],
            "sizes": [8, 8],
        },
    }


def _memory(memory: Memory) -> Json:
    names = [OPERANDS[operand] for operand in memory.operands]
    width = {"bandwidth_min": memory.least, "bandwidth_max": memory.width}
    read = [f"{name}, tl" for name in names] + (["O, th"] if "O" in names else [])
    write = [f"{name}, fh" for name in names] + (["O, fl"] if "O" in names else [])
    return {
        "size": memory.size,
        "r_cost": memory.pj,
        "w_cost": memory.pj,
        "area": 0,
        "latency": 1,
        "operands": names,
        "ports": [
            {"name": "r_port_1", "type": "read", **width, "allocation": read},
            {"name": "w_port_1", "type": "write", **width, "allocation": write},
        ],
        "served_dimensions": [] if memory.in_every_unit else ["D1", "D2"],
    }


def workload(layer: Layer) -> Json:
    """ZigZag's entry of one layer."""
    rows, columns = layer.strides
    bits = {"W": PRECISION.weight_bits, "I": PRECISION.input_bits}
    return {
        "id": 0,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [f"ix={columns}*ox+1*fx", f"iy={rows}*oy+1*fy"],
        "loop_dims": ["B", *DIMS],
        "loop_sizes": [1, *(layer.bounds[LoopDim(dim)] for dim in DIMS.values())],
        "operand_precision": bits | {"O": PRECISION.psum_bits, "O_final": PRECISION.output_bits},
        "operand_source": {"I": 0, "W": 0},
    }


def read_mapping(found: Json, target: Target) -> tuple[Target, Mapping] | None:
    """A mapping of ZigZag, on the machine with every memory taken apart by operands.

    ZigZag ends the tiles of each operand at a loop of its own; memories of single operands in the
    order of those loops say the same. None where a tile below the array would end outside one above
    it, which no order of memories says.
    """
    loops = [loop for level in found["temporal"]["O"] for loop in level]
    inside = _below_array(target)
    parts: list[tuple[int, int, MemoryLevel]] = []
    for operand, blocks in found["temporal"].items():
        own = [index for index, level in enumerate(target.memories) if operand in level.keep]
        done = 0
        for index, block in zip(reversed(own[1:]), blocks, strict=False):
            done += len(block)
            least, most = _same_tile(Operand(operand), loops, done)
            level = target.memories[index]
            part = replace(level, name=f"{level.name}.{operand}", keep=frozenset({operand}))
            parts.append((least if index >= inside else most, index, part))
    parts.sort(key=lambda part: (-part[0], part[1], part[2].name))
    if [index >= inside for _, index, _ in parts] != sorted(i >= inside for _, i, _ in parts):
        return None
    outermost = (len(loops), 0, target.memories[0])
    return _machine_and_mapping(found, loops, [outermost, *parts], inside, target)


def _below_array(target: Target) -> int:
    """Index of the first memory that every unit has."""
    return 1 + max(index for index, level in enumerate(target.memories) if level.fanout_x > 1)


def _same_tile(operand: Operand, loops: list[list[Any]], end: int) -> tuple[int, int]:
    """Where else a tile may end: loops that do not index the operand leave it as it is."""
    free = [LoopDim(DIMS[dim]) not in RELEVANT[operand] for dim, _ in loops]
    least = most = end
    while least and free[least - 1]:
        least -= 1
    while most < len(loops) and free[most]:
        most += 1
    return least, most


def _machine_and_mapping(
    found: Json,
    loops: list[list[Any]],
    parts: list[tuple[int, int, MemoryLevel]],
    inside: int,
    target: Target,
) -> tuple[Target, Mapping]:
    memories, nest = [], []
    array = target.memories[inside - 1]
    last_above = max(place for place, (_, index, _) in enumerate(parts) if index < inside)
    for place, (end, _, level) in enumerate(parts):
        start = parts[place + 1][0] if place + 1 < len(parts) else 0
        block = reversed(loops[start:end])
        nest += [Loop(LoopDim(DIMS[dim]), size, level.name) for dim, size in block if size > 1]
        x, y = (array.fanout_x, array.fanout_y) if place == last_above else (1, 1)
        nest += _spatial(found, level.name) if place == last_above else []
        memories.append(replace(level, fanout_x=x, fanout_y=y))
    keeps = tuple(Keep(level.name, level.keep) for level in memories)
    return _reordered(target, memories), Mapping(tuple(nest), keeps)


def _spatial(found: Json, level: str) -> list[Loop]:
    return [
        Loop(LoopDim(DIMS[dim]), size, level, axis)
        for name, axis in (("D1", "x"), ("D2", "y"))
        for dim, size in found["spatial"].get(name, ())
        if size > 1
    ]


def _reordered(target: Target, memories: list[MemoryLevel]) -> Target:
    return replace(target, memories=tuple(memories))


def price(layer: Layer, target: Target, machine: Target, mapping: Mapping) -> float:
    """EDP of a mapping on ``machine``, which is ``target`` taken apart; inf if it does not fit."""
    cost = MODEL.evaluate(layer, PRECISION, machine, mapping)
    cycles = float(cost.cycles)
    for level in target.memories:
        held = [
            entry
            for name, entries in cost.accesses.items()
            if name.split(".")[0] == level.name
            for entry in entries.values()
        ]
        if level.depth_words is not None:
            if sum(entry.utilized_words for entry in held) > level.depth_words:
                return math.inf
        reads = sum(entry.reads for entry in held)
        writes = sum(entry.fills + entry.updates for entry in held)
        for words, width in ((reads, level.read_bandwidth), (writes, level.write_bandwidth)):
            if width is not None:
                cycles = max(cycles, math.ceil(words / width))
    return cost.energy_pj * cycles


def orders(target: Target) -> list[Target]:
    """The machine with its memories of single operands in every order."""
    outer = [level for level in target.memories if len(level.keep) > 1]
    inner = [level for level in target.memories if len(level.keep) == 1]
    return [_reordered(target, [*outer, *order]) for order in permutations(inner)]


def reprice(mappings: list[Json], layer: Layer, target: Target) -> list[float]:
    """EDP of ZigZag's mappings in qmc's model; inf where qmc has no such mapping."""
    values = []
    for found in mappings:
        read = read_mapping(found, target)
        try:
            values.append(math.inf if read is None else price(layer, target, *read))
        except QmcError:  # the factors are imperfect, or a tile does not fit
            values.append(math.inf)
    return values


def best_of_search(layer: Layer, target: Target) -> tuple[SearchResult, bool, float]:
    """The best over all orders of the memories, whether it is proved, and the seconds."""
    began = time.perf_counter()
    results = [search(layer, PRECISION, machine, MODEL) for machine in orders(target)]
    best = min(results, key=lambda result: result.cost.edp_pj_cycles)
    proved = all(result.certificate.proved for result in results)
    return best, proved, time.perf_counter() - began


def ask_zigzag(python: Path, file: Path, tiling: str) -> list[Json] | str:
    """What ZigZag finds for every layer, or why it cannot be asked."""
    request = {
        "hardware": str(file),
        "layers": [workload(layer) for layer in layers()],
        "prime_factors": PRIME_FACTORS,
        "spatial": SPATIAL_MAPPINGS,
        "tiling": tiling,
    }
    return ask_peer(python, "zigzag_mapper.py", request)


def compare_machine(name: str, python: Path) -> bool:
    """Print one row for every tiling and layer; whether the search is never above ZigZag."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hardware.yaml"
        file.write_text(json.dumps(hardware(name, MACHINES[name])))
        target = import_machine([file], Path(folder) / "machine.yaml").target
        answers: dict[str, list[Json]] = {}
        for tiling in TILINGS:
            answer = ask_zigzag(python, file, tiling)
            if isinstance(answer, str):
                print(f"ZigZag cannot be run: {answer}")
                return False
            answers[tiling] = answer
    ours = [best_of_search(layer, target) for layer in layers()]
    fine = True
    for tiling, answer in answers.items():
        for layer, found, best in zip(layers(), answer, ours, strict=True):
            values = reprice(found["mappings"], layer, target)
            fine &= best[0].cost.edp_pj_cycles <= min(values) * (1 + ROUNDING)
            print(
                f"{name:<17} {tiling:<6} {layer.name:<23} {row(found, values, *best)}", flush=True
            )
    return fine


def row(found: Json, values: list[float], ours: SearchResult, proved: bool, seconds: float) -> str:
    """The figures of one layer; ``values`` are the EDP of ZigZag's mappings in qmc's model."""
    first, edp, best = found["mappings"][0], ours.cost.edp_pj_cycles, min(values)
    ratio = f"{edp / best:.4f}" if best < math.inf else "none fits"
    return (
        f"{edp:>10.4g} {first['energy_pj'] * first['cycles']:>10.4g} {values[0]:>10.4g} "
        f"{best:>10.4g} {ratio:>9} {proved!s:>6} {seconds:>8.2f} {found['seconds']:>8.1f} "
        f"{len(values):>6} {values.count(math.inf):>6}"
    )


def compare_zigzag(python: Path) -> bool:
    """Compare on all machines; whether the search is never above ZigZag."""
    print("ZigZag: EDP in pJ x cycles")
    columns = "qmc itself repriced best qmc/best proved seconds theirs tried left".split()
    widths = (10, 10, 10, 10, 9, 6, 8, 8, 6, 6)
    head = " ".join(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True))
    print(f"{'machine':<17} {'tiling':<6} {'layer':<23} {head}")
    return all([compare_machine(name, python) for name in MACHINES])
