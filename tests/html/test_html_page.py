"""Pages as text: size, escaping, what is drawn where, and reports of older builds."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from qmc.errors import DataError
from qmc.html import page_text, write_page
from qmc.html.axes import linear_axis, log_axis
from qmc.html.bars import cycle_bar, energy_bar, memory_colours
from qmc.html.front_chart import front_chart, loss_of
from qmc.html.nest_boxes import nest_boxes
from qmc.html.numbers import amount, picojoule, power, signed_percent, tick
from qmc.html.roofline import roofline

Json = dict[str, Any]


class Page(HTMLParser):
    """Collects tags, attributes, and whether tags are balanced."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input", "col"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def test_page_is_balanced_and_needs_nothing_else(report: Json) -> None:
    page = Page(page_text(report))
    assert page.open == []
    assert page.tags.count("script") == 1
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    links = [value for name, value in page.attributes if name in ("href", "src", "action")]
    assert all(value.startswith("#") for value in links)


def test_hostile_names_add_no_tags_and_no_handlers(report: Json, hostile: Json) -> None:
    honest, attacked = Page(page_text(report)), Page(page_text(hostile))
    assert set(attacked.tags) == set(honest.tags)
    assert attacked.tags.count("script") == 1
    assert not [name for name, _ in attacked.attributes if name.startswith("on")]
    assert attacked.open == []


def test_same_report_gives_the_same_page(report: Json) -> None:
    assert page_text(report) == page_text(copy.deepcopy(report))


def test_page_of_sixty_layers_stays_small(report: Json) -> None:
    large = copy.deepcopy(report)
    weighted = [layer for layer in report["layers"] if layer["mapping"]]
    large["layers"] = [
        copy.deepcopy(weighted[i % len(weighted)]) | {"name": f"features.block{i}.expand.conv"}
        for i in range(60)
    ]
    assert len(page_text(large).encode()) < 1_500_000


def test_report_of_an_older_build_still_has_a_page(report: Json) -> None:
    old = copy.deepcopy(report)
    for key in ("at_8_bits", "verified", "sqnr_inputs"):
        del old["network"][key]
    for key in ("memories", "macs_per_cycle", "sources", "description"):
        del old["target"][key]
    del old["model"]
    for layer in old["layers"]:
        for key in ("bounds", "at_8_bits", "sqnr_db", "own_sqnr_db"):
            del layer[key]
    text = page_text(old)
    assert Page(text).open == []
    assert 'id="damage"' not in text
    assert 'id="roofline"' not in text
    assert 'id="layer-0"' in text


def test_folder_that_is_no_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"report\.json"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[1]", '{"points": []}', "\x00"])
def test_damaged_front_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "front.json").write_text(content)
    with pytest.raises(DataError, match=r"front\.json"):
        write_page(tmp_path)


def test_energy_bar_adds_up_to_the_layer(report: Json) -> None:
    colours = memory_colours(report)
    most = max(layer["energy_pj"] for layer in report["layers"])
    for layer in report["layers"]:
        bar = energy_bar(layer, colours, most)
        total = sum(segment.percent for segment in bar)
        assert total == pytest.approx(100 * layer["energy_pj"] / most, abs=0.05)
    assert len(set(colours.values())) == len(colours)


def test_cycle_bar_shows_what_the_bound_adds() -> None:
    layer = {"cycles": 100, "bound": "glb read bandwidth", "cycles_by_bound": {"compute": 40}}
    compute, stall = cycle_bar(layer, {"glb": "c1"}, 200)
    assert (compute.colour, compute.percent) == ("mac", 20.0)
    assert (stall.colour, stall.percent) == ("c1", 30.0)


