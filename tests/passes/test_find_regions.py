"""Regions of graphs whose variables are letters, and what holds for those of any graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.passes.find_regions import Graph, find_regions

Reads = dict[str, tuple[str, ...]]


def found(reads: str, results: str, outside: str = "", wanted: str = "") -> list[str]:
    """``"a<x b<xa"``: a reads x, b reads x and a; x and y are given. As ``"x:ab"``, in order."""
    table: Reads = {part[0]: tuple(part[2:]) for part in reads.split()}
    variables = {"x", "y", *table}
    graph = Graph(("x", "y"), table, tuple(results))
    allowed = set(table) - set(outside)
    regions = find_regions(graph, variables, allowed, set(wanted) or set(table))
    return [f"{region.entry}:{''.join(region.members)}" for region in regions]


@pytest.mark.parametrize(
    ("reads", "results", "outside", "expected"),
    [
        ("a<x b<a c<b", "c", "", ["x:abc"]),
        ("a<x b<a c<b", "c", "b", ["x:a", "b:c"]),
        ("a<x b<a c<ab d<c", "d", "", ["x:abcd"]),
        ("a<x b<a c<ab d<c", "d", "b", ["x:a", "c:d"]),  # c has two inputs
        ("a<x b<a c<b", "ac", "", ["x:a", "a:bc"]),  # a is returned too
        ("a<x b<a c<a", "bc", "", ["x:a", "a:b", "a:c"]),
        ("a<x b<y c<ab d<c", "d", "", ["x:a", "y:b", "c:d"]),
        ("a<x b<a c<x", "bc", "", ["x:ab", "x:c"]),
        ("a<x", "a", "a", []),
        ("a< b<xa", "b", "", []),  # a reads nothing: it may not be a layer
    ],
)
def test_regions_of_small_graphs(
    reads: str, results: str, outside: str, expected: list[str]
) -> None:
    assert found(reads, results, outside) == expected


def test_region_without_wanted_member_is_left() -> None:
    assert found("a<x b<a c<b", "c", "b", "c") == ["b:c"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, set[str]]:
    table: Reads = {}
    known = ["x", "y"]
    for index in range(draw(st.integers(1, 9))):
        count = draw(st.integers(1, 2))
        name = f"v{index}"
        table[name] = tuple(draw(st.sampled_from(known[-4:])) for _ in range(count))
        known.append(name)
    allowed = {name for name in table if draw(st.integers(0, 3))}
    results = (known[-1], *(name for name in table if not draw(st.integers(0, 5))))
    return Graph(("x", "y"), table, results), allowed


@given(graphs())
def test_regions_are_disjoint_closed_and_of_one_input(drawn: tuple[Graph, set[str]]) -> None:
    graph, allowed = drawn
    regions = find_regions(graph, {"x", "y", *graph.reads}, allowed, allowed)
    members = [member for region in regions for member in region.members]
    assert len(members) == len(set(members))
    assert set(members) <= allowed
    for region in regions:
        inside = set(region.members)
        *inner, last = region.members
        assert {v for m in inside for v in graph.reads[m]} - inside == {region.entry}
        readers = {r for m in inner for r, read in graph.reads.items() if m in read}
        assert readers <= inside
        assert not set(inner) & set(graph.results)
        assert last == max(inside, key=list(graph.reads).index)


@given(graphs())
def test_layer_outside_all_regions_has_inputs_that_none_can_give(
    drawn: tuple[Graph, set[str]],
) -> None:
    graph, allowed = drawn
    regions = find_regions(graph, {"x", "y", *graph.reads}, allowed, allowed)
    members = {member for region in regions for member in region.members}
    for variable in allowed - members:
        assert len(set(graph.reads[variable])) > 1
