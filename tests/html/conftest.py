"""A small build, a front, hostile variants of both, and a browser to show them in."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qmc
from tests.onnx_graph import OnnxGraph

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
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network with a depthwise layer, 4-bit weights, measured on 6 images."""
    folder = tmp_path_factory.mktemp("html")
    graph = OnnxGraph((1, 3, 10, 7))
    stem = graph.node("Conv", "x", graph.random(8, 3, 3, 3), name="stem", pads=[1, 1, 1, 1])
    stem = graph.node("Relu", stem)
    depth = graph.random(8, 1, 3, 3)
    side = graph.node("Conv", stem, depth, name="dw", group=8, pads=[1, 1, 1, 1])
    both = graph.node("Add", stem, side, name="sum")
    flat = graph.node("Flatten", graph.node("GlobalAveragePool", both, name="pool"))
    model = graph.save(graph.node("Gemm", flat, graph.random(8, 5), name="fc"), folder)
    rng = np.random.default_rng(0)
    images = folder / "images.npz"
    np.savez(
        images, images=rng.integers(0, 256, (6, 10, 7, 3), dtype=np.uint8), labels=np.arange(6) % 5
    )
    options: Json = {"scheme": "w4a8", "calib": images, "eval": images, "jobs": 1}
    qmc.compile(model, "eyeriss", folder / "build", **options)
    return folder / "build"


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
    """Chromium or a relative of it on this computer."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser; without one the test is skipped, or fails where one was promised."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    path = find_browser()
    if sync_playwright is None or path is None:
        missing = "playwright" if sync_playwright is None else "chromium"
        if os.environ.get("QMC_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{missing} is missing, and QMC_REQUIRE_BROWSER asks for it")
        pytest.skip(f"{missing} is absent: pages are not looked at in a browser")
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()
