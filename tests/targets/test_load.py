"""Machine descriptions: those that come with qmc load and name sources; broken ones say why."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmc.errors import TargetError
from qmc.layer import LoopDim, Operand
from qmc.targets import (
    ALL_REMAINING,
    Network,
    Packing,
    Target,
    Topology,
    check_target,
    list_targets,
    load_target,
)
from qmc.targets.describe import describe_target, target_to_data

THIRD_PARTY = Path(__file__).parent.parent.parent / "third_party"
TABLES = {
    "eyeriss": "timeloop_energy_45nm",
    "simba": "timeloop_energy_45nm",
    "eyeriss-8b": "timeloop_energy_exercises",
    "simba-8b": "timeloop_energy_exercises",
}

SMALL: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "description": "two memories and six MACs",
    "clock_mhz": 200,
    "psum_bits": 24,
    "groups_follow": "K",
    "sources": {"all": "made up for this test"},
    "memories": [
        {
            "name": "main",
            "word_bits": 32,
            "depth_words": "unlimited",
            "keep": ["W", "I", "O"],
            "packing": "dense",
            "energy_pj": {"read": 10, "fill": 11, "update": 12.5},
            "fanout": {"x": {"size": 6, "only": ["K", "P"], "maximum": {"P": 2}}},
        },
        {
            "name": "local",
            "word_bits": 8,
            "row_words": 2,
            "depth_words": 64,
            "keep": ["O"],
            "bypass": ["W"],
            "packing": "words",
            "energy_pj": {"read": 1, "fill": 1, "update": 1},
            "temporal": {"factors": {"R": "all", "C": 1}, "order": ["S", "R"]},
            "source": "a ruler",
        },
    ],
    "mac": {
        "energy_pj": 0.5,
        "weight_bits": [2, 8],
        "input_bits": [4, 8],
        "energy_by_width": [{"weight_bits": 2, "input_bits": 8, "energy_pj": 0.125}],
    },
}


def write(folder: Path, text: str, name: str = "machine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def changed(folder: Path, path: str, value: object) -> Path:
    """SMALL with one value replaced; None removes the key."""
    data = yaml.safe_load(yaml.safe_dump(SMALL))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = data
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return write(folder, yaml.safe_dump(data))


def test_small_machine_has_what_the_file_says(tmp_path: Path) -> None:
    target = load_target(write(tmp_path, yaml.safe_dump(SMALL)))
    main, local = target.memories
    assert (main.instances, local.instances, target.mac.instances) == (1, 6, 6)
    assert (main.size_bytes, local.size_bytes) == (None, 64)
    assert (main.update_pj, main.fanout_x, main.fanout_y) == (12.5, 6, 1)
    assert main.packing is Packing.DENSE
    assert local.keep == {Operand.O}
    assert local.bypass == {Operand.W}
    assert local.temporal.factors == {LoopDim.C: 1, LoopDim.R: ALL_REMAINING}
    assert local.temporal.order == (LoopDim.S, LoopDim.R)
    fixed = dict.fromkeys((LoopDim.N, LoopDim.C, LoopDim.Q, LoopDim.R, LoopDim.S), 1)
    assert main.spatial_x.factors == fixed
    assert main.spatial_x.maximum == {LoopDim.P: 2}
    assert target.clock_hz == 200e6
    assert (target.mac.energy_at(2, 8), target.mac.energy_at(3, 8)) == (0.125, 0.5)
    assert "0.125 up to w2a8" in describe_target(target)
    assert target.sources == {"all": "made up for this test", "local": "a ruler"}


@pytest.mark.parametrize("name", list_targets())
def test_shipped_machine_loads_and_names_its_sources(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert {"structure", "constraints", "energy", "clock", "psum_bits"} <= set(target.sources)
    assert all(len(source) > 10 for source in target.sources.values())
    assert len(target.sha256) == 64
    fanouts = math.prod(level.fanout_x * level.fanout_y for level in target.memories)
    assert target.mac.instances == fanouts


@pytest.mark.parametrize("name", TABLES)
def test_shipped_energies_are_those_of_the_published_table(name: str) -> None:
    folder = THIRD_PARTY / TABLES[name]
    table = yaml.safe_load((folder / "energy.yaml").read_text())[name]
    target = load_target(name)
    for level in target.memories:
        row = table.pop(level.name)
        assert (level.read_pj, level.fill_pj, level.update_pj) == (
            row["read"],
            row["fill"],
            row["update"],
        )
        assert level.leakage_pj == row.get("leak", 0.0)
    assert table == {target.mac.name: {"compute": target.mac.energy_pj}}
    assert (folder / "ORIGIN.md").is_file()


@pytest.mark.parametrize("name", list_targets())
def test_description_shows_levels_sizes_and_sources(name: str) -> None:
    target = load_target(name)
    text = describe_target(target)
    for level in target.memories:
        assert f"{level.read_pj:.8g}" in text
        assert level.name in text
    assert "KiB" in text or "bytes" in text
    assert all(topic in text for topic in target.sources)
    assert [entry["name"] for entry in target_to_data(target)["memories"]] == [
        level.name for level in target.memories
    ]


def test_unknown_name_lists_known_names_and_the_nearest() -> None:
    with pytest.raises(TargetError, match=r"'simbba'.*eyeriss, .*simba-8b.*nearest: simba$"):
        load_target("simbba")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"gone\.yaml.*an existing file"):
        load_target(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("memories.1.depth_words", -4, r"memories\[1\]\.depth_words: found -4; .*at least 1"),
        ("memories.1.depth_words", "much", r"depth_words: found 'much'; .*'unlimited'"),
        ("memories.1.word_bits", 0, r"memories\[1\]\.word_bits: found 0; .*at least 1"),
        ("memories.1.word_bits", 8.5, r"word_bits: found 8\.5; .*a whole number"),
        ("memories.1.word_bits", None, r"memories\[1\]\.word_bits: found 'nothing'; .*required"),
        ("memories.1.energy_pj.read", -1, r"energy_pj\.read: found -1.*at least 0"),
        (
            "memories.1.energy_pj.read",
            float("nan"),
            r"energy_pj\.read: found nan.*(finite|least 0)",
        ),
        ("memories.1.packing", "tight", r"packing: found 'tight'; .*'words'.*'dense'"),
        (
            "memories.1.store_bits",
            {"O": 20},
            r"\[1\]\.store_bits\.O is 20, but .* 24 bits; set psum_b",
        ),
        ("memories.1.store_bits", {"O": 0}, r"memories\[1\]\.store_bits\.O: found 0; .*at least 1"),
        ("memories.1.store_bits", {"O": 65}, r"store_bits\.O: found 65; .*at most 64"),
        ("memories.1.store_bits", {"X": 8}, r"store_bits\.X: found 'X'; .*'W', 'I' or 'O'"),
        ("memories.1.store_bits", {"W": 8}, r"store_bits\.W is given, but W bypasses"),
        ("memories.1.store_bits", 8, r"store_bits: found 8; allowed: keys and values"),
        ("memories.1.store_bit", 8, r"found 'store_bit'; .*nearest: store_bits"),
        ("memories.0.network", {"topology": "ring"}, r"topology: found 'ring'; .*'bus' or 'mesh'"),
        ("memories.0.network", {"add_pj": 1}, r"network\.topology: found 'nothing'; .*required"),
        ("memories.0.network", "mesh", r"network: found 'mesh'; allowed: keys and values"),
        (
            "memories.0.network",
            {"topology": "bus", "hop_pj": 1},
            r"network\.hop_pj: found 'hop_pj'; .*nearest: hop_pj_per_bit",
        ),
        (
            "memories.0.network",
            {"topology": "bus", "hop_pj_per_bit": {"x": -1}},
            r"network\.hop_pj_per_bit\.x: found -1; .*at least 0",
        ),
        ("memories.1.network", {"topology": "bus"}, r"network needs more than one instance below"),
        ("memories.1.keep", ["W", "X"], r"keep\[1\]: found 'X'; .*'W'.*'O'"),
        ("memories.1.bypass", ["O"], r"memories\[1\]: found.*'local'.*O is in keep and in bypass"),
        ("memories.1.keep", ["O", "O"], r"keep names 'O' twice"),
        ("memories.1.name", "main", r"memories names 'main' twice"),
        ("memories.1.name", "a b", r"memories\[1\]\.name: found 'a b'; .*letters"),
        ("memories.0.keep", ["W", "I"], r"'main' must keep O"),
        ("memories.1.bandwidth", {"read": 0}, r"bandwidth\.read: found 0; .*more than 0"),
        ("memories.1.depht", 3, r"memories\[1\]\.depht: found 'depht'; .*nearest: depth_words"),
        ("mac.energy", 3, r"mac\.energy: found 'energy'; .*nearest: energy_pj"),
        ("mac.weight_bits", [8, 2], r"weight_bits is \[8, 2\]"),
        ("mac.energy_by_width.0.weight_bits", 0, r"energy_by_width\[0\]\.weight_bits: found 0"),
        ("mac.input_bits", [2], r"mac\.input_bits"),
        ("memories.1.temporal.factors.Z", 2, r"temporal\.factors\.Z"),
        ("memories.1.temporal.order", ["R", "R"], r"order names 'R' twice"),
        ("memories.0.fanout.x.factors", {"K": 7}, r"need 7 instances, size is 6"),
        ("memories.0.fanout.x.factors", {"C": 2}, r"factors\.C is 2, but 'only' leaves C out"),
        ("memories.0.fanout.x.factors", {"P": 3}, r"factors\.P is 3, above maximum\.P 2"),
        ("memories.0.fanout.x.order", ["K"], r"'order' has no meaning"),
        ("memories.0.fanout.x.size", 0, r"fanout\.x\.size: found 0; .*at least 1"),
        ("memories.0.temporal", {"factors": {"R": "all"}}, r"both take 'all' of R"),
        ("memories.0.temporal", {"only": ["K"]}, r"no block of loops can take C"),
        ("schema_version", 2, r"schema_version: found 2; allowed: 1"),
        ("clock_mhz", 0, r"clock_mhz: found 0; .*more than 0"),
        ("groups_follow", "P", r"groups_follow: found 'P'; .*'K' or 'C'"),
        ("sources", {}, r"sources: found.*at least 1"),
        ("memories", [SMALL["memories"][0]], r"memories: found.*at least 2"),
        ("mac", None, r"mac: found 'nothing'; .*required"),
        ("psum_bits", True, r"psum_bits: found True"),
    ],
)
def test_broken_description_names_key_value_and_what_is_allowed(
    tmp_path: Path, path: str, value: object, message: str
) -> None:
    file = changed(tmp_path, path, value)
    with pytest.raises(TargetError, match=message) as caught:
        load_target(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2\n", "file: found 'list'; allowed: a mapping"),
        ("a: [1\n", "line 2"),
        ("a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("name: a\nname: b\n", "key 'name' appears twice"),
        ("1: a\n", "key 1 is not a string"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("a: \x00\n", "plain YAML"),
        ("[" * 5000, "plain YAML"),
    ],
)
def test_text_that_is_no_plain_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load_target(write(tmp_path, text))


def test_large_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="file size: found 'over 1048576 bytes'"):
        load_target(write(tmp_path, "a: " + "x" * (1 << 20)))


def test_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(TargetError, match="an existing file"):
        load_target(tmp_path / "folder.yaml")


def extend(folder: Path, text: str) -> Target:
    return load_target(write(folder, text, "variant.yaml"))


def test_variant_changes_only_what_it_names(tmp_path: Path) -> None:
    base = load_target("simba")
    variant = extend(
        tmp_path,
        "extends: simba\nname: simba-half\nmemories:\n"
        "  - {name: GlobalBuffer, depth_words: 16384, energy_pj: {read: 100.0}}\n",
    )
    assert variant.name == "simba-half"
    assert variant.sha256 != base.sha256
    buffer = variant.memory("GlobalBuffer")
    assert (buffer.depth_words, buffer.read_pj, buffer.fill_pj) == (16384, 100.0, 182.7858)
    same = [level for level in variant.memories if level.name != "GlobalBuffer"]
    assert same == [level for level in base.memories if level.name != "GlobalBuffer"]


def test_variant_can_add_and_change_networks_and_stored_widths(tmp_path: Path) -> None:
    text = (
        "extends: {}\nname: {}\npsum_bits: 20\nmemories:\n  - {{name: GlobalBuffer, network: {}}}\n"
        "  - {{name: PEAccuBuffer, store_bits: {}}}\n"
    )
    mesh = "{topology: mesh, hop_pj_per_bit: {x: 0.02, y: 0.03}, add_pj: 0.5}"
    write(tmp_path, text.format("simba", "wired", mesh, "{O: 24}"), "wired.yaml")
    bus = "{topology: bus, hop_pj_per_bit: {y: 0.01}}"
    variant = extend(tmp_path, text.format("wired.yaml", "bused", bus, "{O: 20}"))
    network = Network(Topology.BUS, 0.02, 0.01, 0.0, 0.5)
    assert variant.memory("GlobalBuffer").network == network
    assert variant.memory("PEAccuBuffer").store_bits == {Operand.O: 20}
    text = describe_target(variant)
    assert "GlobalBuffer network: bus, 0.02 per bit and hop along x" in text
    assert "0.5 per addition on the way" in text
    assert "O stored in 20 bits" in text
    data = {entry["name"]: entry for entry in target_to_data(variant)["memories"]}
    assert data["GlobalBuffer"]["network"]["hop_pj_per_bit"] == {"x": 0.02, "y": 0.01}
    assert data["PEAccuBuffer"]["store_bits"] == {"O": 20}
    assert data["DRAM"]["network"] is None


def test_variant_of_a_file_beside_it_loads(tmp_path: Path) -> None:
    write(tmp_path, yaml.safe_dump(SMALL), "base.yaml")
    assert extend(tmp_path, "extends: base.yaml\nclock_mhz: 7").clock_hz == 7e6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: variant.yaml\n", "extends: found 'variant.yaml'"),
        ("extends: 3\n", "extends: found 3; allowed: a machine's name or file"),
        ("extends: simbb\n", "nearest: simba"),
        ("extends: simba\nmemories: [{name: L9}]\n", r"memories\[0\]\.name: found 'L9'.*DRAM"),
        ("extends: simba\nmemories: [{depth_words: 2}]\n", r"memories\[0\]\.name: found None"),
        ("extends: simba\nmemories: 4\n", "memories: found 4; allowed: a list"),
    ],
)
def test_broken_variant_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        extend(tmp_path, text)


def test_check_explains_every_mistake(tmp_path: Path) -> None:
    data = yaml.safe_load(yaml.safe_dump(SMALL))
    data["clock_mhz"] = -1
    data["memories"][0]["packing"] = "tight"
    data["memories"][1]["energy_pj"] = {"read": 1, "fil": 1, "update": 1}
    data["memories"][1]["depth_words"] = "much"
    del data["sources"]
    file = write(tmp_path, yaml.safe_dump(data))
    assert sorted(line.removeprefix(f"{file}: ") for line in check_target(file)) == [
        "clock_mhz: found -1; allowed: more than 0.0",
        "memories[0].packing: found 'tight'; allowed: 'words', 'single', 'dense' or 'planes'",
        "memories[1].depth_words: found 'much'; allowed: a whole number or 'unlimited'",
        "memories[1].energy_pj.fil: found 'fil'; allowed: fill, read, update; nearest: fill",
        "memories[1].energy_pj.fill: found 'nothing'; allowed: a value: the key is required",
        "sources: found 'nothing'; allowed: a value: the key is required",
    ]


@pytest.mark.parametrize("name", list_targets())
def test_check_of_a_shipped_machine_finds_nothing(name: str) -> None:
    assert check_target(name) == ()


def test_double_buffering_leaves_half_the_words(tmp_path: Path) -> None:
    target = load_target(changed(tmp_path, "memories.1.buffering", 2))
    local = target.memory("local")
    assert (local.depth_words, local.size_bytes, local.buffering) == (32, 32, 2)  # of 64 words
    assert "2 x 32 bytes" in describe_target(target)
    odd = load_target(changed(tmp_path, "memories.1.buffering", 3))
    assert odd.memory("local").depth_words == 21  # 64 / 3, a word stays unused
    with pytest.raises(TargetError, match="buffering of 3 tiles needs as many words"):
        load_target(
            write(
                tmp_path,
                "{extends: machine.yaml, memories: [{name: local, depth_words: 2}]}",
                "b.yaml",
            )
        )
