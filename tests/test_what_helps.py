"""Changed machines against descriptions written by hand, gains against brute force."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import CapacityError, NoMappingError
from qmc.layer import Layer, Precision
from qmc.mapspace import all_mappings, map_space, space_size
from qmc.search import search
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.what_helps import machine_changes, what_helps
from tests.machines import small_layer, small_precision, small_target

_MODEL = AnalyticalModel()


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMC_CACHE_DIR", "")


#: Changes of simba as a user would write them.
BY_HAND = {
    ("GlobalBuffer size", 2.0): "{name: GlobalBuffer, depth_words: 65536}",
    ("PEAccuBuffer size", 0.5): "{name: PEAccuBuffer, depth_words: 64}",
    ("GlobalBuffer x axis", 2.0): "{name: GlobalBuffer, fanout: {x: {size: 32, only: [C, K]}}}",
    ("PEInputBuffer y axis", 0.5): (
        "{name: PEInputBuffer, fanout: {y: {size: 2, only: [K], factors: {K: 2}}}}"
    ),
}


@pytest.mark.parametrize("change", BY_HAND, ids=lambda change: change[0].replace(" ", "_"))
def test_machine_change_equals_the_description_by_hand(
    change: tuple[str, float], tmp_path: Path
) -> None:
    text = f"schema_version: 1\nname: changed\nextends: simba\nmemories: [{BY_HAND[change]}]\n"
    (tmp_path / "changed.yaml").write_text(text)
    wanted = load_target(tmp_path / "changed.yaml")
    changes = {(one.what, one.times): one.target for one in machine_changes(load_target("simba"))}
    assert changes[change].memories == wanted.memories
    assert changes[change].mac == wanted.mac


def test_machine_changes_cover_sizes_bandwidths_and_axes() -> None:
    found = {(one.what, one.times) for one in machine_changes(load_target("eyeriss"))}
    quantities = {what for what, _ in found}
    assert quantities == {
        *(f"shared_glb {axis} axis" for axis in "xy"),
        *(
            f"{memory} {quantity}"
            for memory in ("shared_glb", "ifmap_spad", "weights_spad", "psum_spad")
            for quantity in ("size", "read bandwidth", "write bandwidth")
        ),
    }
    assert found == {(what, times) for what in quantities for times in (2.0, 0.5)}


def brute_force(layer: Layer, precision: Precision, target: Target) -> float | None:
    """Least EDP of all mappings; None when none fits."""
    best = None
    try:
        mappings = list(all_mappings(map_space(layer, target)))
    except NoMappingError:
        return None
    for mapping in mappings:
        with contextlib.suppress(CapacityError):
            found = _MODEL.evaluate(layer, precision, target, mapping).edp_pj_cycles
            best = found if best is None else min(best, found)
    return best


def with_size(target: Target, name: str, times: float) -> Target:
    memories = [
        replace(one, depth_words=int(one.depth_words * times)) if one.name == name else one
        for one in target.memories
    ]
    return replace(target, memories=tuple(memories))


def test_what_helps_sizes_equal_brute_force() -> None:
    compared = changed = 0
    for seed in range(90):
        rng = random.Random(9000 + seed)
        layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
        try:
            if space_size(map_space(layer, target)) > 600:
                continue
            cost = search(layer, precision, target, _MODEL).cost
        except NoMappingError:
            continue
        rows = what_helps(layer, precision, target, _MODEL, Objective.EDP, cost)
        for row in rows:
            name, quantity = row["what"].split(" ", 1)
            if quantity == "size":
                best = brute_force(layer, precision, with_size(target, name, row["times"]))
                expected = None if best is None else best / cost.edp_pj_cycles - 1
                assert row["relative"] == pytest.approx(expected, abs=1e-9), (seed, row)
                compared += 1
                changed += expected is None or abs(expected) > 1e-6
        gains = [row["relative"] for row in rows if row["relative"] is not None]
        assert gains == sorted(gains)
        assert [row["relative"] is None for row in rows] == sorted(
            row["relative"] is None for row in rows
        )
    assert compared >= 30
    assert changed >= 4
