"""The command line as a user meets it: one line and exit code 2 for every mistake."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from qmc import __version__, cli
from qmc.layer import Precision
from qmc.width_csv import read_width_table
from tests.onnx_graph import OnnxGraph

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def qmc(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        sys.argv = ["qmc", *map(str, arguments)]
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    saved = sys.argv
    yield run  # type: ignore[misc]
    sys.argv = saved


def make_model(folder: Path, weights: np.ndarray | None = None) -> Path:
    graph = OnnxGraph((1, 3, 9, 7))
    kernel = graph.random(6, 3, 3, 3) if weights is None else graph.const(weights)
    conv = graph.node("Conv", "x", kernel, name="conv", strides=[2, 1], pads=[1, 0, 0, 1])
    relu = graph.node("Relu", conv)
    pool = graph.node("GlobalAveragePool", relu, name="pool")
    flat = graph.node("Flatten", pool)
    return graph.save(graph.node("Gemm", flat, graph.random(6, 4), name="fc"), folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 9, 7, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(24) % 4)
    return tmp_path / "images.npz"


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return tmp_path / "build"


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert out == ""
    (line,) = err.strip().splitlines()
    assert line.startswith("qmc: error: ")
    for word in words:
        assert word in line


def nothing_left(folder: Path, *expected: str) -> None:
    names = {path.name for path in folder.iterdir()} - {"images.npz", "model.onnx"}
    assert names == set(expected)


def test_compile_then_every_command_of_a_build(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path
) -> None:
    code, out, err = qmc(
        *("compile", model, "-t", "eyeriss", "--scheme", "w4a8", "--calib", images),
        *("--eval", images, "-o", build, "--dump-ir", tmp_path / "ir", "--json"),
    )
    assert code == 0, err
    report = json.loads(out)
    assert report == json.loads((build / "report.json").read_text())
    assert report["network"]["images"] == 24
    assert [layer["w_bits"] for layer in report["layers"] if layer["macs"]] == [4, 4]
    assert all(layer["certificate"]["proved"] for layer in report["layers"] if layer["macs"])
    assert {"plan.yaml", "scheme.yaml", "report.csv", "Makefile"} <= set(os.listdir(build))
    assert len(list((tmp_path / "ir").glob("*.py"))) > 5
    with (build / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, layer in zip(rows, report["layers"], strict=True):
        assert row["gap"] == ("0.0" if layer["macs"] else "")
        assert row["verdict"] == layer["verdict"]
        for flow, found in layer["baselines"].items():
            assert float(row[f"times_{flow}"]) == found["times"]
    code, out, _ = qmc("verify", build)
    assert code == 0
    assert "verified" in out
    code, out, _ = qmc("report", build)
    assert code == 0
    assert "Network summary for model" in out
    np.save(tmp_path / "one.npy", np.zeros((3, 9, 7), np.float32))
    code, out, _ = qmc("run", build, tmp_path / "one.npy", "--json")
    assert code == 0
    (prediction,) = json.loads(out)["predictions"]
    assert sorted(found["class"] for found in prediction["top"]) == [0, 1, 2, 3]


def test_compile_with_short_tiles_is_bit_exact(
    qmc: Run, model: Path, images: Path, build: Path
) -> None:
    code, out, err = qmc(
        *("compile", model, "-t", "simba", "--calib", images, "-o", build),
        *("--factors", "imperfect", "--json"),
    )
    assert code == 0, err
    report = json.loads(out)
    certificates = [layer["certificate"] for layer in report["layers"] if layer["macs"]]
    assert {certificate["factors"] for certificate in certificates} == {"imperfect"}
    assert "qmc_least(" in "".join(path.read_text() for path in build.rglob("*.c"))
    assert "factors: imperfect" in (build / "plan.yaml").read_text()


@pytest.mark.parametrize("widths", ["w8a8", "w3a6"])
def test_compile_twice_from_images_and_from_scheme_gives_identical_bytes(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path, widths: str
) -> None:
    common = ("compile", model, "-t", "simba", "--no-verify")
    asked = ("--scheme", widths, "--calib", images)
    assert qmc(*common, *asked, "-o", build)[0] == 0
    again, from_scheme = tmp_path / "again", tmp_path / "from_scheme"
    assert qmc(*common, *asked, "-o", again, "--jobs", 1)[0] == 0
    recompiled = ("--scheme", build / "scheme.yaml", "--calib", images, "-o", from_scheme)
    assert qmc(*common, *recompiled)[0] == 0

    def tree(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert tree(build) == tree(again) == tree(from_scheme)


def test_verify_of_a_changed_weight_says_which_layer(
    qmc: Run, model: Path, images: Path, build: Path
) -> None:
    assert qmc("compile", model, "-t", "simba", "--calib", images, "-o", build)[0] == 0
    text = (build / "weights.c").read_text()
    start = text.index("{", text.index("_weights["))
    digit = next(i for i in range(start, len(text)) if text[i].isdigit())
    changed = "1" if text[digit] != "1" else "2"
    (build / "weights.c").write_text(text[:digit] + changed + text[digit + 1 :])
    code, out, _ = qmc("verify", build)
    assert code == 2
    assert "conv" in out


def test_map_layer_prints_one_entry(qmc: Run) -> None:
    code, out, _ = qmc(
        *("map", "--layer", "C=8 K=12 P=6 Q=5 R=3 S=3 stride=2", "-t", "eyeriss"),
        *("--bits", "w4a8o8", "--json"),
    )
    assert code == 0
    entry = json.loads(out)
    assert entry["macs"] == 8 * 12 * 6 * 5 * 9
    assert (entry["w_bits"], entry["a_bits"], entry["o_bits"]) == (4, 8, 8)
    assert entry["certificate"]["proved"]
    assert entry["energy_pj"] == pytest.approx(sum(entry["energy_by_memory_pj"].values()))


@pytest.mark.parametrize("factors", ["perfect", "spatial-imperfect", "imperfect"])
def test_evaluate_of_a_found_mapping_gives_the_same_cost(
    qmc: Run, tmp_path: Path, factors: str
) -> None:
    layer = ("--layer", "C=7 K=13 P=6 Q=5 R=3 S=3", "-t", "simba", "--bits", "w4a8o8")
    found = json.loads(qmc("map", *layer, "--factors", factors, "--json")[1])
    assert found["certificate"]["factors"] == factors
    (tmp_path / "mapping.json").write_text(json.dumps(found["mapping"]))
    code, out, _ = qmc("evaluate", *layer, "--mapping", tmp_path / "mapping.json", "--json")
    assert code == 0
    priced = json.loads(out)
    for key in ("energy_pj", "cycles", "accesses", "energy_by_memory_pj", "bound"):
        assert priced[key] == found[key]


def test_map_of_a_model_writes_the_width_table(qmc: Run, model: Path, tmp_path: Path) -> None:
    code, out, _ = qmc(
        "map", model, "-t", "simba-8b", "--width-table", tmp_path / "t.csv", "--json"
    )
    assert code == 0
    table = read_width_table(tmp_path / "t.csv")
    found = [entry for entry in json.loads(out)["layers"] if entry["op"] in ("conv", "dense")]
    assert len(table.entries) == len(found) * 7**3
    for entry in found:
        best = table.entry(entry["name"], Precision())
        assert (best.energy_pj, best.cycles) == (entry["energy_pj"], entry["cycles"])


def test_map_of_a_model_prints_all_layers(qmc: Run, model: Path) -> None:
    code, out, _ = qmc("map", model, "-t", "simba-8b", "--json")
    assert code == 0
    report = json.loads(out)
    assert [layer["op"] for layer in report["layers"]] == ["conv", "average_pool", "dense"]
    assert report["network"]["energy_uj"] > 0


def test_map_takes_one_layer_of_a_model_by_name(qmc: Run, model: Path) -> None:
    code, out, _ = qmc("map", model, "--layer", "fc", "-t", "simba", "--json")
    assert code == 0
    assert json.loads(out)["name"] == "fc"
    code, out, _ = qmc("map", model, "--layer", "pool", "-t", "simba", "--json")
    assert code == 0
    assert json.loads(out)["mapping"] == []
    refused(qmc("map", model, "--layer", "cov", "-t", "simba"), "no layer 'cov'", "near: conv")
    refused(qmc("map", model, "--layer", "pool", "-t", "simba", "--pareto"), "'pool'")


def test_map_of_a_model_compares_with_named_dataflows(qmc: Run, model: Path) -> None:
    report = json.loads(qmc("map", model, "-t", "eyeriss", "--json")[1])
    conv, pool, _ = report["layers"]
    assert list(conv["baselines"]) == list(report["network"]["baselines"])
    assert pool["baselines"] == {}
    stationary = conv["baselines"]["weight-stationary"]
    times = stationary["edp_pj_cycles"] / conv["edp_pj_cycles"]
    assert stationary["times"] == pytest.approx(times)
    code, out, _ = qmc("map", model, "-t", "eyeriss")
    assert code == 0
    assert f"×{times:.2f}" in out


def test_map_under_a_latency_limit(qmc: Run) -> None:
    layer = ("map", "--layer", "C=16 K=12 P=8 Q=5", "-t", "eyeriss", "--optimize", "energy")
    points = json.loads(qmc(*layer, "--pareto", "--json")[1])["points"]
    cycles = [point["cycles"] for point in points]
    assert len(cycles) > 1
    limited = json.loads(qmc(*layer, "--max-latency", f"{cycles[1]}ns", "--json")[1])
    assert limited["cycles"] == cycles[1]  # one cycle is a nanosecond
    assert limited["certificate"]["max_cycles"] == cycles[1]
    short = qmc(*layer, "--max-latency", f"{cycles[-1] - 1}cycles")
    refused(short, "allowed", f"fastest mapping takes {cycles[-1]}")


def test_map_of_a_model_under_a_latency_limit_picks_the_best_points(qmc: Run, model: Path) -> None:
    command = ("map", model, "-t", "eyeriss", "--optimize", "energy")
    free = json.loads(qmc(*command, "--json")[1])
    fronts = [
        json.loads(qmc(*command, "--layer", layer["name"], "--pareto", "--json")[1])["points"]
        for layer in free["layers"]
        if layer["macs"]
    ]
    rest = sum(layer["cycles"] for layer in free["layers"] if not layer["macs"])
    totals = [
        (sum(point["energy_pj"] for point in points), sum(point["cycles"] for point in points))
        for points in itertools.product(*fronts)
    ]
    least, most = (choose(cycles for _, cycles in totals) for choose in (min, max))
    assert least < most
    for limit in (least, (least + most) // 2, most):
        arguments = (*command, "--max-latency", f"{limit + rest}cycles")
        found = json.loads(qmc(*arguments, "--json")[1])
        assert found["network"]["cycles"] <= limit + rest == found["network"]["max_cycles"]
        chosen = sum(layer["energy_pj"] for layer in found["layers"] if layer["macs"])
        assert chosen == pytest.approx(min(e for e, cycles in totals if cycles <= limit))
    refused(qmc(*command, "--max-latency", f"{least + rest - 1}cycles"), f"take {least + rest} ")
    both = qmc(*command, "--max-latency", "1s", "--budget", "1")
    refused(both, "--budget")


def test_map_with_a_budget_says_how_far_it_may_be(qmc: Run) -> None:
    layer = ("map", "--layer", "C=192 K=96 P=28 Q=20 R=3 S=3", "-t", "simba", "--no-what-helps")
    entry = json.loads(qmc(*layer, "--budget", "0.001", "--json")[1])
    assert not entry["certificate"]["proved"]
    assert entry["certificate"]["gap"] > 0
    assert "what_helps" not in entry
    code, out, _ = qmc(*layer, "--budget", "0.001")
    assert code == 0
    assert "not proved" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("map", "m.onnx", "-t", "simba", "--max-latency", "2 years"), ("2 years",)),
        (("map", "--layer", "C=3", "-t", "simba", "--max-latency", "2h"), ("'2h'", "cycles")),
        (("map", "--layer", "C=3", "-t", "simba", "--budget", "0"), ("--budget",)),
        (("map", "-t", "simba", "--pareto"), ("--layer",)),
        (
            ("map", "--layer", "C=3", "-t", "simba", "--factors", "imperfect", "--pareto"),
            ("--pareto", "perfect", "imperfect"),
        ),
        (
            ("map", "--layer", "C=3", "-t", "simba", "--factors", "imperfect", "--mapper", "auto"),
            ("--factors imperfect", "exact", "--mapper auto"),
        ),
        (("compile", "m.onnx", "-o", "b"), ("--target",)),
        (("compile", "m.onnx", "-t", "simba", "-o", "b", "--max-latency", "soon"), ("'soon'",)),
        (("compile", "m.onnx", "-t", "simba", "-o", "b", "--flash", "12 cats"), ("'12 cats'",)),
        (("compile", "m.onnx", "-t", "simba", "-o", "b", "--max-drop", "1"), ("--eval",)),
        (("compile", "absent.onnx", "-t", "simba", "-o", "b"), ("absent.onnx",)),
        (("map", "-t", "simba"), ("--layer",)),
        (("map", "--layer", "C=3", "-t", "simba", "--width-table", "t.csv"), ("--width-table",)),
        (("map", "--layer", "C=3 X=4", "-t", "simba"), ("X=4", "allowed")),
        (("map", "--layer", "C=3", "-t", "simba", "--bits", "w99a8"), ("--bits", "99", "1 to 16")),
        (("map", "--layer", "C=3", "-t", "simba", "--psum", "free"), ("'free'", "honest")),
        (("targets", "simbo"), ("'simbo'", "simba")),
        (("frobnicate",), ("frobnicate",)),
        (("compile", "m.onnx", "-t", "simba", "-o", "b", "--optimize", "joy"), ("joy", "edp")),
    ],
)
def test_wrong_arguments_are_one_line(
    qmc: Run, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(qmc(*arguments), *words)


def test_names_cannot_steer_the_terminal(
    qmc: Run, images: Path, build: Path, tmp_path: Path
) -> None:
    graph = OnnxGraph((1, 3, 9, 7))
    conv = graph.node("Conv", "x", graph.random(6, 3, 3, 3), name="a\x1b[31m\n*/ $(id)")
    model = graph.save(graph.node("GlobalAveragePool", conv, name="pool"), tmp_path)
    code, out, _ = qmc("compile", model, "-t", "simba", "--calib", images, "-o", build)
    assert code == 0
    assert "\x1b[31m" not in out
    absent = graph.save(graph.node("Det", conv, name="b\x1b[31m"), tmp_path)
    code, _, err = qmc("compile", absent, "-t", "simba", "--calib", images, "-o", build)
    assert code == 2
    assert "\x1b" not in err


def test_damaged_build_is_refused(qmc: Run, tmp_path: Path) -> None:
    refused(qmc("run", tmp_path, "x.png"), "not a folder made by qmc")
    (tmp_path / "plan.yaml").write_text("a: [1, {")
    refused(qmc("run", tmp_path, "x.png"), "plan.yaml", "not valid YAML")
    (tmp_path / "plan.yaml").write_text("schema_version: 1")
    refused(qmc("run", tmp_path, "x.png"), "plan.yaml")
    (tmp_path / "report.json").write_text("[1]")
    refused(qmc("report", tmp_path), "report.json")


def test_truncated_model_leaves_nothing(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path
) -> None:
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    refused(qmc("compile", model, "-t", "simba", "--calib", images, "-o", build), "model.onnx")
    nothing_left(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_unusable_weights_are_refused(
    qmc: Run, images: Path, build: Path, tmp_path: Path, value: float
) -> None:
    bad = make_model(tmp_path, np.full((6, 3, 3, 3), value, np.float32))
    refused(qmc("compile", bad, "-t", "simba", "--calib", images, "-o", build), "conv")
    nothing_left(tmp_path)


def test_symbolic_height_is_refused(qmc: Run, model: Path, build: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(proto, model)
    refused(qmc("compile", model, "-t", "simba", "-o", build), "height")
    nothing_left(tmp_path)


def test_no_calibration_data_is_refused(qmc: Run, model: Path, build: Path, tmp_path: Path) -> None:
    refused(qmc("compile", model, "-t", "simba", "-o", build), "--calib")
    nothing_left(tmp_path)


def test_images_of_wrong_shape_are_refused(
    qmc: Run, model: Path, build: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    result = qmc("compile", model, "-t", "simba", "--calib", tmp_path / "images.npz", "-o", build)
    refused(result, "images.npz")
    nothing_left(tmp_path)


def test_pickled_npy_is_refused(qmc: Run, model: Path, build: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    result = qmc("compile", model, "-t", "simba", "--calib", tmp_path / "evil.npy", "-o", build)
    refused(result, "evil.npy")


def test_label_beyond_the_classes_is_refused(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(images))
    np.savez(images, images=arrays["images"], labels=np.full(24, 4))
    result = qmc(
        *("compile", model, "-t", "simba", "--calib", images, "--eval", images, "-o", build)
    )
    refused(result, "label 4", "0..3")
    nothing_left(tmp_path)


def test_scheme_naming_an_absent_layer_is_refused(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path
) -> None:
    (tmp_path / "scheme.yaml").write_text("default: w8a8\nlayers: {comv: w4a8}\n")
    result = qmc(
        *("compile", model, "-t", "simba", "--calib", images),
        *("--scheme", tmp_path / "scheme.yaml", "-o", build),
    )
    refused(result, "comv", "conv")
    nothing_left(tmp_path, "scheme.yaml")


def test_target_file_with_unknown_key_is_refused(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("extends: simba\nclok_mhz: 5\n")
    result = qmc("compile", model, "-t", tmp_path / "mine.yaml", "--calib", images, "-o", build)
    refused(result, "mine.yaml", "clok_mhz", "clock_mhz")
    nothing_left(tmp_path, "mine.yaml")


def test_no_compiler_is_refused(
    qmc: Run,
    model: Path,
    images: Path,
    build: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    result = qmc("compile", model, "-t", "simba", "--calib", images, "-o", build)
    refused(result, "C compiler")
    nothing_left(tmp_path)


def test_output_over_foreign_files_is_refused(
    qmc: Run, model: Path, images: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused(qmc("compile", model, "-t", "simba", "--calib", images, "-o", mine), "not made by qmc")
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_output_below_a_file_is_refused(
    qmc: Run, model: Path, images: Path, tmp_path: Path
) -> None:
    result = qmc("compile", model, "-t", "simba", "--calib", images, "-o", model / "build")
    refused(result, "cannot be written")


@pytest.mark.parametrize("flag", ["--flash", "--ram"])
def test_budget_too_small_tells_what_is_needed(
    qmc: Run, model: Path, images: Path, build: Path, tmp_path: Path, flag: str
) -> None:
    result = qmc("compile", model, "-t", "simba", "--calib", images, "-o", build, flag, "10B")
    refused(result, flag, "10 bytes", "needs")
    nothing_left(tmp_path)


def test_mapping_file_that_does_not_cover_the_layer_is_refused(qmc: Run, tmp_path: Path) -> None:
    layer = ("-t", "simba", "--bits", "w8a8o8")
    found = json.loads(qmc("map", "--layer", "C=8 K=8 P=4 Q=4", *layer, "--json")[1])
    (tmp_path / "mapping.json").write_text(json.dumps(found["mapping"]))
    result = qmc(
        *("evaluate", "--layer", "C=8 K=16 P=4 Q=4", *layer),
        *("--mapping", tmp_path / "mapping.json"),
    )
    refused(result, "K")


def _heed_interrupts() -> None:
    """Shells start background jobs deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def slow_compile(model: Path, images: Path, build: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "qmc.cli", "compile", str(model), "-t", "simba"]
    command += ["--calib", str(images), "-o", str(build)]
    process = subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_interrupts,
    )
    yield process
    process.kill()
    process.communicate()


