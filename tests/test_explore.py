"""``qmc explore`` and ``--scheme auto`` from end to end on a small network."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from small_classifier import write_classifier

import qmc.trial
from qmc.bit_front import Point, dominates, hypervolume, pareto, spread
from qmc.bit_groups import Assignment
from qmc.bit_problem import FLASH, SENSITIVITY, Choice
from qmc.codegen.build import find_compiler
from qmc.compiler import compile_model
from qmc.errors import QmcError
from qmc.explore import explore, make_finals, make_laboratory, prepare, split_images
from qmc.explore_command import explore_command
from qmc.fitted_weights import Fits
from qmc.integer import IntegerNetwork
from qmc.options import ExploreOptions
from qmc.progress import Stages
from qmc.reference import run_network
from qmc.trial import Images, Score
from qmc.verdicts import verdicts

QUIET = Stages(Console(quiet=True))


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ExploreOptions:
    folder = tmp_path_factory.mktemp("explore")
    model, data = write_classifier(folder)
    return ExploreOptions(
        model, "eyeriss", folder / "front", calib=data, eval=data, plans=3, jobs=2
    )


@pytest.fixture
def quick_trials(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trials run the NumPy reference; their number is counted."""
    done: list[int] = []

    def score(integer: IntegerNetwork, parts: Sequence[Images], jobs: int = 1) -> tuple[Score, ...]:
        done.append(1)
        return tuple(_score(integer, images) for images in parts)

    monkeypatch.setattr(qmc.trial, "score_program", score)
    return done


def _score(integer: IntegerNetwork, images: Images) -> Score:
    codes = integer.quantization[integer.input].quantize(images.inputs)
    outputs = run_network(integer, codes)[integer.output]
    return images.score(outputs.reshape(len(codes), -1).argmax(axis=1))


def fresh_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("QMC_CACHE_DIR", str(folder))


def test_every_plan_recompiles_to_the_same_bytes(
    options: ExploreOptions, quick_trials: list[int], tmp_path: Path
) -> None:
    find_compiler()
    data = explore_command(options, QUIET)
    folder = options.output
    assert [entry["plan"] for entry in data["points"]] == [
        f"plans/{number:03d}/plan.yaml" for number in range(len(data["points"]))
    ]
    for entry in (data["points"][0], data["points"][-1]):
        plan = folder / entry["plan"]
        build = tmp_path / plan.parent.name
        compile_model(
            *(options.model, options.target, build),
            scheme=str(plan),
            optimize=options.optimize,
            verify=False,
        )
        assert (build / "plan.yaml").read_bytes() == plan.read_bytes()
        assert (build / "scheme.yaml").read_bytes() == plan.with_name("scheme.yaml").read_bytes()
    for name in ("front.csv", "exact_front.csv", "sensitivity.csv", "front.png", "front.svg"):
        assert (folder / name).stat().st_size > 0
    assert json.loads((folder / "front.json").read_text())["points"] == data["points"]