def test_nest_boxes_hold_tiles_and_cut_last_ones() -> None:
    layer = {
        "bounds": {"K": 10, "P": 7},
        "accesses": {"glb": {"O": {"bytes_held": 512}}},
        "mapping": [
            {"level": "dram", "keep": ["O"], "temporal": [["K", 3], ["Q", 1]], "spatial": []},
            {
                "level": "glb",
                "keep": ["O"],
                "temporal": [["P", 7]],
                "spatial": [["K", 2, "x"], ["K", 2, "y"]],
            },
        ],
    }
    memories = [
        {"name": "dram", "size_bytes": None, "fanout": [1, 1]},
        {"name": "glb", "size_bytes": 2048, "fanout": [4, 2]},
    ]
    outer, inner = nest_boxes(layer, {"memories": memories}, {"dram": "c0", "glb": "c1"})
    assert [(line.dim, line.extent) for line in outer.tile] == [("K", 10), ("P", 7)]
    assert [(line.dim, line.extent) for line in inner.tile] == [("K", 4), ("P", 7)]
    assert [(line.dim, line.extent) for line in outer.temporal] == [("K", 3)]
    assert outer.array is None
    assert inner.array is not None
    assert (inner.array.there, inner.array.used) == ((4, 2), (2, 2))
    assert (inner.kept[0].size, inner.kept[0].percent) == ("512 B", 25.0)


def test_no_layer_lies_above_the_roof(report: Json) -> None:
    chart = roofline(report)
    assert chart is not None
    assert len(chart.points) == sum(bool(layer["macs"]) for layer in report["layers"])
    top = chart.y.at(chart.peak)
    assert all(point.y >= top - 0.1 for point in chart.points)
    assert chart.memory == "shared_glb"
    assert chart.bandwidth == 64


def test_loss_of_a_plan_counts_all_images() -> None:
    entry = {"search": {"drop": 1.0, "images": 30}, "check": {"drop": 4.0, "images": 10}}
    assert loss_of(entry, True) == 1.75
    assert loss_of({"search": None, "check": None}, True) is None
    assert loss_of({"sensitivity": 0.5}, False) == 0.5


def test_uniform_widths_at_one_place_share_a_text() -> None:
    def uniform(name: str, energy: float) -> Json:
        return {"name": name, "energy_uj": energy, "sensitivity": 0.25}

    points = [{"plan": "plans/000/plan.yaml", "name": "m", "energy_uj": 5.0, "sensitivity": 0.5}]
    uniforms = [uniform("w8a8", 9.0), uniform("w7a7", 9.0), uniform("w4a4", 4.0)]
    chart = front_chart({"points": points, "uniform": uniforms, "objective": "energy"})
    assert chart is not None
    assert [point.name for point in chart.points] == ["", "w8a8 +1", "", "w4a4"]
    assert [point.opens for point in chart.points] == ["plan-0", "", "", ""]


def test_axes_place_and_mark_values() -> None:
    axis = linear_axis([0.0, 100.0], 0, 112)
    assert axis.at(50) == 56
    assert axis.ticks() == (0, 50, 100)
    decades = log_axis([0.3, 40.0], 0, 300)
    assert decades.ticks() == (0.1, 1, 10, 100)
    assert decades.at(1) == 100
    assert decades.at(1e9) == 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (amount(12_300_000), "12.3 M"),
        (amount(999), "999"),
        (amount(999_999), "1.00 M"),
        (amount(0), "0"),
        (picojoule(1_234_567.0), "1.23 µJ"),
        (picojoule(0.0), "0 pJ"),
        (power(9.7481e12), "9.75 × 10¹²"),
        (signed_percent(95.0, 100.0), "−5.0 %"),
        (signed_percent(100.01, 100.0), "±0 %"),
        (tick(1000.0), "1,000"),
        (tick(1e12), "1e12"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``; WCAG 2.2, definition of it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_of_text_have_enough_contrast(scheme: int) -> None:
    style = (resources.files("qmc.html") / "page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.split(":root {")[1 + scheme]))
    for ink in ("ink", "soft", "accent", "good", "bad"):
        for paper in ("card", "paper"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for name in (*(f"c{i}" for i in range(8)), "mac"):  # graphics need 3:1, WCAG 1.4.11
        assert contrast(colours[name], colours["card"]) >= (3 if scheme else 2.1), name
    for width, colour, ink in re.findall(r"\.b(\d+) \{ background: (#\w+); color: (#\w+)", style):
        full = "#" + "".join(2 * c for c in ink[1:])
        assert contrast(colour, full) >= 4.5, width
