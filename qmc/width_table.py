"""The best mapping of every layer of a network at every triple of widths.

What a joint search of widths reads: costs of weights, inputs and outputs of 2 to 8 bits each, all
proved. Layers of one shape, and triples that cost the same, are searched once
(:mod:`qmc.width_search`); finished layers stay in the cache, so that a search that was stopped goes
on where it was.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from qmc import cache
from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.base import Cost, CostModel
from qmc.errors import CostModelError, NoMappingError, QmcError
from qmc.layer import Layer, LoopDim, Precision
from qmc.mapping import Mapping as LoopMapping
from qmc.mapping_text import mapping_to_data, read_mapping_data
from qmc.mapspace import divisors
from qmc.schedule import RULES_VERSION
from qmc.schedule import Problem as Shape
from qmc.search import MAX_STEPS, compile_kernels, objective_value, searchable
from qmc.search_result import Objective
from qmc.targets.target import Target
from qmc.width_classes import Triple, WidthClasses, width_classes
from qmc.width_kernel import MAX_CLASSES
from qmc.width_search import WidthResult, price_mappings, search_widths

#: Bits that a tensor may have in a width table unless others are asked for.
TABLE_WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True, slots=True)
class WidthEntry:
    """The best of one layer at one triple of widths.

    Attributes:
        energy_pj, cycles, bound: of the cost.
        gap: how far the objective may be above the optimum, relative; 0 when proved.
        mapping, cost: None in a table that was read from a file.
    """

    energy_pj: float
    cycles: int
    bound: str
    gap: float
    mapping: LoopMapping | None = None
    cost: Cost | None = None

    @property
    def proved(self) -> bool:
        """Whether no mapping is better."""
        return self.gap == 0.0


@dataclass(frozen=True, slots=True)
class WidthTable:
    """The best of every layer at every triple of widths.

    Attributes:
        target: name of the machine.
        objective: what each entry minimizes.
        psum_bits: width of a partial sum; None stands for the output's.
        layers: names, in the order of the network.
        widths: of weights, inputs and outputs alike.
        entries: by layer name and (weight bits, input bits, output bits); without those that fit no
            mapping or that the MACs do not execute.
    """

    target: str
    objective: Objective
    psum_bits: int | None
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    entries: Mapping[tuple[str, Triple], WidthEntry]

    def entry(self, layer: str, precision: Precision) -> WidthEntry:
        """The best of ``layer`` at ``precision``.

        Raises:
            NoMappingError: no mapping fits at these widths, or they are not in the table.
        """
        triple = precision.weight_bits, precision.input_bits, precision.output_bits
        found = self.entries.get((layer, triple))
        partial = precision.output_bits if self.psum_bits is None else self.psum_bits
        if found is None or precision.psum_bits != partial:
            text = "w{}a{}o{}".format(*triple)
            reason = f"the width table has no entry for {text} and psums of {precision.psum_bits}"
            raise NoMappingError(layer, self.target, reason)
        return found


@dataclass(frozen=True, slots=True)
class _Task:
    """All problems of layers of one shape; everything that decides the results.

    ``key`` names them in the cache.
    """

    shape: Layer
    classes: WidthClasses
    target: Target
    model: AnalyticalModel
    objective: Objective
    max_steps: int
    key: str


def _task(
    shape: Layer,
    classes: WidthClasses,
    target: Target,
    model: AnalyticalModel,
    objective: Objective,
    max_steps: int,
) -> _Task:
    """The task and its name in the cache."""
    asked = sorted(classes.triples), classes.psum_bits
    key = cache.cache_key(
        RULES_VERSION, "widths", shape, target, model, objective, max_steps, *asked
    )
    return _Task(shape, classes, target, model, objective, max_steps, key)


def width_table(
    layers: Sequence[Layer],
    target: Target,
    model: CostModel,
    objective: Objective = Objective.EDP,
    widths: Sequence[int] = TABLE_WIDTHS,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    max_steps: int = MAX_STEPS,
) -> WidthTable:
    """Search the best mapping of every layer at every triple of ``widths``.

    Args:
        layers: of a network; those without weights have no mapping and are left out.
        target: the machine; its width of partial sums holds for all.
        model: the analytical model.
        objective: what to minimize, for each entry.
        widths: bits of weights, inputs and outputs.
        jobs: threads to use; the result is the same for any number.
        progress: called with (layers done, layers in all).
        max_steps: of each search.

    Raises:
        NoMappingError: the machine's constraints leave part of a loop of a layer no place.
        CostModelError: ``model`` is not the analytical one, or the MACs execute no triple.
        QmcError: no widths, too many, or some outside 1 to 64.
    """
    rules, classes = _asked(model, target, widths)
    weighted = [layer for layer in layers if layer.has_weights]
    shapes = {layer.name: Shape.of(layer, Precision()).layer for layer in weighted}
    tasks = {
        shape: _task(shape, classes, target, rules, objective, max_steps)
        for shape in shapes.values()
    }
    found: dict[Layer, tuple[WidthEntry | None, ...]] = {}
    for task, results in _run(list(tasks.values()), jobs):
        found[task.shape] = tuple(None if r is None else _entry(r) for r in results)
        if progress is not None:
            progress(sum(shape in found for shape in shapes.values()), len(weighted))
    entries = {
        (layer.name, triple): entry
        for layer in weighted
        for triple, number in classes.triples.items()
        if (entry := found[shapes[layer.name]][number]) is not None
    }
    names = tuple(layer.name for layer in weighted)
    return WidthTable(target.name, objective, classes.psum_bits, names, tuple(widths), entries)


def _asked(
    model: CostModel, target: Target, widths: Sequence[int]
) -> tuple[AnalyticalModel, WidthClasses]:
    """The counting rules, and the problems among the triples of ``widths``."""
    if not 1 <= len(widths) <= MAX_CLASSES or not all(1 <= bits <= 64 for bits in widths):
        found = ", ".join(map(str, widths)) or "none"
        raise QmcError(f"widths: found {found}; allowed: up to {MAX_CLASSES} from 1 to 64")
    rules, _ = searchable(model, Precision())
    honest = isinstance(model, AnalyticalModel) and model.psum is PsumRule.HONEST
    classes = width_classes(target, target.psum_bits if honest else None, widths)
    if not classes.problems:
        (low, high), (least, most) = target.mac.weight_bits, target.mac.input_bits
        raise CostModelError(
            f"widths: found {', '.join(map(str, widths))}; the MACs of target '{target.name}' "
            f"execute weights of {low} to {high} and inputs of {least} to {most} bits"
        )
    return rules, classes


def _entry(result: WidthResult) -> WidthEntry:
    cost = result.cost
    return WidthEntry(cost.energy_pj, cost.cycles, cost.bound, result.gap, result.mapping, cost)


_Results = tuple[WidthResult | None, ...]


def _run(tasks: list[_Task], jobs: int) -> Iterator[tuple[_Task, _Results]]:
    """Results, the largest searches first; what the cache has is not searched."""
    cached = [(task, _decode(task, cache.load(task.key))) for task in tasks]
    yield from ((task, results) for task, results in cached if results is not None)
    missing = [task for task, results in cached if results is None]
    missing.sort(key=lambda task: -_divisions(task.shape))
    with contextlib.ExitStack() as stack:
        fresh: Iterator[_Results] = map(_search, missing)
        if jobs > 1 and len(missing) > 1:
            pool = ThreadPoolExecutor(min(jobs, len(missing)))
            stack.callback(pool.shutdown, cancel_futures=True)
            compile_kernels()
            fresh = pool.map(_search, missing)
        yield from zip(missing, fresh, strict=True)


def _divisions(layer: Layer) -> int:
    """Grows with the time a search takes: choices of one tile."""
    return math.prod(len(divisors(layer.bounds[dim])) for dim in LoopDim)


def _search(task: _Task) -> _Results:
    results = search_widths(
        task.shape,
        task.classes,
        task.target,
        task.model,
        task.objective,
        max_steps=task.max_steps,
    )
    cache.store(task.key, _encode(task, results))
    return results


def _encode(task: _Task, results: _Results) -> dict[str, Any]:
    """Every mapping once, and for each problem the number of its mapping, its value and gap."""
    numbers: dict[LoopMapping, int] = {}
    best = [
        None
        if result is None
        else (
            numbers.setdefault(result.mapping, len(numbers)),
            objective_value(result.cost, task.objective),
            result.gap,
        )
        for result in results
    ]
    return {"mappings": [mapping_to_data(mapping) for mapping in numbers], "best": best}


def _decode(task: _Task, entry: Any) -> _Results | None:
    """The results an entry holds, priced anew; None when the entry does not fit the task."""
    try:
        mappings = [read_mapping_data(data) for data in entry["mappings"]]
        best = entry["best"]
        chosen = [None if one is None else mappings[one[0]] for one in best]
        if len(chosen) != len(task.classes.problems):
            return None
        results = price_mappings(task.shape, task.target, task.model, task.classes, chosen)
        return tuple(
            None if result is None else _agreed(task, result, *one[1:])
            for result, one in zip(results, best, strict=True)
        )
    except (TypeError, KeyError, IndexError, QmcError):
        return None


def _agreed(task: _Task, result: WidthResult, value: float, gap: float) -> WidthResult:
    """The result with its gap.

    Raises:
        KeyError: its value is another than was stored, so it was found under other rules.
    """
    if objective_value(result.cost, task.objective) != value:
        raise KeyError(value)
    return replace(result, gap=gap)