def test_front_says_what_uniform_widths_do_at_no_more_cost(
    options: ExploreOptions, quick_trials: list[int]
) -> None:
    data = explore_command(options, QUIET)
    for entry in data["points"]:
        beside = entry["best_uniform"]
        if beside is not None:
            assert beside["cost"] <= entry["cost"]
        assert entry["search"]["images"] + entry["check"]["images"] == 24
    assert {"mixed", "uniform", "reference"} == data["hypervolume"].keys()
    assert "uniform" in data["verdict"]
    with (options.output / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(data["points"]) + len(data["uniform"])


def test_uniform_widths_are_judged_as_they_compile(
    options: ExploreOptions, quick_trials: list[int], tmp_path: Path
) -> None:
    find_compiler()
    data = explore_command(options, QUIET)
    rows = {entry["name"]: entry for entry in data["uniform"]}
    for name in ("w8a8", "w4a4", "w3a3"):
        plan = compile_model(
            *(options.model, options.target, tmp_path / name),
            scheme=name,
            calib=options.calib,
            eval=options.eval,
            verify=False,
        )
        assert plan.accuracy is not None
        parts = [rows[name]["search"], rows[name]["check"]]
        lost = sum(part["drop"] * part["images"] for part in parts)
        assert lost / sum(part["images"] for part in parts) == pytest.approx(plan.accuracy.drop)


def test_killed_evolution_goes_on_with_the_same_front(
    options: ExploreOptions,
    quick_trials: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = replace(options, generations=2)
    fresh_cache(monkeypatch, tmp_path / "whole")
    expected = explore(wanted, QUIET)
    needed = len(quick_trials)

    fresh_cache(monkeypatch, tmp_path / "killed")
    quick_trials.clear()
    score = qmc.trial.score_program

    def killed(
        integer: IntegerNetwork, parts: Sequence[Images], jobs: int = 1
    ) -> tuple[Score, ...]:
        if len(quick_trials) >= needed // 2:
            raise KeyboardInterrupt
        return score(integer, parts, jobs)

    monkeypatch.setattr(qmc.trial, "score_program", killed)
    with pytest.raises(KeyboardInterrupt):
        explore(wanted, QUIET)
    monkeypatch.setattr(qmc.trial, "score_program", score)
    done = len(quick_trials)
    found = explore(wanted, QUIET)
    assert found.points == expected.points
    assert len(quick_trials) <= needed + 2  # at most the two that ran when it was killed again
    assert len(quick_trials) > done


def test_run_killed_by_the_system_goes_on_with_the_same_front(
    options: ExploreOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command as users run it, SIGKILL in the midst of its trials, and again."""
    code = Path(os.environ["QMC_CACHE_DIR"]) / "machine-code"
    wanted = replace(options, generations=2, output=tmp_path / "front")
    fresh_cache(monkeypatch, tmp_path / "whole")
    expected = explore(wanted, QUIET)

    cache = tmp_path / "killed"
    cache.mkdir()
    (cache / "machine-code").symlink_to(code)  # a minute of compilation is not what is tested
    fresh_cache(monkeypatch, cache)
    command = [sys.executable, "-m", "qmc.cli", "explore", str(wanted.model), "-o"]
    command += [str(wanted.output), "--target", wanted.target, "--calib", str(wanted.calib)]
    command += ["--eval", str(wanted.eval), "--plans", "3", "--generations", "2", "--jobs", "2"]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and len(stored(cache)) < 4:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not wanted.output.exists()

    before = stored(cache)
    found = explore(wanted, QUIET)
    assert found.points == expected.points
    assert before.items() <= stored(cache).items()
    assert stored(cache) == stored(tmp_path / "whole")


def stored(cache: Path) -> dict[str, str]:
    """All trials of a store, which passes SQLite's own check."""
    path = cache / "trials.sqlite"
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        if ("evaluations",) not in tables:
            return {}
        return dict(database.execute("SELECT key, result FROM evaluations"))


def test_evolution_measures_and_checks_every_point(
    options: ExploreOptions, quick_trials: list[int]
) -> None:
    found = explore(replace(options, generations=1), QUIET)
    assert all(point.score and point.check for point in found.points)
    assert list(found.points) == sorted(found.points, key=lambda p: p.cost, reverse=True)


def test_limits_hold_for_every_plan(options: ExploreOptions) -> None:
    plain = replace(options, eval=None)
    free = explore(plain, QUIET)
    flash = int(free.points[0].choice.totals[FLASH] * 0.8)
    ram = int(free.points[0].choice.peak * 0.7)
    found = explore(replace(plain, flash_bytes=flash, ram_bytes=ram), QUIET)
    assert found.points
    for point in found.points:
        assert point.choice.totals[FLASH] <= flash
        assert point.choice.peak <= ram


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"flash_bytes": 10}, "--flash: found 10; the least that any widths reach is"),
        ({"ram_bytes": 10}, "--ram: found 10 bytes"),
        ({"sensitivity": "nothing"}, "--sensitivity: found 'nothing'"),
        ({"calib": None}, "explore: needs calibration images"),
        ({"generations": 1}, "--generations: needs labelled images"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    options: ExploreOptions, change: dict[str, object], told: str
) -> None:
    with pytest.raises(QmcError, match=told):
        explore(replace(options, eval=None, **change), QUIET)  # type: ignore[arg-type]


def test_measured_costs_take_the_place_of_the_mapper(
    options: ExploreOptions, tmp_path: Path
) -> None:
    ground = prepare(replace(options, eval=None), QUIET)
    layers = [layer.name for layer in ground.network.layers if layer.has_weights]
    rows = [f"{name},w{w}a{a},{w + a}" for name in layers for w in (2, 8) for a in (4, 8)]
    path = tmp_path / "costs.csv"
    path.write_text("layer,widths,cost\n" + "\n".join(rows) + "\n")
    found = explore(replace(options, eval=None, costs=str(path)), QUIET)
    for point in found.exact:
        assert set(point.assignment.weights.values()) <= {2, 8}
        read = [layer.inputs[0] for layer in ground.network.layers if layer.has_weights]
        widths = ground.space.widths
        bits = [
            widths.leaders[t].fixed or point.assignment.activations[widths.leaders[t].name]
            for t in read
        ]
        assert point.cost == sum(point.assignment.weights.values()) + sum(bits)


def test_widths_of_equal_cost_are_told_from_the_words(options: ExploreOptions) -> None:
    ground = prepare(replace(options, eval=None), QUIET)
    front = ground.space.front()
    found = verdicts(ground.space, ground.target, front[0], front)
    kept = next(v for v in found if v.bits == 8 and v.operand == "W")
    assert "7- and 6-bit = 8-bit on this machine: 16-bit words hold two of any" in kept.text
    assert [other.bits for other in kept.alternatives] == [7, 6, 5, 4, 3, 2]


def test_auto_keeps_to_the_drop_and_says_why(options: ExploreOptions, tmp_path: Path) -> None:
    plan = compile_model(
        *(options.model, options.target, tmp_path / "build"),
        scheme="auto",
        calib=options.calib,
        eval=options.eval,
        max_drop=5.0,
        verify=False,
    )
    assert plan.accuracy is not None
    assert plan.accuracy.drop <= 5.0
    assert any(note.startswith("auto: weights of") for note in plan.report["notes"])
    assert "weights: " in plan.report["layers"][0]["verdict"]
    assert min(w.bits for w in plan.scheme.weights.values()) < 8


def test_auto_without_images_is_told(options: ExploreOptions, tmp_path: Path) -> None:
    with pytest.raises(QmcError, match="--scheme auto: needs calibration images"):
        compile_model(options.model, options.target, tmp_path / "build", scheme="auto")


def point(cost: float, loss: float) -> Point:
    return Point("mixed", Assignment(), Choice((), {SENSITIVITY: loss}), cost)


def test_hypervolume_equals_the_share_of_random_points_dominated() -> None:
    rng = np.random.default_rng(2)
    points = [point(*rng.uniform(0, 1.2, 2)) for _ in range(12)]
    samples = rng.uniform(0, 1, (40_000, 2))
    hit = np.zeros(len(samples), bool)
    for p in points:
        hit |= (samples[:, 0] >= p.cost) & (samples[:, 1] >= p.loss)
    assert hypervolume(points, 1.0, 1.0) == pytest.approx(hit.mean(), abs=0.01)


def test_pareto_keeps_what_nothing_dominates() -> None:
    points = [point(3, 1), point(2, 2), point(2, 3), point(1, 3), point(4, 1)]
    assert [(p.cost, p.loss) for p in pareto(points)] == [(3, 1), (2, 2), (1, 3)]


def test_score_of_two_parts_is_that_of_all(quick_trials: list[int]) -> None:
    both = Score(10, 6, 8, 7) + Score(30, 20, 22, 25)
    assert (both.images, both.drop, both.agreement) == (40, 10.0, 80.0)


def test_a_uniform_width_that_old_trials_condemned_is_judged_as_it_compiles(
    tmp_path: Path,
) -> None:
    """Without ranges of channels a trial of w5a5 loses eleven points on the example network."""
    folder = Path(__file__).parent.parent / "examples" / "fashion"
    images = folder / "images.npz"
    options = ExploreOptions(
        folder / "fashion.onnx", "simba", tmp_path, calib=images, eval=images, plans=6, jobs=2
    )
    ground = prepare(options, QUIET)
    assert ground.eval is not None
    mixed = spread(ground.space.useful(ground.space.front()), 6)[1]
    narrow = next(point for point in ground.space.uniforms() if point.name == "w5a5")
    assert narrow.cost < mixed.cost
    parts = split_images(options.model, ground.eval, 2)
    laboratory = make_laboratory(options, ground)
    finals = make_finals(options, ground).judge([mixed, narrow], laboratory, parts)
    best, second = (final.point for final in finals)
    assert dominates(second, best)
    blind = replace(laboratory, fits=Fits(ground.fits.weights, {}), digest="blind")
    trials = blind.try_all([mixed.assignment, narrow.assignment], *parts)
    drops = [(search + check).drop for search, check in trials]
    assert drops[1] > drops[0] + 5.0
