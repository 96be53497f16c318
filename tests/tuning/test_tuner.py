"""The search for fast kernels, on small networks that are really compiled and run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import qmc.tuning.tuner as tuner
from qmc.codegen.vector.knobs import NO_KNOBS, Knobs, Outside
from qmc.compiler import compile_model
from qmc.errors import BuildError, DataError, QmcError
from qmc.frontend import load_network
from qmc.options import Options
from qmc.progress import Stages
from qmc.targets import load_target
from qmc.tuning.choices import read_tuning, tuning_text
from qmc.tuning.command import TuneOptions, print_tuning, tune_command
from qmc.tuning.problem import problems_of, sweep_of
from qmc.tuning.records import RecordStore
from qmc.tuning.runner import LocalRunner, machine_key
from qmc.tuning.tuner import Bench, tune
from tests.codegen.networks import Builder
from tests.codegen.unity import family_of
from tests.small_build import small_images, small_model

TARGET = "x86-avx2"


class Scripted:
    """A runner that makes kernel number ``fast`` of every program the fastest."""

    def __init__(self, fast: int, checksums: str = "cc") -> None:
        self.fast, self.checksums, self.programs = fast, checksums, 0

    def describe(self) -> str:
        return "scripted"

    def run(self, program: Path, constants: bytes, arguments: tuple[str, ...]) -> str:
        self.programs += 1
        sides = int((program.parent / "sides").read_text(encoding="ascii"))
        times = [50 if side == min(self.fast, sides - 1) else 100 for side in range(sides)]
        sums = [self.checksums[side % len(self.checksums)] for side in range(sides)]
        return "\n".join([*sums, *(f"{t} {t} {t}" for t in times)]) + "\n"


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are not compiled: a scripted runner needs to know the number of sides only."""

    def build(program: object, folder: Path) -> Path:
        (folder / "sides").write_text(str(program.sides), encoding="ascii")  # type: ignore[attr-defined]
        return folder / "trial"

    monkeypatch.setattr(tuner, "build_trial", build)


def network(twice: bool = True) -> Builder:
    net = Builder((1, 16, 6, 9), 8)
    at = net.conv(net.conv(net.input, 32), 32, (3, 3), groups=32, pads=(1, 1, 1, 1))
    at = net.conv(at, 32, bits=(8, 8))
    net.conv(net.conv(at, 32), 32 if twice else 40)
    return net


def bench(tmp_path: Path, runner: Scripted, **changes: object) -> Bench:
    store = RecordStore(tmp_path / "records.sqlite", "machine")
    ticks = itertools.count()
    settings = {"budget": 1e6, "clock": lambda: float(next(ticks)), **changes}
    return Bench(store, runner, **settings)  # type: ignore[arg-type]


def problems(net: Builder) -> list:
    return problems_of(net.network(), load_target(TARGET).kernels, 1000)


def test_equal_layers_are_one_problem() -> None:
    names = [problem.names for problem in problems(network())]
    assert sorted(map(len, names)) == [1, 1, 1, 2]  # the last layer writes the caller's buffer
    assert sweep_of(1) == sweep_of(1000) == 32 << 10
    assert sweep_of(100_000) == 128 << 10
    assert sweep_of(1 << 40) == 4 << 20


@pytest.mark.usefixtures("unbuilt")
def test_search_takes_what_wins_and_stops_when_nothing_gains(tmp_path: Path) -> None:
    runner = Scripted(fast=1)
    found = tune(problems(network()), bench(tmp_path, runner))
    assert all(one.knobs != NO_KNOBS for one in found)
    assert all(one.tuned_ns == 0.5 * one.untuned_ns for one in found)
    assert runner.programs < 4 * len(found) + len(found) + 1


@pytest.mark.usefixtures("unbuilt")
def test_search_keeps_defaults_that_nothing_beats(tmp_path: Path) -> None:
    found = tune(problems(network()), bench(tmp_path, Scripted(fast=0)))
    assert all(one.knobs == NO_KNOBS and one.tuned_ns == one.untuned_ns for one in found)


