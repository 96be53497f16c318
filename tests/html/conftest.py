"""A small build, a front, hostile variants of both, and a browser to show them in."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from qmc.compiler import Plan

Json = dict[str, Any]

#: What somebody might call a layer: breaks out of text, attributes, scripts, styles, links.
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "\"><img src=x onerror='window.hacked=1'>",
    "' onmouseover='window.hacked=1",
    "javascript:window.hacked=1",
    "{{ 7*7 }}{% raw %}",
    "</style><svg/onload=window.hacked=1>",
    "&lt;b&gt;&#34; \u202e\u0000 ☃",
)


@pytest.fixture(scope="session")
def build(small_plan: Plan) -> Path:
    """Its folder."""
    return small_plan.output


@pytest.fixture(scope="session")
def report(build: Path) -> Json:
    """Its report."""
    found: Json = json.loads((build / "report.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def front_folder(build: Path, report: Json, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``qmc explore`` makes it, with five plans and two uniform assignments."""
    folder = tmp_path_factory.mktemp("front")
    points = []
    for index, (energy, drop) in enumerate([(9.0, 0.0), (7.5, 0.5), (6.0, 1.5), (5.0, 4.0)]):
        name = f"plans/{index:03d}"
        (folder / name).mkdir(parents=True)
        shutil.copyfile(build / "scheme.yaml", folder / name / "scheme.yaml")
        points.append(front_point(name, energy, drop) | {"plan": f"{name}/plan.yaml"})
    points[1]["dominated_by_uniform"] = ["w6a6"]
    points[2]["best_uniform"] = front_point("w5a5", 6.5, 2.0)
    front = {
        "network": "net",
        "target": report["target"],
        "objective": "energy",
        "hypervolume": {"mixed": 0.625, "uniform": 0.5},
        "points": points,
        "uniform": [front_point("w8a8", 9.5, 0.0), front_point("w6a6", 7.0, 0.25)],
        "verdict": "mixed widths are worth it",
        "versions": report["versions"],
        "seed": 0,
    }
    (folder / "front.json").write_text(json.dumps(front), encoding="utf-8")
    return folder


def front_point(name: str, energy: float, drop: float) -> Json:
    score = {"images": 100, "top1": 80 - drop, "drop": drop, "agreement": 99.0}
    return {
        "name": name,
        "cost": energy * 1e6,
        "energy_uj": energy,
        "cycles": int(1e4 * energy),
        "edp_pj_cycles": energy * 1e10,
        "weight_bits_mean": 4.5,
        "activation_bits_mean": 8.0,
        "sensitivity": drop / 10,
        "search": score,
        "check": None,
    }


@pytest.fixture(scope="session")
def hostile(report: Json) -> Json:
    """The report with every string that a model, a machine or a file name could have made."""
    changed = copy.deepcopy(report)
    for index, layer in enumerate(changed["layers"]):
        text = HOSTILE[index % len(HOSTILE)]
        layer["name"] = layer["verdict"] = layer["op"] = text
    changed["network"]["name"] = HOSTILE[0]
    changed["notes"] = list(HOSTILE)
    changed["model"]["file"] = HOSTILE[1]
    changed["target"]["name"] = changed["target"]["description"] = HOSTILE[2]
    changed["target"]["sources"] = {text: text for text in HOSTILE}
    changed["versions"] |= {text: text for text in HOSTILE}
    changed["provenance"] |= {text: text for text in HOSTILE}
    old = changed["target"]["memories"][0]["name"]
    words = json.dumps(changed).replace(json.dumps(old), json.dumps(HOSTILE[1]))
    found: Json = json.loads(words.replace(f'"{old} ', json.dumps(HOSTILE[1])[:-1] + " "))
    return found


def find_browser() -> str | None:
    """Chromium or a relative of it on this computer; None lets Playwright take its own."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def missing(what: str) -> NoReturn:
    """Skip, or fail where a browser was promised."""
    if os.environ.get("QMC_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{what}, and QMC_REQUIRE_BROWSER asks for it")
    pytest.skip(f"{what}: pages are not looked at in a browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser; without one the test is skipped, or fails where one was promised."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    with sync_playwright() as play:
        path = find_browser() or play.chromium.executable_path
        if not Path(path).exists():
            missing("chromium is not installed")
        found = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()
