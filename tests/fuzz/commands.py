"""Commands with one damaged input, and the rules that every one of them has to keep."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from qmc.chosen_network import load_chosen
from qmc.encodings import encodings_text
from qmc.mapping_text import mapping_to_data
from qmc.targets.load import find_target
from tests.fuzz.mutate import mutation_of
from tests.fuzz.networks import network_case
from tests.fuzz.sandbox import BYTES, SECONDS, Outcome, import_all, run_apart, run_command
from tests.small_build import compile_small

LAYER = "C=3 K=8 P=10 Q=7 R=3 S=3"
_COMPILE = ("compile", "model.onnx", "-t", "eyeriss", "-o", "out", "--jobs", "1", "--no-verify")
_COMPILE += ("--mapper", "random", "--calib", "images.npz", "--limit", "2", "--golden", "1")
_MAP = ("map", "--mapper", "random", "--no-what-helps", "--jobs", "1", "--layer", LAYER)
#: Files that are damaged, each with a command that reads it.
COMMANDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    *(("model.onnx", _COMPILE),) * 4,
    *(("net/network.onnx", (*_COMPILE[:1], "net/network.onnx", *_COMPILE[2:])),) * 4,
    ("images.npz", _COMPILE),
    ("images.npz", _COMPILE),
    ("widths.yaml", (*_COMPILE, "--scheme", "widths.yaml")),
    ("build/scheme.yaml", (*_COMPILE, "--scheme", "build/scheme.yaml")),
    ("preprocess.yaml", (*_COMPILE, "--preprocess", "preprocess.yaml")),
    ("encodings.json", (*_COMPILE, "--encodings", "encodings.json")),
    ("harm.csv", (*_COMPILE, "--scheme", "w4.5a8", "--sensitivity", "harm.csv")),
    ("machine.yaml", ("targets", "check", "machine.yaml")),
    ("machine.yaml", (*_MAP, "-t", "machine.yaml")),
    ("mapping.yaml", ("evaluate", "-t", "eyeriss", "--layer", LAYER, "--mapping", "mapping.yaml")),
    ("measured.csv", ("calibrate", "measured.csv", "-t", "eyeriss", "-o", "out", "--jobs", "1")),
    ("build/plan.yaml", ("export", "build", "--format", "qdq", "-o", "out")),
    ("build/network.onnx", ("export", "build", "--format", "qonnx", "-o", "out")),
    ("build/scheme.yaml", ("export", "build", "--format", "encodings", "-o", "out")),
    ("build/plan.yaml", ("export", "build", "--format", "timeloop", "-o", "out")),
    ("build/plan.yaml", ("diff", "build", "other")),
    ("build/report.json", ("diff", "build", "other")),
    ("build/report.json", ("report", "build")),
    ("build/report.csv", ("report", "build")),
    ("build/golden/index.json", ("verify", "build")),
    ("build/plan.yaml", ("run", "build", "input.npy")),
    ("input.npy", ("run", "build", "input.npy")),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a command broke.

    Attributes:
        rule: which.
        command: its arguments.
        folder: its inputs, kept.
        told: the end of what it printed.
    """

    rule: str
    command: tuple[str, ...]
    folder: Path
    told: str


def write_inputs(folder: Path) -> None:
    """Whole inputs for all commands: damaged copies of them are tried.

    Raises:
        RuntimeError: they cannot be made.
    """
    import_all()
    folder.mkdir()
    network = folder.with_name("network")
    network.mkdir()
    # Apart: what forks may have no threads. Kernels are compiled here, which takes its time.
    for work, place in (
        (partial(_write_inputs, folder), folder),
        (network_case(random.Random(0)), network),
    ):
        outcome = run_apart(work, place, seconds=600)
        if outcome.status:
            raise RuntimeError(outcome.told)


def _write_inputs(folder: Path) -> None:
    plan = compile_small(folder)
    shutil.copytree(plan.output, folder / "other")
    (folder / "net").mkdir()
    shutil.copy(plan.output / "network.onnx", folder / "net")
    mapping = next(iter(load_chosen(plan.output).mappings.values()))
    texts = {
        "widths.yaml": "default: w4a8\nlayers:\n  stem: {w: 6, a: 8}\n  fc: {w: 3}\n",
        "preprocess.yaml": "color: rgb\nmean: [127, 127, 127]\nstd: [64, 64, 64]\n",
        "encodings.json": encodings_text(plan.network, plan.scheme),
        "machine.yaml": find_target("eyeriss").read_text("utf-8"),
        "mapping.yaml": yaml.safe_dump(mapping_to_data(mapping)),
        "measured.csv": "layer,mapping,widths,measured\n"
        + "".join(f"{LAYER} stride={s},best,w8a8,{9000 // s}\n" for s in (1, 2)),
        "harm.csv": _harm_text(plan),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    np.save(folder / "input.npy", np.zeros((3, 10, 7), np.float32))


def _harm_text(plan: object) -> str:
    network = plan.network  # type: ignore[attr-defined]
    rows = ["operand,name,bits,sensitivity"]
    for bits in range(2, 9):
        rows += [f"W,{one.name},{bits},{1 / bits}" for one in network.layers if one.has_weights]
        rows += [f"A,{name},{bits},{0.5 / bits}" for name in network.tensors]
    return "\n".join(rows) + "\n"


def try_one(inputs: Path, folder: Path, dice: random.Random) -> Finding | None:
    """Damage one file of a copy of ``inputs`` and run a command on it; removed where all is well.

    Args:
        inputs: made by :func:`write_inputs`.
        folder: the copy, made here.
        dice: decides everything.
    """
    name, command = dice.choice(COMMANDS)
    shutil.copytree(inputs, folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(mutation_of(name)(content, dice))
    before = _entries(folder)
    outcome = run_command(command, folder)
    broken = judge(outcome, _entries(folder) - before)
    if broken:
        return Finding(broken, command, folder, outcome.told[-1500:])
    shutil.rmtree(folder)
    return None


def try_network(folder: Path, dice: random.Random) -> Finding | None:
    """Compile a random network in ``folder``, made here; removed where all is well."""
    folder.mkdir()
    outcome = run_apart(network_case(dice), folder)
    broken = judge(outcome, set()) or ("refused" if outcome.status else "")
    if broken:
        return Finding(broken, ("compile", "build"), folder, outcome.told[-1500:])
    shutil.rmtree(folder)
    return None


def _entries(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} - {"tmp"}


def judge(outcome: Outcome, new: set[str]) -> str:
    """What the command did that none may do; empty where it did nothing wrong."""
    if outcome.status == -9:
        return f"ran longer than {SECONDS} s"
    if outcome.peak_bytes > BYTES:
        return f"took {outcome.peak_bytes >> 20} MiB"
    if outcome.status not in (0, 2) or "Traceback" in outcome.told:
        return f"ended with {outcome.status}"
    errors = [line for line in outcome.told.splitlines() if line.startswith("qmc: error: ")]
    if len(errors) > 1:
        return "told more than one error"
    if any(name.startswith("tmp/") or "/." in f"/{name}" for name in new):
        return f"left {', '.join(sorted(new)[:3])}"
    if errors and new:
        return f"failed and left {', '.join(sorted(new)[:3])}"
    return ""


def describe(findings: Sequence[Finding]) -> str:
    """For people."""
    blocks = [
        f"{one.rule}: qmc {' '.join(one.command)}\n  inputs: {one.folder}\n{one.told}"
        for one in findings
    ]
    return "\n\n".join(blocks)
