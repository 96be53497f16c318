"""What the terminal shows of a layer agrees with the numbers of its report."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from qmc.console import proof, times
from qmc.cost_models.analytical import AnalyticalModel
from qmc.layer import Precision
from qmc.layer_figures import cycles_by_bound
from qmc.layer_text import parse_layer
from qmc.layer_view import print_front, print_layer
from qmc.mapping_command import Work, map_front, map_layer
from qmc.mapping_text import size_text
from qmc.pricing import SearchSettings
from qmc.search import search
from qmc.targets import load_target

TEXT = "C=24 K=16 P=9 Q=14 R=3 S=3"


@pytest.fixture(scope="module")
def entry() -> dict[str, Any]:
    return map_layer(Work(None, TEXT, "w4a8o8", "eyeriss"), SearchSettings())


def shown(printer: Any, data: dict[str, Any], width: int) -> list[str]:
    stream = io.StringIO()
    printer(data, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


def test_bytes_moved_are_words_of_all_instances(entry: dict[str, Any]) -> None:
    target = load_target("eyeriss")
    for memory in target.memories:
        for counts in entry["accesses"][memory.name].values():
            written = counts["fills"] + counts["updates"]
            scale = counts["instances"] * memory.word_bits / 8
            assert counts["bytes_read"] == counts["reads"] * scale
            assert counts["bytes_written"] == written * scale
            assert counts["bytes_held"] == counts["utilized_words"] * memory.word_bits / 8
    # Every output leaves the array once, 8 bits wide: two to a word of 16.
    assert entry["accesses"]["DRAM"]["O"]["bytes_written"] == 16 * 9 * 14


def test_largest_bound_sets_the_cycles(entry: dict[str, Any]) -> None:
    bounds = entry["cycles_by_bound"]
    assert bounds[entry["bound"]] == entry["cycles"] == max(bounds.values())
    assert {"compute", "psum_spad write bandwidth"} <= set(bounds)
    counts = entry["accesses"]["psum_spad"]["O"]
    wanted = -(-(counts["fills"] + counts["updates"]) // 2)  # two words per cycle
    assert bounds["psum_spad write bandwidth"] == wanted


def test_compute_bound_follows_cycles_per_mac() -> None:
    layer, target = parse_layer("C=64 K=64 P=8 Q=8"), load_target("stripes")
    for bits in (2, 8):
        precision = Precision(8, bits, 8)
        found = search(layer, precision, target, AnalyticalModel(), max_steps=1 << 16)
        bounds = cycles_by_bound(found.cost, target, found.mapping, precision)
        assert bounds[found.cost.bound] == found.cost.cycles
        assert bounds["compute"] <= found.cost.cycles


@pytest.mark.parametrize("width", [80, 120])
def test_energy_bars_have_the_length_of_the_shares(entry: dict[str, Any], width: int) -> None:
    lines = shown(print_layer, entry, width)
    assert max(map(len, lines)) <= width
    start = next(i for i, line in enumerate(lines) if "Energy by memory" in line)
    full = max(10, min(40, width - 45))
    for memory, energy in entry["energy_by_memory_pj"].items():
        (line,) = [line for line in lines[start : start + 9] if line.startswith(memory + " ")]
        assert line.count("█") == round(full * energy / entry["energy_pj"])
        assert float(line.split()[1].replace(",", "")) == pytest.approx(energy, abs=0.05)


def test_layer_view_shows_nest_baselines_and_what_would_help(entry: dict[str, Any]) -> None:
    text = "\n".join(shown(print_layer, entry, 80))
    assert entry["nest"].splitlines()[0] in text
    for words in ("proved best", "weight-stationary", "twice", "half", "branches cut by"):
        assert words in text
    best = entry["what_helps"][0]
    assert best["relative"] < 0
    pattern = rf"{re.escape(best['what'])} +{100 * best['relative']:+.1f} %"
    assert re.search(pattern, text)


def test_front_has_one_line_per_point() -> None:
    front = map_front(Work(None, "C=16 K=12 P=8 Q=5", "w8a8", "eyeriss"), SearchSettings())
    lines = shown(print_front, front, 80)
    assert len(front["points"]) > 1
    assert len(lines) == 2 + len(front["points"])
    assert all("proof" in line for line in lines[2:])


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (16_704, "16.3 KiB"), (1_048_064, "1,024 KiB")],
)
def test_sizes_have_three_digits(size: int, text: str) -> None:
    assert size_text(size) == text


def test_ratios_and_proofs_are_short() -> None:
    assert times({"times": 1.804, "proved": True}).strip() == "×1.80"
    assert times({"times": 31.6, "proved": False}) == "×32?"
    assert times({"missing": 2}) == times(None) == "-"
    assert proof({"proved": False, "gap": 0.1234}) == "gap 12.3%"
