"""Why a layer has no mapping: the memory at fault, and the nearest change that would fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from qmc.branch_and_bound import HELD, run
from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import NoMappingError
from qmc.layer import Operand, Precision
from qmc.mapspace import MapSpace
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_kernel import empty_nest

#: Steps of one question; an answer that takes longer is left out of the message.
_STEPS = 1 << 23


def explain(space: MapSpace, precision: Precision, model: AnalyticalModel) -> NoMappingError:
    """The error for a layer that fits no mapping of ``space``."""
    layer, target = space.layer, space.target
    needs = []
    for level in _limited(space):
        words = _least_words(space, precision, model, level, frozenset({level}))
        if words is not None:
            needs.append((words / (target.memories[level].depth_words or 1), level, words))
    if needs and min(needs)[0] <= 1:
        reason = "none was found in the time given, though one exists"
        return NoMappingError(layer.name, target.name, reason)
    if needs:
        _, level, words = min(needs)
        grown = {level: words}
    else:
        grown = _grow_together(space, precision, model)
    if not grown:
        reason = "its memories are too small; how much is missing was not found in the time given"
        return NoMappingError(layer.name, target.name, reason)
    width = _nearest_width(space, precision, model, frozenset(grown))
    return NoMappingError(layer.name, target.name, _reason(space, grown, width))


def _reason(space: MapSpace, grown: dict[int, int], width: str | None) -> str:
    """What is needed and available, and the nearest change of a width or of memories."""
    needs, sizes = [], []
    for level, words in sorted(grown.items()):
        memory = space.target.memories[level]
        needed = math.ceil(words * memory.word_bits / 8)
        needs.append(f"{memory.name} needs {needed} bytes, has {memory.size_bytes} bytes")
        sizes.append(f"{memory.name} of {needed} bytes")
    fits = f"{width}, or " if width else ""
    change = sizes[0] if len(sizes) == 1 else "all of these sizes"
    return f"{', and '.join(needs)}; nearest change: {fits}{change}"


def _limited(space: MapSpace) -> list[int]:
    """Memories of limited size, outermost first."""
    memories = enumerate(space.target.memories)
    return [level for level, memory in memories if memory.depth_words is not None]


def _grow_together(space: MapSpace, precision: Precision, model: AnalyticalModel) -> dict[int, int]:
    """Words of the fewest memories, found one by one, with which a mapping exists.

    Every memory that a mapping can do without growing keeps its size; each of the others gets, in
    turn, the least that is enough when those after it may be of any size.
    """
    free = _limited(space)
    for level in list(free):
        without = frozenset(free) - {level}
        if _least_words(space, precision, model, level, without) is not None:
            free.remove(level)
    grown: dict[int, int] = {}
    for index, level in enumerate(free):
        words = _least_words(space, precision, model, level, frozenset(free[index:]), grown)
        if words is None:
            return {}
        grown[level] = words
    return grown


def _least_words(
    space: MapSpace,
    precision: Precision,
    model: AnalyticalModel,
    level: int,
    free: frozenset[int],
    grown: dict[int, int] | None = None,
) -> int | None:
    """Fewest words of one memory with which a mapping exists; None when none was found.

    Args:
        space: of the layer on the machine.
        precision: widths.
        model: the counting rules.
        level: the memory whose words count.
        free: memories that may be of any size.
        grown: words of memories that are larger than the machine's.
    """
    best = np.inf
    for keep in space.keeps:
        problem = build_problem(space.layer, precision, space.target, keep, model)
        for memory, words in (grown or {}).items():
            problem["depth"][memory] = words
        for memory in free:
            problem["depth"][memory] = 0
        state = new_state(space)
        state["watched"] = level
        state["small_tiles_first"] = 1
        nest = empty_nest(problem["bounds"])
        run(problem, build_choices(space), nest, state, HELD, _STEPS)
        best = min(best, float(state["best"][0]))
    return int(best) if np.isfinite(best) else None


def _nearest_width(
    space: MapSpace, precision: Precision, model: AnalyticalModel, levels: frozenset[int]
) -> str | None:
    """The widest narrower operand of some memories, one at a time, with which a mapping exists."""
    fields = {Operand.W: "weight_bits", Operand.I: "input_bits", Operand.O: "output_bits"}
    kept = {x for keep in space.keeps for level in levels for x in keep[level].operands}
    low = {
        "weight_bits": space.target.mac.weight_bits[0],
        "input_bits": space.target.mac.input_bits[0],
        "output_bits": 1,
    }
    options = [
        (getattr(precision, field) - bits, f"{field.replace('_', ' ')} {bits}", field, bits)
        for operand, field in fields.items()
        if operand in kept
        for bits in range(getattr(precision, field) - 1, low[field] - 1, -1)
    ]
    for _, words, field, bits in sorted(options):
        narrower: dict[str, Any] = {field: bits}
        if _fits(space, replace(precision, **narrower), model):
            return words
    return None


def _fits(space: MapSpace, precision: Precision, model: AnalyticalModel) -> bool:
    """Whether a mapping exists at these widths."""
    for keep in space.keeps:
        problem = build_problem(space.layer, precision, space.target, keep, model)
        state = new_state(space)
        state["small_tiles_first"] = 1
        run(problem, build_choices(space), empty_nest(problem["bounds"]), state, HELD, _STEPS)
        if np.isfinite(state["best"][0]):
            return True
    return False
