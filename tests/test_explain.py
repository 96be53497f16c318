"""What --explain says agrees with the plan."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from qmc.explain import explain, print_explanation
from qmc.options import Options

if TYPE_CHECKING:
    from qmc.compiler import Plan


@pytest.fixture
def options(small_plan: Plan) -> Options:
    folder = small_plan.output.parent
    images = folder / "images.npz"
    model = folder / "model.onnx"
    return Options(model, "eyeriss", small_plan.output, scheme="w4a8", calib=images, eval=images)


def told(plan: Plan, options: Options) -> str:
    stream = io.StringIO()
    print_explanation(explain(plan, options), Console(file=stream, width=200))
    return stream.getvalue()


def test_every_stage_is_told_in_order(small_plan: Plan, options: Options) -> None:
    titles = re.findall(r"^(\d)\. (.+)$", told(small_plan, options), flags=re.M)
    assert [number for number, _ in titles] == list("123456")
    assert [title for _, title in titles][3] == "search mappings"


def test_figures_are_those_of_the_plan(small_plan: Plan, options: Options) -> None:
    text = told(small_plan, options)
    layers = small_plan.report["layers"]
    assert f"model.onnx became {len(layers)} layers: 1 add, 1 average_pool, 2 conv, 1 dense" in text
    assert "1 layers end in ReLU or a clip" in text
    assert "--scheme w4a8: weights 4 bits (3 times)" in text
    bound = max(one.accumulator_bound for one in small_plan.integer.layers)
    assert f"at most {bound:,} (" in text
    assert bound == max(layer["accumulator_bound"] or 0 for layer in layers)
    assert "3 of 3 mappings proved best" in text
    assert f"top-1 {small_plan.report['network']['top1']:.2f} % on 6 images" in text
    for layer in layers:
        assert (f"{layer['name']}: proof in a space of" in text) == bool(layer["mapping"])


def test_what_was_not_done_is_told(small_plan: Plan, options: Options) -> None:
    network = small_plan.report["network"] | {"verified": None}
    bare = replace(small_plan, accuracy=None, report=small_plan.report | {"network": network})
    text = told(bare, replace(options, eval=None, verify=False, equalize=True, flash_bytes=4096))
    assert "as --no-verify asks" in text
    assert "no labelled images" in text
    assert "equalized across layers: yes" in text
    assert "--flash allows 4 KiB: kept" in text


def test_names_of_a_model_steer_no_terminal(small_plan: Plan, options: Options) -> None:
    layers = [dict(layer) for layer in small_plan.report["layers"]]
    layers[0]["name"] = "evil\x1b[31m\nname"
    text = told(replace(small_plan, report=small_plan.report | {"layers": layers}), options)
    assert "\x1b" not in text
    assert "evil [31m name: proof" in text
