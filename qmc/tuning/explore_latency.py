"""``qmc explore --measure``: layers' latencies on this computer as the cost of widths."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from qmc import cache
from qmc.bit_costs import LayerCosts
from qmc.codegen import make_program, print_program
from qmc.codegen.build import bench_program, compile_folder, find_compiler, write_files
from qmc.errors import QmcError
from qmc.integer import IntegerNetwork
from qmc.network import Network
from qmc.options import ExploreOptions
from qmc.progress import Tick
from qmc.targets import Target
from qmc.tuning.latency_table import LatencyTable, Meter, latency_table
from qmc.tuning.records import RecordStore
from qmc.tuning.runner import LocalRunner, machine_key

#: Of a whole program: runs of it, and inferences of each.
_TURNS, _INFERENCES = 5, 20


def measured_costs(
    network: Network, target: Target, options: ExploreOptions, tick: Tick
) -> tuple[dict[str, LayerCosts], tuple[str, ...]]:
    """Nanoseconds, and cycles at the target's clock, of every layer at every triple of widths.

    Args:
        network: its layers.
        target: a machine whose kernels run here.
        options: seconds of measuring, seed, jobs.
        tick: called with programs measured and in all.

    Returns:
        Costs by layer, and notes: how much was measured, and how good the rest is.

    Raises:
        QmcError: the kernels do not run here.
    """
    if target.kernels is None or target.kernels.lacking_here():
        raise QmcError(
            f"--measure: found target '{target.name}', which has no kernels that run on this "
            "computer; allowed: one that has, such as host"
        )
    find_compiler()
    runner = LocalRunner()
    folder = cache.cache_folder() or options.output.parent
    store = RecordStore(folder / "tuning.sqlite", machine_key(target, runner))
    seconds = options.measure_seconds or 0.0
    try:
        meter = Meter(store, runner, target.kernels, seconds, options.seed, options.jobs)
        table = latency_table(network, meter, tick)
    finally:
        store.close()
    costs: dict[str, LayerCosts] = {
        name: {triple: (ns, round(ns * target.clock_hz / 1e9)) for triple, ns in row.items()}
        for name, row in table.ns.items()
    }
    return costs, (_note(table),)


def _note(table: LatencyTable) -> str:
    told = f"latencies: {table.measured} of {table.triples} layers at widths measured"
    if math.isnan(table.errors.median):
        return f"{told}; too few to tell how far off the others are"
    return (
        f"{told}; predictions of the others are off by {100 * table.errors.median:.1f} % "
        f"(median; 95 %: {100 * table.errors.p95:.1f} %) on measured ones held out"
    )


def latency_entry(network: IntegerNetwork, target: Target, predicted_ns: float) -> dict[str, Any]:
    """Predicted and measured milliseconds of a plan's program."""
    with tempfile.TemporaryDirectory(prefix="qmc-latency-") as name:
        folder = Path(name)
        write_files(print_program(make_program(network, {}, target.kernels)), folder)
        program = compile_folder(folder, folder / "run", ("-O3",))
        found = [float(bench_program(program, _INFERENCES).min()) for _ in range(_TURNS)]
    return {"predicted_ms": predicted_ns / 1e6, "measured_ms": min(found)}
