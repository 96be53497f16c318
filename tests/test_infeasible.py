"""Explanations of layers without a mapping, against brute force over all mappings."""

from __future__ import annotations

import contextlib
import random
import re
from dataclasses import replace

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import CapacityError, NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.mapspace import all_mappings, map_space, space_size
from qmc.search import search
from qmc.targets import Target, load_target
from tests.machines import small_layer, small_precision, small_target

_MODEL = AnalyticalModel()
_NEED = re.compile(r"(\S+) needs (\d+) bytes, has (\d+) bytes")


def conv(**bounds: int) -> Layer:
    return Layer("conv", Op.CONV, ("x",), "y", LoopBounds(**bounds))


def fits(layer: Layer, precision: Precision, target: Target) -> bool:
    """Whether any mapping of the whole space fits."""
    for mapping in all_mappings(map_space(layer, target)):
        with contextlib.suppress(CapacityError):
            _MODEL.evaluate(layer, precision, target, mapping)
            return True
    return False


def with_bytes(target: Target, sizes: dict[str, int]) -> Target:
    memories = [
        replace(one, depth_words=sizes[one.name] * 8 // one.word_bits) if one.name in sizes else one
        for one in target.memories
    ]
    return replace(target, memories=tuple(memories))


def test_explanations_are_enough_and_no_byte_too_many() -> None:
    alone = together = widths = 0
    for seed in range(180):
        rng = random.Random(20_000 + seed)
        layer, precision, target = small_layer(rng), small_precision(rng), small_target(rng)
        tight = [
            replace(one, depth_words=rng.choice([1, 2, 3])) if index else one
            for index, one in enumerate(target.memories)
        ]
        target = replace(target, memories=tuple(tight))
        try:
            if space_size(map_space(layer, target)) > 300:
                continue
            search(layer, precision, target, _MODEL)
            continue
        except NoMappingError as error:
            message = str(error)
        needs = {name: (int(needed), int(has)) for name, needed, has in _NEED.findall(message)}
        if not needs:
            continue
        sizes = {name: needed for name, (needed, _) in needs.items()}
        assert all(needed > has for needed, has in needs.values()), message
        assert fits(layer, precision, with_bytes(target, sizes)), message
        for name in sizes:  # none of them can stay as it is, none can be a word smaller
            word = target.memory(name).word_bits // 8
            smaller = sizes | {name: sizes[name] - word}
            assert not fits(layer, precision, with_bytes(target, smaller)), message
        width = re.search(r"nearest change: (weight|input|output) bits (\d+), or", message)
        if width:
            narrow = replace(precision, **{f"{width[1]}_bits": int(width[2])})
            wider = replace(precision, **{f"{width[1]}_bits": int(width[2]) + 1})
            assert fits(layer, narrow, target), message
            assert not fits(layer, wider, target), message
        alone, together = alone + (len(needs) == 1), together + (len(needs) > 1)
        widths += bool(width)
    assert alone >= 6
    assert together >= 2
    assert widths >= 2


@pytest.mark.parametrize(
    ("machine", "layer", "precision", "words"),
    [
        ("eyeriss", conv(K=8, C=8, P=7, Q=7, S=600), Precision(), ("ifmap_spad", "weights_spad")),
        ("simba", conv(K=4, C=4, R=31, S=1030), Precision(16, 16, 16), ("PEInputBuffer",)),
        ("ne16", conv(K=4, C=4, P=3, Q=3, R=31, S=30), Precision(), ("InputBuffer needs 930",)),
        ("eyeriss", conv(K=64, C=64, P=8, Q=100_000), Precision(), ("shared_glb needs 500000",)),
        ("eyeriss", conv(R=13), Precision(), ("loop R", "room for 13 at shared_glb.y")),
    ],
)
def test_layers_that_fit_no_machine_say_what_would_help(
    machine: str, layer: Layer, precision: Precision, words: tuple[str, ...]
) -> None:
    with pytest.raises(NoMappingError) as error:
        search(layer, precision, load_target(machine), _MODEL)
    message = str(error.value)
    assert "\n" not in message
    assert "nearest change" in message
    for word in words:
        assert word in message
