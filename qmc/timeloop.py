"""Timeloop's problems and mappings, read into qmc's words.

Timeloop's cnn-layer problem puts R and P on *width*, S and Q on height; M is our K. The mapping
files name levels and give factors and a permutation, innermost dim first. Levels that a target does
not have (dummy buffers that only fan out) must not step in time; their spatial loops become an axis
below the next outer level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmc.errors import DataError, MappingError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import MemoryLevel, Target
from qmc.yaml_input import read_yaml

DIMS = {
    "N": LoopDim.N,
    "M": LoopDim.K,
    "C": LoopDim.C,
    "P": LoopDim.Q,
    "Q": LoopDim.P,
    "R": LoopDim.S,
    "S": LoopDim.R,
    "G": LoopDim.G,
}
OPERANDS = {"Weights": Operand.W, "Inputs": Operand.I, "Outputs": Operand.O}
_FACTOR = re.compile(r"([A-Z])=?(\d{1,9})")


def read_problem(problem: Dict[str, Any], depthwise: bool = False, name: str = "layer") -> Layer:
    """A layer from Timeloop's problem instance (``C, M, R, S, N, P, Q, Wstride, ...``).

    Args:
        problem: sizes by Timeloop's names; strides and dilations default to 1, N to 1.
        depthwise: the problem has the depthwise shape, where C indexes all three operands.
        name: of the layer.

    Raises:
        DataError: a size is missing or not a positive whole number.
    """
    size = {dim: _size(problem, dim) for dim in DIMS}
    bounds = LoopBounds(
        N=size["N"],
        G=size["C"] if depthwise else size["G"],
        K=size["M"],
        C=1 if depthwise else size["C"],
        P=size["Q"],
        Q=size["P"],
        R=size["S"],
        S=size["R"],
    )
    return Layer(
        name=name,
        op=Op.CONV,
        inputs=("input",),
        output="output",
        bounds=bounds,
        strides=(_size(problem, "Hstride"), _size(problem, "Wstride")),
        dilations=(_size(problem, "Hdilation"), _size(problem, "Wdilation")),
    )


def _size(problem: Dict[str, Any], key: str) -> int:
    optional = key in {"N", "M", "G"} or key.endswith(("stride", "dilation"))
    value = problem.get(key, 1 if optional else None)
    if not isinstance(value, int) or value < 1:
        raise DataError(f"problem: {key}: found {value!r}; allowed: a whole number of at least 1")
    return value


def read_bitwidths(problem: Dict[str, Any], default: int = 8) -> Precision:
    """Widths from the ``bitwidths`` of a problem; partial sums at the output's width.

    Raises:
        DataError: a width is not 1 to 64.
    """
    bits = problem.get("bitwidths") or {}
    widths = [
        bits.get(name, default) if isinstance(bits, dict) else bits
        for name in ("Weights", "Inputs", "Outputs")
    ]
    for width in widths:
        if not isinstance(width, int) or not 1 <= width <= 64:
            raise DataError(f"problem: bitwidths: found {width!r}; allowed: 1 to 64")
    weight, inputs, output = widths
    return Precision(weight, inputs, output, psum_bits=output)


@dataclass(frozen=True, slots=True)
class _Block:
    """One entry of a Timeloop mapping."""

    level: str
    kind: str
    factors: Dict[str, int]
    permutation: str
    split: int | None
    keep: tuple[Operand, ...]


def read_mapping_file(path: Path | str, layer: Layer, target: Target) -> Mapping:
    """A mapping from a YAML or JSON file: a list of entries, or one under ``mapping``.

    Raises:
        DataError: the file is not readable or holds no such list.
        MappingError: it does not fit the target.
    """
    data = read_yaml(Path(path), DataError)
    entries = data.get("mapping") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise DataError(f"{path}: found no list of mapping entries; allowed: a list, or 'mapping:'")
    return read_mapping(entries, layer, target)


def read_mapping(entries: Sequence[Any], layer: Layer, target: Target) -> Mapping:
    """A mapping from Timeloop's list of directives.

    Entries are ``{target, type: temporal|spatial|dataspace, factors, permutation, split, keep}`` as
    in mapping files, or ``{level, kind, factors, permutation_inner_to_outer, split}``. Without
    dataspace entries every level keeps what the target says.

    Raises:
        DataError: an entry is malformed.
        MappingError: a level the target lacks keeps data or steps in time.
    """
    blocks = [_read_block(entry) for entry in entries]
    known = [level.name for level in target.memories]
    dims = dict(DIMS)
    if layer.is_depthwise:
        dims["C"] = LoopDim.G
    loops: dict[tuple[str, bool], list[Loop]] = {}
    for block, home in _outermost_first(blocks, known, layer):
        if block.level not in known:
            _require_dummy(layer, block, known)
        if block.kind != "datatype":
            found = _loops(layer, block, target.memory(home), dims)
            loops.setdefault((home, block.kind == "spatial"), []).extend(found)
    ordered = [
        loop
        for name in known
        for spatial in (False, True)
        for loop in loops.get((name, spatial), ())
    ]
    return Mapping(tuple(ordered), _read_keep(blocks, target))


def _read_block(entry: object) -> _Block:
    if not isinstance(entry, dict):
        raise DataError(f"mapping entry: found {entry!r}; allowed: keys and values")
    level = entry.get("target", entry.get("level"))
    kind = entry.get("type", entry.get("kind"))
    kind = "datatype" if kind in ("bypass", "dataspace") else kind
    if not isinstance(level, str) or kind not in ("temporal", "spatial", "datatype"):
        raise DataError(
            f"mapping entry of '{level}': type: found {kind!r}; "
            "allowed: temporal, spatial, dataspace"
        )
    split = entry.get("split")
    return _Block(
        level=level,
        kind=str(kind),
        factors=_factors(level, entry.get("factors") or {}),
        permutation=_permutation(level, entry),
        split=split if isinstance(split, int) else None,
        keep=_kept(level, entry.get("keep") or ()),
    )


def _permutation(level: str, entry: Dict[str, Any]) -> str:
    given = entry.get("permutation", entry.get("permutation_inner_to_outer")) or ""
    text = "".join(map(str, given)) if isinstance(given, (str, list)) else str(given)
    order = "".join(text.replace(",", " ").split())
    if len(set(order)) != len(order) or not set(order) <= set(DIMS):
        raise DataError(
            f"mapping entry of '{level}': permutation: found {given!r:.40}; "
            f"allowed: each of {' '.join(DIMS)} once"
        )
    return order


def _kept(level: str, names: object) -> tuple[Operand, ...]:
    if not isinstance(names, (list, tuple)) or any(name not in tuple(OPERANDS) for name in names):
        raise DataError(
            f"mapping entry of '{level}': keep: found {names!r:.40}; "
            f"allowed: a list of {', '.join(OPERANDS)}"
        )
    return tuple(OPERANDS[name] for name in names)


def _factors(level: str, factors: object) -> dict[str, int]:
    """Factors from ``"C1 M16"``, ``"C=1,M=16"``, a list of such words, or a mapping."""
    text = factors
    if isinstance(factors, dict):
        text = " ".join(f"{dim}={extent}" for dim, extent in factors.items())
    elif isinstance(factors, list):
        text = " ".join(map(str, factors))
    words = str(text).replace(",", " ").replace("= ", "=").split()
    pairs = {}
    for word in words:
        match = _FACTOR.fullmatch(word)
        if match is None:
            raise DataError(f"mapping entry of '{level}': factor: found '{word}'; allowed: as M=16")
        pairs[match[1]] = int(match[2])
    unknown = sorted(set(pairs) - set(DIMS))
    if unknown:
        raise DataError(f"mapping entry of '{level}': dim {unknown[0]}; allowed: {' '.join(DIMS)}")
    return pairs


def _outermost_first(
    blocks: list[_Block], known: list[str], layer: Layer
) -> list[tuple[_Block, str]]:
    """Blocks outermost first, each with the target's level it belongs to."""
    result = []
    home = ""
    for block in _sorted_outermost_first(blocks, known):
        if block.level in known:
            home = block.level
        elif not home:
            raise MappingError(
                layer.name, block.level, f"no such level; allowed: {', '.join(known)}"
            )
        result.append((block, home))
    return result


