"""What every layer takes at every triple of widths on this computer: measured, the rest learned.

Of every distinct layer the kernel at the widest triple, at each narrower width of each operand
alone and at a few random triples are measured, in turns, the largest layers first, until the budget
is spent. Trees learn the time over a count of the work; what was not measured is their prediction,
and how far they are off is told by triples held out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from qmc.bit_groups import SEARCH_WIDTHS, activation_groups
from qmc.codegen.trial import print_sides
from qmc.errors import QuantizationError
from qmc.layer import Layer
from qmc.network import Network
from qmc.progress import Tick, no_tick
from qmc.targets import KernelFamily
from qmc.tuning.latency_model import LatencyErrors, fill_gaps
from qmc.tuning.problem import Problem, problem_key, sweep_of
from qmc.tuning.records import NO_KNOBS_TEXT, Record, RecordStore
from qmc.tuning.runner import SEARCH_EFFORT, Runner, build_trial, measure_sides
from qmc.tuning.single_layer import layer_at
from qmc.tuning.timing import Timing
from qmc.width_classes import Triple
from qmc.widths import TRANSPARENT

#: Kernels of one program, the widest included.
_SIDES = 8
#: Random triples of a layer.
_CROSSES = 3


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Nanoseconds of layers.

    Attributes:
        ns: by layer and triple, of all layers and all triples that its tensors may have.
        measured: triples measured, of ``triples`` of distinct layers.
        errors: of predictions, on triples held out.
    """

    ns: Mapping[str, Mapping[Triple, float]]
    measured: int
    triples: int
    errors: LatencyErrors


@dataclass(frozen=True, slots=True)
class Meter:
    """Where latencies are measured.

    Attributes:
        store: of records. runner: where programs run. family: the vector unit.
        budget: seconds. seed: of random triples. jobs: compilers side by side.
    """

    store: RecordStore
    runner: Runner
    family: KernelFamily | None
    budget: float
    seed: int = 0
    jobs: int = 1


@dataclass(slots=True)
class _Row:
    """A distinct layer."""

    layer: Layer
    names: list[str]
    triples: list[Triple]
    plan: list[list[Triple]]
    keys: dict[Triple, str]
    found: dict[Triple, float]


def latency_table(network: Network, meter: Meter, tick: Tick = no_tick) -> LatencyTable:
    """Measure, and fill what the budget leaves out.

    Raises:
        BuildError: a kernel cannot be built or run.
    """
    rows = _rows(network, meter)
    began, jobs = time.monotonic(), max(1, meter.jobs)
    tasks = [
        (row, batch)
        for number in range(max(len(row.plan) for row in rows))
        for row in sorted(rows, key=lambda row: -row.layer.macs)
        for batch in row.plan[number : number + 1]
        if any(triple not in row.found for triple in batch)
    ]
    for at in range(0, len(tasks), jobs):
        if at and time.monotonic() - began > meter.budget:
            break
        _measure(network, tasks[at : at + jobs], meter)
        tick(at + jobs, len(tasks))
    filled, errors = fill_gaps([(row.layer, row.triples, row.found) for row in rows], meter.seed)
    return LatencyTable(
        {name: table for row, table in zip(rows, filled, strict=True) for name in row.names},
        sum(len(row.found) for row in rows),
        sum(len(row.triples) for row in rows),
        errors,
    )


def possible_triples(network: Network, layer: Layer) -> list[Triple]:
    """All (weight, input, output) widths that a layer may have; 8 stands for no weights."""
    fixed = {t: group.fixed for group in activation_groups(network) for t in group.tensors}

    def widths(name: str) -> Sequence[int]:
        bits = fixed[name]
        return SEARCH_WIDTHS if bits is None else (bits,)

    inputs = sorted({bits for name in layer.inputs for bits in widths(name)})
    weights = SEARCH_WIDTHS if layer.has_weights else (8,)
    found = product(weights, inputs, widths(layer.output))
    if layer.op in TRANSPARENT:
        return [(w, a, o) for w, a, o in found if a == o]
    return list(found)


def _plan(triples: Sequence[Triple], random: np.random.Generator) -> list[list[Triple]]:
    """Programs for one layer: the widest triple in each, then slices, then random triples."""
    widest = max(triples)
    slices = [
        [t for t in reversed(triples) if all(t[at] == widest[at] for at in range(3) if at != part)]
        for part in range(3)
    ]
    pool = sorted(set(triples) - {t for part in slices for t in part})
    drawn = [pool[at] for at in random.permutation(len(pool))[:_CROSSES]]
    if len(set(triples)) <= len(SEARCH_WIDTHS):  # both widths are one
        slices, drawn = [list(triples)], []
    programs = []
    for number, part in enumerate(slices):
        others = [t for t in part if t != widest] + drawn[number : number + 1]
        if others or number == 0:
            programs.append([widest, *others][:_SIDES])
    return programs


def _rows(network: Network, meter: Meter) -> list[_Row]:
    """Distinct layers with what is known of them already."""
    known = {
        record.problem: record.timing.ns
        for record in meter.store.all()
        if record.knobs == NO_KNOBS_TEXT
    }
    random = np.random.default_rng(meter.seed)
    rows: dict[str, _Row] = {}
    sweep = sweep_of(sum(p.weights.size for p in network.parameters.values()))
    for layer in network.layers:
        triples = possible_triples(network, layer)
        widest = max(triples)
        try:
            key = problem_key(layer_at(network, layer, widest), 0, meter.family, sweep)
        except QuantizationError:
            continue
        if key in rows:
            rows[key].names.append(layer.name)
            continue
        plan = _plan(triples, random)
        keys = {
            t: problem_key(layer_at(network, layer, t), 0, meter.family, sweep)
            for t in {t for batch in plan for t in batch}
        }
        found = {t: known[text] for t, text in keys.items() if text in known}
        rows[key] = _Row(layer, [layer.name], triples, plan, keys, found)
    return list(rows.values())


def _measure(network: Network, tasks: Iterable[tuple[_Row, list[Triple]]], meter: Meter) -> None:
    """Programs of some layers: compiled side by side, measured one after another."""
    tasks = list(tasks)
    sweep = sweep_of(sum(p.weights.size for p in network.parameters.values()))
    with tempfile.TemporaryDirectory(prefix="qmc-latency-") as name:

        def build(number: int) -> tuple[Any, Path]:
            row, batch = tasks[number]
            networks = [layer_at(network, row.layer, triple) for triple in batch]
            kernels = [
                Problem(one, 0, meter.family, (), sweep, "").kernel(f"s{side}")
                for side, one in enumerate(networks)
            ]
            program = print_sides(networks, kernels, meter.family)
            folder = Path(name) / str(number)
            folder.mkdir()
            return program, build_trial(program, folder)

        with ThreadPoolExecutor(max(1, meter.jobs)) as pool:
            built = list(pool.map(build, range(len(tasks))))
        for (row, batch), (program, executable) in zip(tasks, built, strict=True):
            timings = measure_sides(program, executable, meter.runner, sweep, SEARCH_EFFORT)
            _keep(row, batch, timings, meter.store)


def _keep(
    row: _Row, batch: Sequence[Triple], timings: Sequence[Timing], store: RecordStore
) -> None:
    """The widest kernel of a layer is in all its programs: others are told relative to it."""
    first = row.found.setdefault(batch[0], timings[0].ns)
    records = []
    for triple, timing in zip(batch, timings, strict=True):
        ns = row.found.setdefault(triple, first * timing.ratio)
        records.append(
            Record(row.keys[triple], NO_KNOBS_TEXT, (), Timing(ns, 1.0, timing.checksum))
        )
    store.add(records)
