"""``qmc tune``: measure kernels for a time, compile with the fastest, tell what it gained."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmc import cache
from qmc.codegen import make_program, print_program
from qmc.codegen.build import bench_program, compile_folder, write_files
from qmc.codegen.vector.knobs import Knobs
from qmc.compiler import check_runs_here, compile_with_options
from qmc.errors import QmcError
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.options import Options
from qmc.output_folder import check_replaceable
from qmc.progress import Stages
from qmc.targets import Target, load_target
from qmc.tensor_ranges import tensors_to_observe
from qmc.tuning.problem import problems_of
from qmc.tuning.records import RecordStore
from qmc.tuning.runner import LocalRunner, Runner, machine_key
from qmc.tuning.tuner import Bench, Tuned, tune

Json = dict[str, Any]
#: Random inputs where there are no images to calibrate with.
_IMAGES = 8
_NOTE = (
    "ranges come from random inputs: kernels and times are those of any calibration, answers are "
    "not; for a build to use give --calib, or compile with --tuning"
)
#: Turns of both whole programs, and inferences of a turn.
_TURNS, _INFERENCES = 15, 20


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """One run of ``qmc tune``.

    Attributes:
        compile: everything that ``qmc compile`` would be asked for.
        budget: seconds of measuring.
        records: SQLite file; None is ``tuning.sqlite`` in the cache folder.
        runner: where kernels run.
    """

    compile: Options
    budget: float
    records: Path | None
    runner: Runner


def tune_command(options: TuneOptions, stages: Stages) -> Json:
    """Tune, compile with what was found, and give back the object of tuning.json.

    Raises:
        QmcError: one of its classes.
    """
    target = load_target(options.compile.target)
    check_replaceable(options.compile.output)
    if target.kernels is None:
        raise QmcError(
            f"--target: found '{target.name}', which has no vector kernels to be tuned; allowed: "
            "a machine with `kernels`, such as host"
        )
    is_local = isinstance(options.runner, LocalRunner)
    if is_local:
        check_runs_here(target)
    told: list[Json] = []

    def choose(integer: IntegerNetwork) -> dict[str, Knobs]:
        with stages.stage("measure kernels") as tick:
            found = tune_network(integer, target, options, tick)
        knobs = {name: one.knobs for one in found for name in one.names}
        told.append({"layers": [_entry(one) for one in found]})
        if is_local:
            with stages.stage("compare whole programs"):
                told[0]["network"] = _compare_programs(integer, target, knobs)
        return knobs

    with _with_images(options.compile) as (wanted, notes):
        plan = compile_with_options(wanted, stages, choose)
    data = {
        **told[0],
        "target": {"name": target.name, "sha256": target.sha256},
        "notes": notes,
        "output": str(plan.output),
    }
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    (plan.output / "tuning.json").write_text(text, encoding="utf-8")
    return data


@contextmanager
def _with_images(options: Options) -> Iterator[tuple[Options, list[str]]]:
    """The options with images: times do not depend on ranges, so random ones will do."""
    if options.calib is not None:
        yield options, []
        return
    network = load_network(options.model)[1]
    if not tensors_to_observe(network):
        yield options, []
        return
    shape = network.tensors[network.input].shape
    images = np.random.default_rng(options.seed).normal(size=(_IMAGES, *shape[1:]))
    with tempfile.TemporaryDirectory(prefix="qmc-tune-") as name:
        file = Path(name) / "random.npy"
        np.save(file, images.astype(np.float32))
        yield replace(options, calib=file), [_NOTE]


def tune_network(
    integer: IntegerNetwork, target: Target, options: TuneOptions, tick: Any
) -> list[Tuned]:
    """The search, with its records."""
    path = options.records or (cache.cache_folder() or options.compile.output.parent)
    path = path if options.records else path / "tuning.sqlite"
    store = RecordStore(path, machine_key(target, options.runner))
    program = make_program(integer, {}, target.kernels)
    traffic = program.flash_bytes + program.ram_peak_bytes
    problems = problems_of(integer, target.kernels, traffic)
    bench = Bench(store, options.runner, options.budget, options.compile.seed, options.compile.jobs)
    try:
        return tune(problems, bench, tick)
    finally:
        store.close()


def _entry(one: Tuned) -> Json:
    return {
        "layers": list(one.names),
        "untuned_us": one.untuned_ns / 1e3,
        "tuned_us": one.tuned_ns / 1e3,
        "knobs": one.knobs.to_data(),
        "measured": one.measured,
        "candidates": one.candidates,
    }


def _compare_programs(integer: IntegerNetwork, target: Target, knobs: dict[str, Knobs]) -> Json:
    """Milliseconds of both whole programs, in turns."""
    with tempfile.TemporaryDirectory(prefix="qmc-tune-") as name:
        programs = []
        for part, chosen in (("untuned", {}), ("tuned", knobs)):
            folder = Path(name) / part
            write_files(print_program(make_program(integer, {}, target.kernels, chosen)), folder)
            programs.append(compile_folder(folder, folder / "run", ("-O3",)))
        untuned, tuned = turns_of(programs, _TURNS, _INFERENCES)
    ratio = float(np.median(tuned / untuned))
    return {"untuned_ms": untuned.min(), "tuned_ms": tuned.min(), "ratio": ratio}


def turns_of(programs: Sequence[Path], turns: int, inferences: int) -> np.ndarray[Any, Any]:
    """Least milliseconds of each program in each turn, (programs, turns)."""
    least = [
        [float(bench_program(program, inferences).min()) for program in programs]
        for _ in range(turns)
    ]
    return np.array(least).T


def print_tuning(data: Json, console: Console) -> None:
    """Tuned against untuned, layer by layer."""
    table = Table(box=None, header_style="bold")
    for name in ("layer", "untuned, µs", "tuned, µs", "ratio", "tried", "choice"):
        table.add_column(name, justify="left" if name in {"layer", "choice"} else "right")
    for entry in data["layers"]:
        more = len(entry["layers"]) - 1
        knobs = ", ".join(f"{key} {value}" for key, value in entry["knobs"].items())
        table.add_row(
            entry["layers"][0] + (f" and {more} more" if more else ""),
            f"{entry['untuned_us']:.2f}",
            f"{entry['tuned_us']:.2f}",
            f"{entry['tuned_us'] / entry['untuned_us']:.3f}",
            f"{entry['measured']} of {entry['candidates']}",
            knobs or "defaults",
        )
    console.print(table)
    whole = data.get("network")
    if whole:
        console.print(
            Text(
                f"Whole network: {whole['untuned_ms']:.4f} ms untuned, {whole['tuned_ms']:.4f} ms "
                f"tuned, {whole['ratio']:.3f} (median of turns)",
                style="bold",
            )
        )
    for note in data["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))
    console.print(Text(f"written: {data['output']}"))