def _sorted_outermost_first(blocks: list[_Block], known: list[str]) -> list[_Block]:
    """Timeloop lists levels innermost first; accept either direction."""
    seen = [block.level for block in blocks if block.level in known and block.kind != "datatype"]
    reverse = len(seen) > 1 and known.index(seen[0]) > known.index(seen[-1])
    return blocks[::-1] if reverse else blocks


def _require_dummy(layer: Layer, block: _Block, known: list[str]) -> None:
    """A level that the target lacks may fan out, nothing else."""
    steps = block.kind == "temporal" and any(extent > 1 for extent in block.factors.values())
    if steps or block.keep:
        what = "steps in time" if steps else "keeps data"
        raise MappingError(
            layer.name,
            block.level,
            f"no such level, but it {what}; levels of the target: {', '.join(known)}",
        )


def _loops(layer: Layer, block: _Block, home: MemoryLevel, dims: Dict[str, LoopDim]) -> list[Loop]:
    """The loops of a block, outermost first."""
    order = list(block.permutation)
    order += [dim for dim in DIMS if dim not in order]
    loops = []
    for position, dim in enumerate(order):
        extent = block.factors.get(dim, 1)
        if extent == 0:
            raise MappingError(layer.name, block.level, f"factor {dim}0: write the extent out")
        axis = _axis(block, position, home) if block.kind == "spatial" else None
        if extent > 1:
            loops.append(Loop(dims[dim], extent, home.name, axis))
    return loops[::-1]


def _axis(block: _Block, position: int, home: MemoryLevel) -> str:
    """Dims before the split lie along x; where the machine has one axis only, it is that one."""
    if home.fanout_x == 1 or home.fanout_y == 1:
        return "y" if home.fanout_x == 1 else "x"
    return "x" if block.split is None or position < block.split else "y"


def _read_keep(blocks: list[_Block], target: Target) -> tuple[Keep, ...]:
    said = {block.level: block.keep for block in blocks if block.kind == "datatype"}
    keeps = []
    for level in target.memories:
        operands = level.keep
        if level.name in said:
            operands = frozenset(said[level.name])
        keeps.append(Keep(level.name, operands))
    return tuple(keeps)
