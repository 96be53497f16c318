"""``qmc calibrate``: fits, refusals, and the search that uses the file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from qmc.calibrate_command import calibrate_target
from qmc.cli import app
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import load_calibration
from qmc.errors import CostModelError, QmcError
from qmc.layer_text import parse_bits, parse_layer
from qmc.mapping_text import mapping_to_data
from qmc.search import search
from qmc.targets import load_target

TARGET = load_target("cortex-m7")
HEADER = "layer,mapping,widths,measured"
LAYER = "C=8 K=12 P=6 Q=10 R=3 S=3"


def modelled(text: str, widths: str) -> tuple[float, float]:
    precision = parse_bits(widths, TARGET.psum_bits)
    cost = search(parse_layer(text), precision, TARGET, AnalyticalModel()).cost
    return cost.energy_pj, cost.cycles


def layers(count: int) -> list[tuple[str, str]]:
    """Every second one depthwise."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        channels, height, width = (int(n) for n in rng.choice([4, 6, 8, 10, 12, 16, 20], 3))
        kind = f"groups={channels}" if index % 2 else ""
        text = f"C={channels} K={channels} P={height} Q={width} R=3 S=3 {kind}".strip()
        made.append((text, str(rng.choice(["w2a8", "w4a8", "w8a8"]))))
    return made


