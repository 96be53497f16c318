"""What a search is asked for and what it gives back; light to import."""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from enum import StrEnum

from qmc.cost_models.base import Cost
from qmc.mapping import Mapping


class Objective(StrEnum):
    """What the search minimizes; ties: fewer cycles, then less energy, then the first."""

    EDP = "edp"
    ENERGY = "energy"
    LATENCY = "latency"


class Factors(StrEnum):
    """Which extents loops may have (docs/search.md)."""

    PERFECT = "perfect"  # those of a dim multiply to its bound
    SPATIAL_IMPERFECT = "spatial-imperfect"  # loops in space may leave instances idle
    IMPERFECT = "imperfect"  # the last tile of any loop may be short


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was searched, so that a reader can judge and a checker can repeat it.

    Attributes:
        space: size of the map space before any reduction.
        evaluated: mappings priced.
        pruned: branches cut off with all mappings in them, by reason (docs/report.md).
        lower_bound: no mapping of the space has a smaller objective value.
        best: objective value found.
        proved: best equals lower_bound by proof.
        seconds: time taken; not part of any output that must be reproducible.
        visited: partly built mappings priced, each a branch that was entered or cut.
        keep_choices: choices of what the memories keep.
        keep_choices_cut: those that a bound ruled out whole.
        factors: which factorizations the space has.
        orders: which loop orders it has.
        max_cycles: only mappings of at most so many cycles count; None is no limit.
        expected: of searches that prove nothing, the errors to expect (docs/learned-cost.md).
        note: one sentence for the reader; empty where there is nothing to say.
    """

    space: int
    evaluated: int
    pruned: Dict[str, int]
    lower_bound: float
    best: float
    proved: bool
    seconds: float
    visited: int = 0
    keep_choices: int = 1
    keep_choices_cut: int = 0
    factors: str = Factors.PERFECT.value
    orders: str = "all, up to reuse equivalence"
    max_cycles: int | None = None
    expected: Dict[str, object] = field(default_factory=dict)
    note: str = ""

    @property
    def gap(self) -> float:
        """How far the best may be above the optimum, relative; 0 when proved."""
        if self.proved:
            return 0.0
        return self.best / self.lower_bound - 1.0 if self.lower_bound else math.inf


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best mapping of a layer, its cost and the proof."""

    mapping: Mapping
    cost: Cost
    certificate: Certificate
