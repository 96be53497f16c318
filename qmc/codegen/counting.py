"""Tables by which a kernel counts its memory accesses under ``-DQMC_COUNT``, and their reading."""

from __future__ import annotations

from dataclasses import dataclass

from qmc.codegen.names import comment_text
from qmc.codegen.nest import Nest, NestLoop
from qmc.codegen.writer import Writer
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Mapping

_DIMS = tuple(LoopDim)
_AXES = {None: 0, "x": 1, "y": 2}
#: Of nests whose loops do not divide their dims; count.h is the same for all programs.
_CUT_DECLARATIONS = """\
void qmc_count_cut_step(const struct qmc_nest *nest, const int *bounds, int depth,
                        const int *index);
void qmc_count_cut_done(const struct qmc_nest *nest);
"""


@dataclass(frozen=True, slots=True)
class ElementCount:
    """Accesses of one operand at one memory, in elements of one instance.

    Where loops do not divide their dims instances differ: then of an average one, rounded up.

    Attributes:
        layer: place of the layer in the network.
        level: number of the memory, outermost 0.
        operand: W, I or O.
        reads: sent to the next inner holder, partial sums that come back for accumulation too.
        fills: received from the next outer holder.
        updates: received from the next inner holder.
        partial_updates: those of the updates that are partial sums, not finished outputs.
        instances: of the memory, that work.
    """

    layer: int
    level: int
    operand: Operand
    reads: int
    fills: int
    updates: int
    partial_updates: int
    instances: int


def parse_counts(printed: str) -> tuple[ElementCount, ...]:
    """Read what a program built with ``-DQMC_COUNT`` printed."""
    counts = []
    for line in printed.splitlines():
        layer, level, _, operand, *numbers = line.split("\t")
        counts.append(ElementCount(int(layer), int(level), Operand(operand), *map(int, numbers)))
    return tuple(counts)


def step_depths(mapping: Mapping, nest: Nest) -> frozenset[int]:
    """Numbers of outer temporal loops at which the tile of some holder may change."""
    return frozenset(_depth(mapping, nest, child) for _, _, child in _links(mapping))


def print_tables(writer: Writer, layer: Layer, index: int, mapping: Mapping, nest: Nest) -> None:
    """Print the nest's tables and the macros that count; without QMC_COUNT runtime.h has them."""
    links = _links(mapping)
    writer.line('#include "../count.h"')
    writer.line()
    names = ", ".join(f'"{comment_text(keep.level)}"' for keep in mapping.keep)
    writer.line(f"static const char *const names[] = {{{names}}};")
    for kind, loops in (("temporal", nest.temporal), ("spatial", nest.spatial)):
        _print_loops(writer, kind, loops, mapping)
    with writer.block("static const struct qmc_link links[] ="):
        for operand, parent, child in links:
            tile = ", ".join(str(extent) for extent in _tile(layer, mapping, nest, child))
            depth = _depth(mapping, nest, child)
            writer.line(f"{{'{operand}', {parent}, {child}, {depth}, {{{tile}}}}},")
    writer.amend(";")
    writer.line(f"static struct qmc_tally tallies[{len(links)}];")
    with writer.block("static const struct qmc_nest nest ="):
        pairs = [", ".join(map(str, pair)) for pair in (layer.strides, layer.dilations)]
        writer.line(f"{index}, {len(mapping.keep)}, names, {{{pairs[0]}}}, {{{pairs[1]}}},")
        sizes = f"{len(nest.temporal)}, {len(nest.spatial)}, {len(links)}"
        writer.line(f"{sizes}, temporal, spatial, links, tallies")
    writer.amend(";")
    indices = "(const int[]){__VA_ARGS__}"
    if nest.is_cut:
        bounds = ", ".join(str(layer.bounds[dim]) for dim in _DIMS)
        writer.line(f"static const int bounds[] = {{{bounds}}};")
        writer.lines(_CUT_DECLARATIONS)
        writer.line(f"#define STEP(depth, ...) qmc_count_cut_step(&nest, bounds, depth, {indices})")
        writer.line("#define DONE() qmc_count_cut_done(&nest)")
        return
    writer.line(f"#define STEP(depth, ...) qmc_count_step(&nest, depth, {indices})")
    writer.line("#define DONE() qmc_count_done(&nest)")


def _print_loops(writer: Writer, kind: str, loops: tuple[NestLoop, ...], mapping: Mapping) -> None:
    with writer.block(f"static const struct qmc_loop {kind}[] ="):
        for loop in loops:
            level = _level(mapping, loop)
            writer.line(
                f"{{{_DIMS.index(loop.dim)}, {loop.extent}, {loop.step}, {level}, "
                f"{_AXES[loop.spatial]}}}, /* {loop.dim} */"
            )
        if not loops:
            writer.line("{0, 1, 0, 0, 0}")
    writer.amend(";")


def _links(mapping: Mapping) -> tuple[tuple[Operand, int, int], ...]:
    """Operand, parent and child of every pair of neighbouring holders; the MACs are the last."""
    links = []
    for operand in Operand:
        holders = [i for i, keep in enumerate(mapping.keep) if operand in keep.operands]
        inner = [*holders[1:], len(mapping.keep)]
        links += [(operand, parent, child) for parent, child in zip(holders, inner, strict=True)]
    return tuple(links)


def _level(mapping: Mapping, loop: NestLoop) -> int:
    return next(i for i, keep in enumerate(mapping.keep) if keep.level == loop.level)


def _depth(mapping: Mapping, nest: Nest, child: int) -> int:
    return sum(_level(mapping, loop) < child for loop in nest.temporal)


def _tile(layer: Layer, mapping: Mapping, nest: Nest, child: int) -> tuple[int, ...]:
    extents = dict.fromkeys(LoopDim, 1)
    for loop in nest.loops:
        if _level(mapping, loop) >= child:
            extents[loop.dim] *= loop.extent
    return tuple(min(extents[dim], layer.bounds[dim]) for dim in _DIMS)