@pytest.mark.usefixtures("unbuilt")
def test_search_goes_on_where_it_was_and_serves_other_networks(tmp_path: Path) -> None:
    first = Scripted(fast=1)
    tune(problems(network()), bench(tmp_path, first))
    again = Scripted(fast=1)
    found = tune(problems(network()), bench(tmp_path, again, budget=0))
    assert again.programs == len(found)  # the last comparisons only
    assert all(one.knobs != NO_KNOBS for one in found)
    other = tune(problems(network(twice=False)), bench(tmp_path, Scripted(fast=1), budget=0))
    assert len(other) == 3  # what both networks have in common


@pytest.mark.usefixtures("unbuilt")
def test_kernels_that_differ_are_a_bug_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="differ in what they compute"):
        tune(problems(network()), bench(tmp_path, Scripted(fast=1, checksums="cd")))


def test_real_kernels_are_measured_and_agree(tmp_path: Path) -> None:
    family = family_of(TARGET)
    net = Builder((1, 16, 6, 9), 8)
    net.conv(net.conv(net.input, 24, (3, 3), pads=(1, 1, 1, 1)), 24, bits=(4, 6))
    runner, ticks = LocalRunner(), itertools.count()
    store = RecordStore(tmp_path / "r.sqlite", machine_key(load_target(TARGET), runner))
    work = problems_of(net.network(), family, 1000)
    found = tune(work, Bench(store, runner, 4.0, clock=lambda: float(next(ticks))))
    assert len(found) == 2
    assert all(0 < one.tuned_ns <= one.untuned_ns for one in found)
    assert len(store.all()) >= 8


def options(tmp_path: Path, **changes: object) -> TuneOptions:
    model = small_model(tmp_path)
    wanted = Options(model, TARGET, tmp_path / "tuned", jobs=1, **changes)  # type: ignore[arg-type]
    return TuneOptions(wanted, 0.0, tmp_path / "records.sqlite", LocalRunner())


def test_command_makes_a_verified_build_that_compile_repeats(tmp_path: Path) -> None:
    family_of(TARGET)
    wanted = options(tmp_path, calib=small_images(tmp_path))
    data = tune_command(wanted, Stages(Console(quiet=True)))
    assert data["network"]["ratio"] > 0
    assert data["notes"] == []
    console = Console(record=True, width=100)
    print_tuning(data, console)
    assert "Whole network" in console.export_text()
    tuning = tmp_path / "mine.yaml"
    knobs = {"stem": Knobs(vectors=1, pixels=4, outside=Outside.CHANNELS)}
    tuning.write_text(tuning_text(load_target(TARGET), knobs), encoding="utf-8")
    plans = [
        compile_model(
            wanted.compile.model,
            TARGET,
            tmp_path / name,
            calib=wanted.compile.calib,
            tuning=file,
            verify=False,
        )
        for name, file in (("plain", None), ("again", tuning))
    ]
    texts = [
        {kernel.integer.layer.name: kernel.text for kernel in plan.program.kernels}
        for plan in plans
    ]
    assert {name for name in texts[0] if texts[0][name] != texts[1][name]} == {"stem"}
    assert (tmp_path / "again" / "tuning.yaml").read_text(encoding="utf-8") == tuning.read_text(
        encoding="utf-8"
    )
    assert json.loads((tmp_path / "tuned" / "tuning.json").read_text(encoding="utf-8")) == data


def test_command_without_images_says_so(tmp_path: Path) -> None:
    family_of(TARGET)
    data = tune_command(options(tmp_path, verify=False), Stages(Console(quiet=True)))
    assert "random inputs" in data["notes"][0]


def test_machine_without_kernels_is_refused(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    plain = TuneOptions(
        Options(wanted.compile.model, "simba", tmp_path / "x"), 0.0, None, LocalRunner()
    )
    with pytest.raises(QmcError, match="no vector kernels"):
        tune_command(plain, Stages(Console(quiet=True)))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"nobody": {}}, "found 'nobody'; allowed: layers of"),
        ({"stem": {"vectors": 9}}, "vectors"),
        ({"stem": {"widest": 64}}, "widest: found 64; allowed: 32, 16"),
        ({"stem": {"speed": 1}}, "speed"),
    ],
)
def test_wrong_tuning_is_told(tmp_path: Path, layers: object, message: str) -> None:
    network = load_network(small_model(tmp_path))[1]
    file = tmp_path / "tuning.yaml"
    data = {"schema_version": 1, "target": {"name": "x", "sha256": "0"}, "layers": layers}
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_tuning(file, network, load_target(TARGET))