def write_csv(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def scaled_csv(path: Path, count: int, factor: float = 2.5) -> Path:
    lines = [f"{t},best,{w},{factor * modelled(t, w)[1]}" for t, w in layers(count)]
    return write_csv(path, lines)


@pytest.fixture(scope="module")
def slow_depthwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 measurements where depthwise layers take three times as long as the model says."""
    lines = []
    for text, widths in layers(40):
        factor = 3.0 if "groups" in text else 1.0
        lines.append(f"{text},best,{widths},{factor * modelled(text, widths)[1]}")
    folder = tmp_path_factory.mktemp("slow")
    return write_csv(folder / "slow.csv", lines)


def test_few_records_give_the_scale_factor_and_say_so(tmp_path: Path) -> None:
    data = calibrate_target("cortex-m7", scaled_csv(tmp_path / "m.csv", 8), None, "cycles")
    assert data["kept"] == "scale"
    assert data["scale"] == pytest.approx(2.5)
    assert "8 records: a scale factor, no trees" in data["note"]
    assert data["errors"]["before"]["mape"] == pytest.approx(0.6)
    assert data["errors"]["scale"]["mape"] < 1e-6
    assert "trees" not in data["errors"]
    assert load_calibration(Path(data["file"])).is_scale


def test_pure_scale_keeps_the_scale_however_many_records(tmp_path: Path) -> None:
    data = calibrate_target("cortex-m7", scaled_csv(tmp_path / "m.csv", 20), None, "cycles")
    assert data["kept"] == "scale"
    assert "no better than a scale factor" in data["note"]


def test_trees_learn_what_a_scale_cannot(slow_depthwise: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.json"
    data = calibrate_target("cortex-m7", slow_depthwise, output, "cycles")
    errors = data["errors"]
    assert data["kept"] == "trees"
    assert errors["trees"]["mape"] < 0.05 < 0.2 < errors["scale"]["mape"]
    model = load_calibration(output)
    for text, factor in ((LAYER, 1.0), ("C=12 K=12 P=6 Q=14 R=3 S=3 groups=12", 3.0)):
        precision = parse_bits("w4a8")
        found = search(parse_layer(text), precision, TARGET, AnalyticalModel())
        cost = model.evaluate(parse_layer(text), precision, TARGET, found.mapping)
        assert cost.cycles == pytest.approx(factor * found.cost.cycles, rel=0.1)


def test_same_measurements_give_the_same_bytes(slow_depthwise: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        calibrate_target("cortex-m7", slow_depthwise, tmp_path / name, "cycles")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_energy_is_calibrated_by_its_own_records(tmp_path: Path) -> None:
    lines = []
    for text, widths in layers(4):
        energy, cycles = modelled(text, widths)
        lines += [f"{text},best,{widths},{energy / 2},energy_pj"]
        lines += [f"{text},best,{widths},{cycles * 7},cycles"]
    path = write_csv(tmp_path / "m.csv", lines, f"{HEADER},quantity")
    data = calibrate_target("cortex-m7", path, None, "energy_pj")
    assert data["records"] == 4
    assert data["scale"] == pytest.approx(0.5)


def test_mapping_files_lie_beside_the_measurements(tmp_path: Path) -> None:
    found = search(parse_layer(LAYER), parse_bits("w8a8"), TARGET, AnalyticalModel())
    (tmp_path / "best.yaml").write_text(yaml.safe_dump(mapping_to_data(found.mapping)))
    path = write_csv(tmp_path / "m.csv", [f"{LAYER},best.yaml,w8a8,{4 * found.cost.cycles}"])
    assert calibrate_target("cortex-m7", path, None, "cycles")["scale"] == pytest.approx(4.0)


@pytest.mark.parametrize("digits", [12, 64])
def test_records_of_this_target_are_taken(tmp_path: Path, digits: int) -> None:
    line = f"{LAYER},best,w8a8,1000,{TARGET.sha256[:digits]}"
    path = write_csv(tmp_path / "m.csv", [line], f"{HEADER},target_sha256")
    (tmp_path / "m.csv.target").write_text(TARGET.sha256 + "\n")
    assert calibrate_target("cortex-m7", path, None, "cycles")["records"] == 1


@pytest.mark.parametrize("text", ["0" * 64, "simba", TARGET.sha256[:6]])
def test_records_of_another_target_are_refused(tmp_path: Path, text: str) -> None:
    path = write_csv(
        tmp_path / "m.csv", [f"{LAYER},best,w8a8,1000,{text}"], f"{HEADER},target_sha256"
    )
    with pytest.raises(QmcError, match=r"m\.csv:2: target_sha256: found .* of another target"):
        calibrate_target("cortex-m7", path, None, "cycles")


def test_file_that_names_another_target_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "m.csv", [f"{LAYER},best,w8a8,1000"])
    (tmp_path / "m.csv.target").write_text("0" * 64)
    with pytest.raises(QmcError, match="a record of another target"):
        calibrate_target("cortex-m7", path, None, "cycles")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "columns: found none"),
        ("a,b\n1,2\n", "columns: found a, b"),
        (f"{HEADER},{HEADER}\n", "columns: found"),
        (f"{HEADER}\n", "no record of cycles"),
        (f"{HEADER}\n{LAYER},best,w8a8\n", ":2: found 3 cells; allowed: 4"),
        (f"{HEADER}\nC=0,best,w8a8,5\n", ":2: --layer: C: found '0'"),
        (f"{HEADER}\n{LAYER},best,w99a8,5\n", ":2: --bits: weights: found 99"),
        (f"{HEADER}\n{LAYER},nowhere.yaml,w8a8,5\n", ":2: "),
        (f"{HEADER}\n{LAYER},best,w8a8,fast\n", ":2: measured: found 'fast'"),
        (f"{HEADER}\n{LAYER},best,w8a8,-3\n", ":2: measured: found '-3'"),
        (f"{HEADER}\n{LAYER},best,w8a8,nan\n", ":2: measured: found 'nan'"),
        (f"{HEADER}\n{LAYER},best,w8a8,inf\n", ":2: measured: found 'inf'"),
        (f"{HEADER},quantity\n{LAYER},best,w8a8,5,joules\n", ":2: quantity: found 'joules'"),
        (f'{HEADER}\n"{LAYER}', "found 1 cells"),
        (f"{HEADER}\n\x00", "found 1 cells"),
    ],
)
def test_csv_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    done = CliRunner().invoke(app, ["calibrate", str(path), "--target", "cortex-m7"])
    assert isinstance(done.exception, QmcError)
    assert told in str(done.exception)
    assert "\n" not in str(done.exception)
    assert list(tmp_path.glob("*.json")) == []


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xff\xfe\x00layer")
    with pytest.raises(QmcError, match="not a text file"):
        calibrate_target("cortex-m7", path, None, "cycles")


def test_unknown_quantity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QmcError, match="--quantity: found 'watts'; allowed: cycles, energy_pj"):
        calibrate_target("cortex-m7", tmp_path / "m.csv", None, "watts")


def map_with(model: Path, *more: str) -> dict:
    arguments = ["map", "--layer", LAYER, "--target", "cortex-m7", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--cost-model", str(model), *more])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def test_map_uses_the_trees_and_says_what_to_expect(slow_depthwise: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.json"
    data = calibrate_target("cortex-m7", slow_depthwise, output, "cycles")
    certificate = map_with(output)["certificate"]
    assert not certificate["proved"]
    assert certificate["gap"] is None
    assert certificate["expected"]["after"] == data["errors"]["trees"]
    assert certificate["expected"]["by"] == "trees"


def test_map_uses_the_scale_and_keeps_the_proof(tmp_path: Path) -> None:
    data = calibrate_target("cortex-m7", scaled_csv(tmp_path / "m.csv", 4), None, "cycles")
    entry = map_with(Path(data["file"]))
    assert entry["certificate"]["proved"]
    assert entry["certificate"]["gap"] == 0.0
    assert entry["cycles"] == pytest.approx(2.5 * modelled(LAYER, "w8a8")[1], abs=1)


def test_cost_model_of_another_target_is_refused(tmp_path: Path) -> None:
    data = calibrate_target("cortex-m7", scaled_csv(tmp_path / "m.csv", 3), None, "cycles")
    with pytest.raises(CostModelError, match="which the cost model was calibrated for"):
        map_with(Path(data["file"]), "--target", "simba")


def test_damaged_cost_model_is_refused(tmp_path: Path) -> None:
    data = calibrate_target("cortex-m7", scaled_csv(tmp_path / "m.csv", 3), None, "cycles")
    path = Path(data["file"])
    content = json.loads(path.read_text())
    assert math.isclose(content["scale"], 2.5)
    path.write_text(json.dumps(content | {"scale": 1.0}))
    with pytest.raises(CostModelError, match="damaged"):
        load_calibration(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\x00\xff", b'{"format": "other"}'])
def test_file_that_is_no_cost_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(CostModelError, match="not a cost model written by qmc calibrate"):
        load_calibration(path)