def test_interrupt_leaves_nothing(
    slow_compile: subprocess.Popen[str], tmp_path: Path, build: Path
) -> None:
    for _ in range(4000):  # until the temporary folder shows that work has begun
        if any(path.name.startswith(".build.") for path in tmp_path.iterdir()):
            break
        time.sleep(0.05)
    slow_compile.send_signal(signal.SIGINT)
    out, err = slow_compile.communicate(timeout=60)
    assert slow_compile.returncode == 2
    assert out == ""
    assert err.strip() == "qmc: error: interrupted; nothing was written"
    nothing_left(tmp_path)


def test_targets_by_name_shows_one_and_alone_lists_all(qmc: Run) -> None:
    code, listed, _ = qmc("targets", "--json")
    assert code == 0
    assert {"simba", "tpu"} <= {target["name"] for target in json.loads(listed)["targets"]}
    outputs = [
        qmc("targets", *words)
        for words in (("simba", "--json"), ("--json", "simba"), ("show", "simba", "--json"))
    ]
    assert {out for _, out, _ in outputs} == {outputs[0][1]}
    assert json.loads(outputs[0][1])["name"] == "simba"


def test_targets_check_prints_every_mistake_and_exits_with_2(qmc: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("{extends: simba, name: mine, clock_mhz: 0, psum_bits: none}")
    code, out, err = qmc("targets", "check", file)
    assert (code, err) == (2, "")
    assert out.splitlines() == [
        f"{file}: clock_mhz: found 0; allowed: more than 0.0",
        f"{file}: psum_bits: found 'none'; allowed: a whole number",
    ]
    file.write_text("{extends: simba, name: mine}")
    assert qmc("targets", "check", file) == (0, f"{file}: no mistakes\n", "")


def test_targets_import_writes_a_machine_that_maps(qmc: Run, tmp_path: Path) -> None:
    source, result = tmp_path / "arch.yaml", tmp_path / "mine.yaml"
    source.write_text(
        "memories:\n"
        "  local: {size: 512, r_bw: 8, w_bw: 8, r_cost: 1, w_cost: 1, operands: [I1, I2, O]}\n"
        "  main: {size: 99999, r_bw: 64, w_bw: 64, r_cost: 9, w_cost: 9, operands: [I1, I2, O],\n"
        "    served_dimensions: [D1]}\n"
        "operational_array: {unit_energy: 0.1, dimensions: [D1], sizes: [4]}\n"
    )
    code, out, _ = qmc("targets", "import", source, "-o", result)
    assert code == 0
    assert f"{result}: 4 MACs, main > local" in out
    assert "psum_bits: not in the file" in out
    code, out, _ = qmc("map", "--layer", "C=4 K=4 P=3", "--target", result, "--json")
    assert code == 0
    assert json.loads(out)["certificate"]["proved"]
    refused(qmc("targets", "import", result, "-o", tmp_path / "again.yaml"), "'architecture'")


def test_evaluate_against_a_report_compares_the_counts(qmc: Run, tmp_path: Path) -> None:
    layer = ("--layer", "C=8 K=12 P=6 Q=5", "-t", "simba")
    found = json.loads(qmc("map", *layer, "--json")[1])
    (tmp_path / "mapping.json").write_text(json.dumps(found["mapping"]))
    levels = {
        name: {"operands": {"Outputs": operands["O"]}}
        for name, operands in found["accesses"].items()
        if "O" in operands
    }
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"levels": levels, "cycles": found["cycles"] + 1}))
    mapping = ("--mapping", tmp_path / "mapping.json", "--against", report)
    code, out, _ = qmc("evaluate", *layer, *mapping, "--json")
    assert code == 0
    rows = [row for row in json.loads(out)["against"]["rows"] if row["there"] is not None]
    assert [row["quantity"] for row in rows if not row["same"]] == ["cycles"]
    assert len(rows) > 10
    code, out, _ = qmc("evaluate", *layer, *mapping)
    assert code == 0
    assert "Against the other report" in out


def test_python_m_is_the_command() -> None:
    command = [sys.executable, "-m", "qmc", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"qmc {__version__}\n"
