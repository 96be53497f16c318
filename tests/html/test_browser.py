"""The page in a real browser: no errors, no connections, the right numbers, clicks and keys."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmc.html import page_text, write_page
from tests.html.conftest import HOSTILE

Json = dict[str, Any]
Open = Callable[..., Any]

#: What a unit is worth in the unit of the report's key.
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KiB": 1024, "MiB": 1 << 20, "B": 1, "": 1}
UNITS |= {"ms": 1, "dB": 1, "%": 1, "pJ": 1, "nJ": 1e3, "µJ": 1e6, "mJ": 1e9}
#: What the page shows in another unit than the report has.
FACTORS = {"energy_uj": 1e6, "utilization": 100}


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Open a file: the page. At the end there were no errors, and nothing else was loaded."""
    pages, troubles = [], []

    def open_file(path: Path, anchor: str = "", **options: Any) -> Any:
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append("a dialog"))
        page.on("request", lambda request: troubles.extend(_foreign(request.url, path)))
        page.goto(path.as_uri() + anchor)
        pages.append(page)
        return page

    yield open_file
    for page in pages:
        page.close()
    assert troubles == []


def _foreign(url: str, path: Path) -> list[str]:
    return [] if url.split("#")[0] == path.as_uri() else [f"request of {url}"]


@pytest.fixture(scope="module")
def path(build: Path) -> Path:
    return write_page(build)


def figures(page: Any) -> list[tuple[str, str, str]]:
    script = "all => all.map(one => [one.dataset.key, one.value, one.textContent])"
    return [tuple(one) for one in page.locator("data[data-key]").evaluate_all(script)]


def value_at(report: Any, key: str) -> Any:
    """The value at ``layers.3.cycles``; names of dataflows hold no dot."""
    for part in key.split("."):
        report = report[int(part)] if isinstance(report, list) else report[part]
    return report


