"""Regions of a graph: as many layers as possible between one tensor and another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Which variable reads which.

    Attributes:
        sources: variables that are given.
        reads: the variables that each computed one reads, in execution order.
        results: variables that are returned.
    """

    sources: tuple[Any, ...]
    reads: Mapping[Any, tuple[Any, ...]]
    results: tuple[Any, ...]

    def readers(self) -> dict[Any, set[Any]]:
        """The variables that read each variable; a returned one is read by None."""
        found: dict[Any, set[Any]] = {v: set() for v in (*self.sources, *self.reads)}
        for variable, read in self.reads.items():
            for one in read:
                found[one].add(variable)
        for one in self.results:
            found[one].add(None)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Variables that are computed from one variable, of which only the last is read elsewhere.

    Attributes:
        entry: the variable they are computed from.
        members: in execution order.
    """

    entry: Any
    members: tuple[Any, ...]


def find_regions(
    graph: Graph, entries: Set[Any], allowed: Set[Any], wanted: Set[Any]
) -> list[Region]:
    """Disjoint regions, each the largest that begins at its entry; in order of their last members.

    Args:
        graph: the whole graph.
        entries: variables that a region may begin at.
        allowed: variables that may be members.
        wanted: of these every region has at least one.
    """
    free = dict.fromkeys(variable for variable in graph.reads if variable in allowed)
    readers = graph.readers()
    regions: list[Region] = []
    for entry in (*graph.sources, *graph.reads):
        while entry in entries and free:
            members = _largest(entry, tuple(free), wanted, graph.reads, readers)
            if not members:
                break
            regions.append(Region(entry, members))
            for member in members:
                del free[member]
    order = list(graph.reads)
    return sorted(regions, key=lambda region: order.index(region.members[-1]))


def _largest(
    entry: Any,
    free: Sequence[Any],
    wanted: Set[Any],
    reads: Mapping[Any, tuple[Any, ...]],
    readers: Mapping[Any, set[Any]],
) -> tuple[Any, ...]:
    """The members of the largest region that begins at ``entry``; none where there is no region."""
    grown = {entry}
    for variable in free:
        if reads[variable] and grown.issuperset(reads[variable]):
            grown.add(variable)
    largest: set[Any] = set()
    for last in reversed(free):
        if last not in grown - {entry}:
            continue
        members = _needed(last, entry, reads)
        is_closed = all(readers[member] <= members for member in members - {last})
        if is_closed and len(members) > len(largest) and members & wanted:
            largest = members
        if len(largest) == len(grown) - 1:
            break
    return tuple(variable for variable in free if variable in largest)


def _needed(last: Any, entry: Any, reads: Mapping[Any, tuple[Any, ...]]) -> set[Any]:
    """``last`` and all that it is computed from, up to ``entry``."""
    waiting, found = [last], {last, entry}
    while waiting:
        new = [variable for variable in reads[waiting.pop()] if variable not in found]
        found.update(new)
        waiting += new
    return found - {entry}
