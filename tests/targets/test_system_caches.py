"""Machines that take their cache sizes from the system, on made-up systems."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import TargetError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.search import search
from qmc.targets import Target, check_target, load_target
from qmc.targets.system_caches import Cache, read_caches

DESKTOP = (
    ("1", "Data", "48K", "64"),
    ("1", "Instruction", "32K", "64"),
    ("2", "Unified", "1280K", "64"),
    ("3", "Unified", "24M", "128"),
)
BOARD = (("1", "Data", "32K", "64"), ("2", "Unified", "512K", "64"))


def system(folder: Path, caches: tuple[tuple[str, str, str, str], ...]) -> Path:
    """A folder like /sys/devices/system/cpu/cpu0/cache."""
    folder.mkdir()
    (folder / "uevent").write_text("")
    for number, values in enumerate(caches):
        index = folder / f"index{number}"
        index.mkdir()
        names = ("level", "type", "size", "coherency_line_size")
        for name, value in zip(names, values, strict=True):
            (index / name).write_text(value + "\n")
    return folder


def variant(folder: Path, caches: Path, more: str = "") -> Path:
    file = folder / "mine.yaml"
    file.write_text(f"extends: host\ncaches: {caches}\n{more}")
    return file


def load(folder: Path, caches: tuple[tuple[str, str, str, str], ...], more: str = "") -> Target:
    return load_target(variant(folder, system(folder / "cache", caches), more))


def test_read_caches_finds_data_and_unified_ones(tmp_path: Path) -> None:
    assert read_caches(system(tmp_path / "cache", DESKTOP)) == {
        "L1": Cache("L1", 48 << 10, 64),
        "L2": Cache("L2", 1280 << 10, 64),
        "L3": Cache("L3", 24 << 20, 128),
    }


def test_read_caches_leaves_out_what_it_cannot_read(tmp_path: Path) -> None:
    odd = (("1", "Data", "", "64"), ("2", "Unified", "1M", "64"), ("3", "Unified", "many", "64"))
    folder = system(tmp_path / "cache", odd)
    (folder / "index9").mkdir()
    assert read_caches(folder) == {"L2": Cache("L2", 1 << 20, 64)}
    assert read_caches(tmp_path / "gone") == {}


def test_host_has_the_caches_of_the_system(tmp_path: Path) -> None:
    target = load(tmp_path, DESKTOP)
    sizes = {level.name: (level.size_bytes, level.row_words) for level in target.memories}
    assert sizes == {
        "DRAM": (None, 64),
        "L3": (24 << 20, 128),
        "L2": (1280 << 10, 64),
        "L1": (48 << 10, 64),
        "registers": (64, 1),
    }
    assert target.sources["caches"] == (
        "L1 48 KiB in lines of 64 bytes; L2 1280 KiB in lines of 64 bytes; "
        "L3 24576 KiB in lines of 128 bytes"
    )


def test_host_without_l3_has_no_such_level_and_maps_layers(tmp_path: Path) -> None:
    target = load(tmp_path, BOARD)
    assert [level.name for level in target.memories] == ["DRAM", "L2", "L1", "registers"]
    layer = Layer("c", Op.CONV, ("x",), "y", LoopBounds(K=24, C=6, P=10, Q=14, R=3, S=3))
    result = search(layer, Precision(4, 8, 8), target, AnalyticalModel())
    assert result.certificate.proved
    assert set(result.cost.accesses) == {"DRAM", "L2", "L1", "registers"}


def test_same_caches_give_the_same_machine_and_others_another(tmp_path: Path) -> None:
    first, second, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    for folder in (first, second, other):
        folder.mkdir()
    caches = system(tmp_path / "cache", BOARD)
    file = variant(tmp_path, caches)
    same = load_target(file)
    assert load_target(file) == same
    (caches / "index1" / "size").write_text("256K\n")
    assert load_target(file).sha256 != same.sha256


def test_variant_may_change_energies_of_the_system_s_caches(tmp_path: Path) -> None:
    more = "memories: [{name: L2, energy_pj: {read: 5.0}, store_bits: {W: 8}}]\n"
    level = load(tmp_path, DESKTOP, more).memory("L2")
    assert (level.read_pj, level.fill_pj, level.size_bytes) == (5.0, 800.0, 1280 << 10)


def test_system_that_describes_no_caches_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        target = load(tmp_path, ())
        load_target(tmp_path / "mine.yaml")
    assert [level.name for level in target.memories] == ["DRAM", "L3", "L2", "L1", "registers"]
    assert target.memory("L1").size_bytes == 32 << 10
    (told,) = caplog.messages
    assert told.endswith("cache describes none; the sizes in the description are assumed")
    assert target.sources["caches"].startswith("assumed, since ")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "memories: [{name: L2, cache: L7}]",
            r"memories\[2\]\.cache: found 'L7'; .*'L1', 'L2', 'L3' or 'L4'",
        ),
        ("memories: [{name: L1, cache: L4}]", r"memories\[3\]\.cache: found 'L4'; .*: L1, L2, L3"),
        ("caches: 3", r"caches: found 3; allowed: text"),
        ("caches: null", r"memories\[1\]\.cache is L3, but 'caches' names no folder"),
        ("memories: [{name: L2, word_bits: 0}]", r"memories\[2\]\.word_bits: found 0; .*least 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, more: str, message: str) -> None:
    caches = system(tmp_path / "cache", DESKTOP)
    file = variant(tmp_path, caches, more)
    if more.startswith("caches"):
        file.write_text(f"extends: host\n{more}\n")
    with pytest.raises(TargetError, match=message):
        load_target(file)


def test_check_of_a_host_variant_explains_mistakes(tmp_path: Path) -> None:
    caches = system(tmp_path / "cache", BOARD)
    good = variant(tmp_path, caches)
    assert check_target(good) == ()
    memories = "[{name: L2, packing: loose}, {name: L3, cache: L9}, {name: DRAM, cach: L2}]"
    bad = variant(tmp_path, caches, f"psum_bits: 0\nmemories: {memories}\n")
    mistakes = check_target(bad)
    assert len(mistakes) == 4
    assert mistakes[0].endswith("nearest: cache")