def number_in(text: str) -> float:
    """What a person reads: 12.3 µJ, 1,024, ×1.04, −3.0 %, 9.75 × 10¹²."""
    text = text.replace(",", "").replace("×", "", 1) if text[0] == "×" else text.replace(",", "")
    raised = re.fullmatch(r"([0-9.]+) × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    if raised:
        power = raised[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        return float(raised[1]) * 10.0 ** int(power)
    found = re.fullmatch(r"([-+−]?[0-9.]+(?:e[-+]?\d+)?) ?(\S*)", text)
    assert found, text
    return float(found[1].replace("−", "-")) * UNITS[found[2]]


def check_figures(page: Any, source: Json) -> int:
    found = figures(page)
    for key, value, text in found:
        real = value_at(source, key)
        assert float(value) == real, key
        factor = FACTORS.get(key.split(".")[-1], 1)
        digit = 0.051 if text.endswith(("%", "dB")) else 0.0
        same = math.isclose(number_in(text), real * factor, rel_tol=6e-3, abs_tol=digit)
        assert same, (key, text)
    return len(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_renders_without_errors_and_without_sideways_scrolling(
    show: Open, path: Path, scheme: str, width: int
) -> None:
    page = show(path, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.locator("h1").inner_text().startswith("model on eyeriss")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert (lightness < 60) == (scheme == "dark")


def test_numbers_on_the_page_equal_the_report(show: Open, path: Path, report: Json) -> None:
    page = show(path)
    assert check_figures(page, report) > 10 * len(report["layers"])
    keys = {key for key, _, _ in figures(page)}
    for name in ("energy_uj", "cycles", "latency_ms", "edp_pj_cycles", "top1", "top1_float"):
        assert f"network.{name}" in keys
    for index in range(len(report["layers"])):
        assert {f"layers.{index}.{name}" for name in ("energy_pj", "cycles", "sqnr_db")} <= keys


def test_most_expensive_layer_is_open_at_first(show: Open, path: Path, report: Json) -> None:
    page = show(path)
    energies = [layer["energy_pj"] for layer in report["layers"]]
    shown = page.locator(".detail:visible")
    assert shown.count() == 1
    assert shown.get_attribute("id") == f"layer-{energies.index(max(energies))}"


def test_click_on_a_layer_shows_its_nest_alone(show: Open, path: Path, report: Json) -> None:
    page = show(path)
    names = [layer["name"] for layer in report["layers"]]
    index = next(i for i, layer in enumerate(report["layers"]) if layer["mapping"])
    page.locator("#layers").get_by_role("link", name=names[index], exact=True).click()
    shown = page.locator(".detail:visible")
    assert shown.count() == 1
    assert shown.get_attribute("id") == f"layer-{index}"
    boxes = [level["level"] for level in report["layers"][index]["mapping"]]
    assert shown.locator(".box > .head > strong").all_inner_texts() == boxes
    mapped = report["layers"][index]["mapping"]
    loops = [f"for {dim} in {n}" for level in mapped for dim, n in level["temporal"] if n > 1]
    assert shown.locator(".loops code").all_inner_texts() == loops
    assert shown.locator(".box .box.mac").inner_text() == "multiply-accumulate"
    page.go_back()
    assert page.locator(f"#layer-{index}:target").count() == 0


def test_address_with_a_layer_opens_it(show: Open, path: Path) -> None:
    page = show(path, "#layer-1")
    assert page.locator(".detail:visible").get_attribute("id") == "layer-1"
    assert page.locator("#layers tr.chosen").get_attribute("data-open") == "layer-1"


def test_chart_strip_and_rows_open_layers(show: Open, path: Path, report: Json) -> None:
    page = show(path)
    for selector, count in (
        ("#roofline a", sum(bool(layer["macs"]) for layer in report["layers"])),
        ("#widths a", len(report["layers"])),
    ):
        links = page.locator(selector)
        assert links.count() == count
        links.last.click()
        wanted = str(links.last.get_attribute("href"))
        assert page.locator(f"{wanted}:visible").count() == 1
        assert "chosen" in str(links.last.get_attribute("class"))
    page.locator("#widths tr").nth(2).locator("td").nth(0).click()
    assert page.url.endswith("#layer-0")
    page.locator("#damage tbody tr").first.locator("td").last.click()
    worst = min(
        (i for i, one in enumerate(report["layers"]) if one["sqnr_db"] is not None),
        key=lambda i: report["layers"][i]["sqnr_db"],
    )
    assert page.url.endswith(f"#layer-{worst}")


def test_keyboard_walks_a_chart_and_opens_a_layer(show: Open, path: Path) -> None:
    page = show(path)
    links = page.locator("#roofline a")
    links.first.focus()
    page.keyboard.press("ArrowRight")
    assert links.nth(1).evaluate("one => one === document.activeElement")
    assert page.locator("#tip").is_visible()
    assert page.locator("#tip").inner_text() == links.nth(1).get_attribute("aria-label")
    page.keyboard.press("Enter")
    assert page.locator(".detail:visible").get_attribute("id") == str(
        links.nth(1).get_attribute("href")
    ).removeprefix("#")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_first_tab_stop_skips_to_the_content(show: Open, path: Path) -> None:
    page = show(path)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_pointing_at_a_bar_tells_the_memory(show: Open, path: Path, report: Json) -> None:
    page = show(path)
    page.locator("#layers tbody .bar i").first.hover()
    memory = next(name for name, pj in report["layers"][0]["energy_by_memory_pj"].items() if pj)
    assert page.locator("#tip").inner_text().startswith(f"{memory} ")


def test_headings_sort_the_table(show: Open, path: Path, report: Json) -> None:
    page = show(path)
    heading = page.locator("#layers th", has_text="SQNR")
    names = page.locator("#layers tbody th")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    order = sorted(report["layers"], key=lambda one: one["sqnr_db"] if one["sqnr_db"] else 999)
    found = page.locator("#layers tbody tr td:nth-of-type(9)").all_inner_texts()
    assert names.first.inner_text() == order[0]["name"]
    measured = [float(text.split()[0]) for text in found if text.endswith("dB")]
    assert measured == sorted(measured)


def test_page_works_without_scripts(browser: Any, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator(".detail:visible").count() == 1
    page.locator("#layers tbody a").last.click()
    assert page.locator(".detail:visible").count() == 1
    assert page.locator(".detail:visible").get_attribute("id") == page.url.split("#")[1]
    context.close()


def test_printed_page_leaves_out_navigation(show: Open, path: Path) -> None:
    page = show(path, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("nav.pages").is_hidden()
    assert page.locator("#provenance").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 10_000


def test_everything_has_a_name_and_ids_are_unique(show: Open, path: Path) -> None:
    page = show(path)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('a, button, [role=img], [role=group], section')]
        .filter(one => !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby')
                       && !one.textContent.trim()).map(one => one.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    broken = page.evaluate(
        """[...document.querySelectorAll('a[href]')].map(one => one.getAttribute('href'))
        .filter(href => !href.startsWith('#') || !document.getElementById(href.slice(1)))"""
    )
    assert broken == []


def test_hostile_names_stay_text(show: Open, hostile: Json, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page_text(hostile), encoding="utf-8")
    page = show(file)
    assert page.locator("h1").inner_text() == f"{HOSTILE[0]} on {HOSTILE[2]}"
    for link in page.locator("#layers tbody a").all():
        link.hover()
    for mark in page.locator(".detail:visible .tip").all():
        mark.hover()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, object, embed").count() == 0
    shown = page.locator("#verdicts tbody tr td:last-child").all_text_contents()
    assert shown[:5] == [text.replace("\0", "\ufffd") for text in HOSTILE[:5]]


def test_injected_script_would_not_run(show: Open, path: Path, browser: Any) -> None:
    text = path.read_text(encoding="utf-8")
    page = browser.new_page()
    page.set_content(text.replace("<main", "<script>window.hacked=1</script><main", 1))
    assert page.evaluate("window.hacked") is None
    page.close()


def test_front_shows_points_and_opens_plans(show: Open, front_folder: Path) -> None:
    file = write_page(front_folder)
    front = json.loads((front_folder / "front.json").read_text())
    page = show(file)
    assert check_figures(page, front) >= 4 * len(front["points"])
    points = page.locator("#front a")
    assert points.count() == len(front["points"])
    points.nth(2).hover()
    assert "plans/002" in page.locator("#tip").inner_text()
    assert "+1.50 points" in page.locator("#tip").inner_text()
    points.nth(2).click()
    shown = page.locator(".detail:visible")
    assert shown.get_attribute("id") == "plan-2"
    assert shown.locator("table.strip tr").first.locator("td").all_inner_texts() == ["4"] * 3
    assert "chosen" in str(points.nth(2).get_attribute("class"))
    assert page.locator("#front .uniform").count() == 2
    assert page.locator("#front .dominated").count() == 1


def test_printed_page_fits_the_paper(show: Open, path: Path) -> None:
    page = show(path, viewport={"width": 690, "height": 900})  # A4 within its margins, at 96 dpi
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    wide = page.evaluate(
        """[...document.querySelectorAll('.scroll, .tall')]
        .filter(one => one.scrollWidth > one.clientWidth + 1)
        .map(one => one.outerHTML.slice(0, 90))"""
    )
    assert wide == []
