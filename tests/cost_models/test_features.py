"""Features of the learned cost model: what they depend on, and what they must not."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.features import FEATURES, describe_mappings
from qmc.errors import CapacityError, NoMappingError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.mapspace import all_mappings, map_space
from qmc.search import search
from qmc.targets import Target, load_target
from qmc.targets.target import MacArray, MemoryLevel, Packing
from tests.machines import FREE, small_layer, small_precision, small_target

LAYER = Layer("conv", Op.CONV, ("x",), "y", LoopBounds(K=6, C=4, P=7, Q=9, R=3, S=1))


def best(layer: Layer, precision: Precision, target: Target) -> Mapping:
    return search(layer, precision, target, AnalyticalModel()).mapping


def features(layer: Layer, precision: Precision, target: Target, mapping: Mapping) -> dict:
    rows, _ = describe_mappings(layer, precision, target, [mapping])
    return dict(zip(FEATURES, rows[0].tolist(), strict=True))


def renamed(target: Target, mapping: Mapping) -> tuple[Target, Mapping]:
    names = {level.name: f"m{index}" for index, level in enumerate(target.memories)}
    memories = tuple(replace(level, name=names[level.name]) for level in target.memories)
    loops = tuple(replace(loop, level=names[loop.level]) for loop in mapping.loops)
    keep = tuple(replace(entry, level=names[entry.level]) for entry in mapping.keep)
    return replace(target, name="other", memories=memories), Mapping(loops, keep)


def one_memory() -> Target:
    """Words of 8 bits, 1 pJ for each, no limit; one MAC of 1 pJ."""
    memory = MemoryLevel(
        name="memory",
        instances=1,
        word_bits=8,
        row_words=1,
        depth_words=None,
        fanout_x=1,
        fanout_y=1,
        keep=frozenset(Operand),
        bypass=frozenset(),
        packing=Packing.WORDS,
        read_pj=1.0,
        fill_pj=1.0,
        update_pj=1.0,
        leakage_pj=0.0,
        read_bandwidth=None,
        write_bandwidth=None,
        cluster=1,
        temporal=FREE,
        spatial_x=FREE,
        spatial_y=FREE,
    )
    mac = MacArray("mac", 1, 1.0, 0.0, (1, 16), (1, 16))
    return Target("one", "", (memory,), mac, 1e9, 32, LoopDim.K, {}, "")


def test_names_are_distinct() -> None:
    assert len(set(FEATURES)) == len(FEATURES)


@pytest.mark.parametrize("name", ["simba", "eyeriss", "stripes"])
def test_features_do_not_depend_on_names(name: str) -> None:
    target = load_target(name)
    mapping = best(LAYER, Precision(4, 8, 8), target)
    other = renamed(target, mapping)
    told = features(LAYER, Precision(4, 8, 8), target, mapping)
    assert told == features(replace(LAYER, name="z", output="w"), Precision(4, 8, 8), *other)


def test_machines_of_any_depth_have_vectors_of_one_length() -> None:
    depths = set()
    for name in ("cortex-m7", "tpu", "simba"):
        target = load_target(name)
        mapping = best(LAYER, Precision(), target)
        rows, estimates = describe_mappings(LAYER, Precision(), target, [mapping])
        assert rows.shape == (1, len(FEATURES))
        assert np.isfinite(rows).all()
        assert np.isfinite(estimates).all()
        depths.add(len(target.memories))
    assert len(depths) == 3


def test_cheap_estimate_of_a_pencil_and_paper_layer() -> None:
    # K=2, C=3: 6 steps. W and I: one word read each step. O: 6 sums arrive, 2 of them first ones:
    # 4 partial sums of 4 words are read; 4 such and 2 finished outputs of one word are written.
    layer = replace(LAYER, bounds=LoopBounds(K=2, C=3))
    loops = (Loop(LoopDim.K, 2, "memory"), Loop(LoopDim.C, 3, "memory"))
    mapping = Mapping(loops, (Keep("memory", frozenset(Operand)),))
    _, estimates = describe_mappings(layer, Precision(8, 8, 8, 32), one_memory(), [mapping])
    assert estimates[0].tolist() == [6 + 6 + (16 + 18) + 6, 6]
    leaking = replace(one_memory().memories[0], leakage_pj=0.5)
    target = replace(one_memory(), memories=(leaking,))
    _, estimates = describe_mappings(layer, Precision(8, 8, 8, 32), target, [mapping])
    assert estimates[0].tolist() == [52 + 6 * 0.5, 6]


def test_cheap_estimate_does_not_know_the_loop_order_but_the_features_do() -> None:
    target = small_target(random.Random(4))
    target = replace(target, memories=tuple(replace(m, depth_words=None) for m in target.memories))
    layer = replace(LAYER, bounds=LoopBounds(K=2, C=3, P=2))
    space = map_space(layer, target)
    by_tiles: dict[object, list[Mapping]] = {}
    for mapping in list(all_mappings(space))[:4000]:
        key = (frozenset(mapping.loops), mapping.keep)
        by_tiles.setdefault(key, []).append(mapping)
    groups = [group for group in by_tiles.values() if len(group) > 1]
    assert groups
    different = 0
    for group in groups[:40]:
        rows, estimates = describe_mappings(layer, Precision(), target, group)
        assert (estimates == estimates[0]).all()
        different += bool((rows != rows[0]).any())
    assert different


def test_elements_in_a_word_follow_the_width() -> None:
    target = load_target("simba")  # words of 16 bits
    for bits, per_word in ((2, 8), (4, 4), (5, 3), (8, 2), (16, 1)):
        precision = Precision(bits, 8, 8)
        told = features(LAYER, precision, target, best(LAYER, precision, target))
        assert told["per_word_W_main"] == pytest.approx(np.log2(per_word))
        assert (told["unpack_W"] > 0) == (bits < 16)


def test_fit_agrees_with_the_cost_model() -> None:
    rng = random.Random(7)
    outcomes = {True: 0, False: 0}
    for _ in range(12):
        layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
        try:
            mappings = list(all_mappings(map_space(layer, target)))
        except NoMappingError:
            continue
        for mapping in rng.sample(mappings, min(25, len(mappings))):
            _, estimates = describe_mappings(layer, precision, target, [mapping])
            try:
                AnalyticalModel().evaluate(layer, precision, target, mapping)
                fits = True
            except CapacityError:
                fits = False
            assert np.isfinite(estimates).all() == fits
            outcomes[fits] += 1
    assert min(outcomes.values()) > 20
