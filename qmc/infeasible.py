"""Why a layer has no mapping: the memory at fault, and the nearest change that would fit."""

from __future__ import annotations

import math
from dataclasses import replace

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
    for level, memory in enumerate(target.memories):
        if memory.depth_words is not None:
            words = _least_words(space, precision, model, level)
            if words is not None and words > memory.depth_words:
                needs.append((words / memory.depth_words, level, words))
    if not needs:
        reason = "no single memory is at fault; several are too small together"
        return NoMappingError(layer.name, target.name, reason)
    _, level, words = min(needs)
    memory = target.memories[level]
    needed = math.ceil(words * memory.word_bits / 8)
    reason = f"{memory.name} needs {needed} bytes, has {memory.size_bytes} bytes"
    width = _nearest_width(space, precision, model, level)
    fits = f"{width}, or " if width else ""
    return NoMappingError(
        layer.name, target.name, f"{reason}; nearest change: {fits}{memory.name} of {needed} bytes"
    )


def _least_words(
    space: MapSpace, precision: Precision, model: AnalyticalModel, level: int
) -> int | None:
    """Fewest words of one memory with which a mapping exists, all others being as they are."""
    best = np.inf
    for keep in space.keeps:
        problem = build_problem(space.layer, precision, space.target, keep, model)
        problem["depth"][level] = 0
        state = new_state(space)
        state["watched"] = level
        state["small_tiles_first"] = 1
        nest = empty_nest(problem["bounds"])
        run(problem, build_choices(space), nest, state, HELD, _STEPS)
        best = min(best, float(state["best"][0]))
    return int(best) if np.isfinite(best) else None


def _nearest_width(
    space: MapSpace, precision: Precision, model: AnalyticalModel, level: int
) -> str | None:
    """The widest narrower operand, one at a time, with which a mapping exists."""
    fields = {Operand.W: "weight_bits", Operand.I: "input_bits", Operand.O: "output_bits"}
    kept = {operand for keep in space.keeps for operand in keep[level].operands}
    options = [
        (getattr(precision, field) - bits, f"{field.replace('_', ' ')} {bits}", field, bits)
        for operand, field in fields.items()
        if operand in kept
        for bits in range(getattr(precision, field) - 1, 0, -1)
    ]
    for _, words, field, bits in sorted(options):
        if _fits(space, replace(precision, **{field: bits}), model):
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
