"""A Timeloop architecture as a machine description of qmc, and notes on what has no translation.

Timeloop's M, C, P, Q, R, S are our K, C, Q, P, S, R. Components without storage (dummies) become an
axis of the memory outside them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from qmc.errors import TargetError
from qmc.layer import LoopDim
from qmc.timeloop import DIMS, OPERANDS
from qmc.timeloop_files import Component, TimeloopFiles

Json = dict[str, Any]
_FACTOR = re.compile(r"([A-Z])\s*(<=|=)?\s*(\d+)")
_COMPUTE = ("compute", "mac_random", "mac", "multiply_random")
#: Dims that constraints may name; groups follow one of them.
_DIMS = {letter: dim for letter, dim in DIMS.items() if dim is not LoopDim.G}
#: Attributes that the energy table or the translation covers.
_COVERED = frozenset(
    "technology type version n_banks nports num_ports n_ports datawidth word_bits block_size width "
    "memory_width depth memory_depth entries sizeKB cluster_size meshX meshY read_bandwidth "
    "write_bandwidth multiple_buffering global_cycle_seconds multiplier_width adder_width".split()
)
#: Attributes that say nothing at these values.
_PLAIN = {
    "has_power_gating": False,
    "reduction_supported": True,
    "min_utilization": 0,
    "allow_overbooking": False,
    "power_gated_at": None,
}


def timeloop_machine(files: TimeloopFiles, name: str) -> tuple[Json, list[str]]:
    """The description as plain data, and what could not be translated, one line each.

    Raises:
        TargetError: there is no memory, no arithmetic unit, or fan-outs do not divide.
    """
    try:
        return _machine(files, name)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        found = f"{type(error).__name__} {error}"
        raise TargetError(name, "architecture", found, "Timeloop v0.3 or v0.4") from None


def _machine(files: TimeloopFiles, name: str) -> tuple[Json, list[str]]:
    notes: list[str] = []
    *outer, mac = _require(files.components, name)
    memories: list[Json] = []
    for component, inner in zip(outer, [*outer[1:], mac], strict=True):
        if not _is_dummy(files, component):
            memories.append(_memory(files, component, mac, not memories, notes))
        elif not memories:
            continue
        _add_fanout(files, component, inner, memories[-1], notes)
    return {
        "schema_version": 1,
        "name": name,
        "description": f"{name}, imported from Timeloop",
        "clock_mhz": _clock(files, notes),
        "psum_bits": _assume(notes, "psum_bits", 32, "partial sums of 32 bits"),
        "groups_follow": _assume(notes, "groups_follow", "K", "group loops run where M loops may"),
        "sources": {"all": "imported from Timeloop files"},
        "memories": memories,
        "mac": _mac(files, mac, notes),
    }, notes


def _require(components: list[Component], name: str) -> list[Component]:
    if len(components) < 3:
        found = ", ".join(component.name for component in components) or "nothing"
        raise TargetError(name, "architecture", found, "at least two memories and a compute unit")
    return components


def _is_dummy(files: TimeloopFiles, component: Component) -> bool:
    """A component that only fans out: by its class, or because it keeps nothing."""
    if "dummy" in component.kind:
        return True
    kept, bypassed = _dataspace(files, component)
    return not kept and len(bypassed) == len(OPERANDS)


def _dataspace(files: TimeloopFiles, component: Component) -> tuple[list[str], list[str]]:
    keep: list[str] = []
    bypass: list[str] = []
    for item in files.constraints.get((component.name, "dataspace"), ()):
        keep += [OPERANDS[name].value for name in item.get("keep") or () if name in OPERANDS]
        bypass += [OPERANDS[name].value for name in item.get("bypass") or () if name in OPERANDS]
    return sorted(set(keep)), sorted(set(bypass))


def _memory(
    files: TimeloopFiles, component: Component, mac: Component, outermost: bool, notes: list[str]
) -> Json:
    attributes = component.attributes
    word_bits = _first(attributes, ("word_bits", "datawidth"), 16)
    cluster = int(attributes.get("cluster_size", 1))
    row_words = _row_words(attributes, word_bits, cluster)
    keep, bypass = _dataspace(files, component)
    if outermost:
        keep, bypass = [operand.value for operand in OPERANDS.values()], []
    memory: Json = {"name": component.name, "word_bits": word_bits, "row_words": row_words}
    memory["depth_words"] = _depth(component, word_bits, row_words, notes)
    buffering = float(attributes.get("multiple_buffering") or 1)
    if buffering > 1:
        memory["buffering"] = math.ceil(buffering)
    if buffering % 1:
        notes.append(f"{component.name}: multiple_buffering {buffering:g} is rounded up")
    memory |= {"keep": keep, "bypass": bypass}
    accumulator = keep == ["O"] and word_bits > _operand_bits(mac)
    memory["packing"] = "single" if accumulator else "words"
    _assume(notes, f"{component.name}.packing", None, f"rule '{memory['packing']}'")
    memory |= _energies(files, component.name, notes)
    bandwidth = {
        port: float(attributes[f"{port}_bandwidth"])
        for port in ("read", "write")
        if attributes.get(f"{port}_bandwidth") is not None
    }
    memory |= {"bandwidth": bandwidth} if bandwidth else {}
    memory |= {"cluster": cluster} if cluster > 1 else {}
    temporal = _constraint(files, component.name, "temporal", notes)
    memory |= {"temporal": temporal} if temporal else {}
    _note_attributes(component, notes)
    return memory


def _operand_bits(mac: Component) -> int:
    return _first(mac.attributes, ("multiplier_width", "datawidth"), 16)


def _first(attributes: Json, names: tuple[str, ...], default: int) -> int:
    """The first of the attributes that is given."""
    return next((int(attributes[name]) for name in names if name in attributes), default)


def _row_words(attributes: Json, word_bits: int, cluster: int) -> int:
    if "block_size" in attributes:
        return int(attributes["block_size"])
    width = attributes.get("width", attributes.get("memory_width"))
    return max(1, int(width) // (word_bits * cluster)) if width is not None else 1


def _depth(component: Component, word_bits: int, row_words: int, notes: list[str]) -> int | str:
    attributes = component.attributes
    rows = attributes.get("depth", attributes.get("memory_depth"))
    if rows is not None:
        words = int(rows) * row_words
    elif "entries" in attributes:
        words = int(attributes["entries"])
    elif "sizeKB" in attributes:
        words = int(float(attributes["sizeKB"]) * 1024 * 8) // word_bits
    else:
        if component.kind != "DRAM":
            notes.append(f"{component.name}: no depth is given; taken as unlimited")
        return "unlimited"
    return words


def _energies(files: TimeloopFiles, name: str, notes: list[str]) -> Json:
    table = files.energies.get(name)
    if table is None:
        notes.append(f"{name}: no energy in the files; 0 pJ. Give the ERT with --ert")
        table = {}
    write = table.get("write", 0.0)
    energy = {"read": table.get("read", 0.0), "fill": write, "update": table.get("update", write)}
    leak = table.get("leak", 0.0)
    return {"energy_pj": energy} | ({"leakage_pj": leak} if leak else {})


def _mac(files: TimeloopFiles, mac: Component, notes: list[str]) -> Json:
    table = files.energies.get(mac.name, {})
    energy = next((table[action] for action in _COMPUTE if action in table), None)
    if energy is None:
        notes.append(f"{mac.name}: no energy of a compute action in the files; 0 pJ")
    if table.get("leak"):
        notes.append(f"{mac.name}: leakage of {table['leak']} pJ left out, as Timeloop does")
    bits = _operand_bits(mac)
    _note_attributes(mac, notes)
    return {
        "name": mac.name,
        "energy_pj": energy or 0.0,
        "weight_bits": [1, bits],
        "input_bits": [1, bits],
    }


def _add_fanout(
    files: TimeloopFiles, outer: Component, inner: Component, memory: Json, notes: list[str]
) -> None:
    """Instances of ``inner`` below one of ``outer``, added to those of ``memory``."""
    height, inner_height = outer.instances // outer.width, inner.instances // inner.width
    if inner.width % outer.width or inner_height % height:
        found = f"{outer.width} x {height} above {inner.width} x {inner_height}"
        raise TargetError(inner.name, "meshX", found, "whole fan-outs")
    sizes = {"x": inner.width // outer.width, "y": inner_height // height}
    wide = [axis for axis, size in sizes.items() if size > 1]
    constraint = _constraint(files, outer.name, "spatial", notes)
    constraint.pop("order", None)
    first = _before_split(files, outer.name)
    for axis in wide:
        limits = dict(constraint)
        if len(wide) == 2 and first is not None:
            limits = _on_axis(limits, first if axis == "x" else set(_dims()) - first)
        fanout = memory.setdefault("fanout", {})
        if axis in fanout:
            notes.append(f"{memory['name']}: two fan-outs along {axis} joined; limits of the inner")
            sizes[axis] *= fanout[axis]["size"]
        fanout[axis] = {"size": sizes[axis], **limits}


def _dims() -> list[str]:
    return [dim.value for dim in _DIMS.values()]


def _before_split(files: TimeloopFiles, name: str) -> set[str] | None:
    """Dims that the split of a spatial constraint puts along x."""
    for item in files.constraints.get((name, "spatial"), ()):
        if item.get("split") is not None:
            order = _order(item.get("permutation", ""))
            return set(order[: int(item["split"])])
    return None


def _on_axis(limits: Json, dims: set[str]) -> Json:
    allowed = [dim for dim in limits.get("only", _dims()) if dim in dims]
    factors = {dim: f for dim, f in limits.get("factors", {}).items() if dim in dims}
    maximum = {dim: m for dim, m in limits.get("maximum", {}).items() if dim in dims}
    kept = {"only": allowed, "factors": factors, "maximum": maximum}
    return {key: value for key, value in kept.items() if value or key == "only"}


def _constraint(files: TimeloopFiles, name: str, kind: str, notes: list[str]) -> Json:
    """A block of loops: ``only``, ``factors``, ``maximum`` and, in time, ``order``."""
    factors: dict[str, int] = {}
    maximum: dict[str, int] = {}
    order: list[str] = []
    for item in files.constraints.get((name, kind), ()):
        for dim, sign, number in _factors(item.get("factors") or ""):
            (maximum if sign == "<=" else factors)[dim] = int(number)
        order = _order(item.get("permutation") or "") or order
        known = {"target", "type", "factors", "permutation", "split", "no_reuse", "tag"}
        notes.extend(
            f"{name}: {kind} constraint '{key}' is not translated" for key in set(item) - known
        )
    barred = {dim for dim, factor in factors.items() if factor == 1}
    block: Json = {}
    if barred:
        block["only"] = [dim for dim in _dims() if dim not in barred]
    fixed: Json = {dim: factor or "all" for dim, factor in factors.items() if factor != 1}
    block |= {"factors": fixed} if fixed else {}
    block |= {"maximum": maximum} if maximum else {}
    order = [dim for dim in order if dim not in barred]
    return block | ({"order": order} if order and kind == "temporal" else {})


def _factors(given: object) -> list[tuple[str, str, str]]:
    """Dim, sign and number of ``"N=1 P<=3"``, a list of such words, or a mapping."""
    text = given
    if isinstance(given, dict):
        text = " ".join(f"{dim}={number}" for dim, number in given.items())
    elif isinstance(given, list):
        text = " ".join(map(str, given))
    return [
        (_DIMS[dim].value, sign or "=", number)
        for dim, sign, number in _FACTOR.findall(str(text))
        if dim in _DIMS
    ]


def _order(permutation: object) -> list[str]:
    text = "".join(map(str, permutation)) if isinstance(permutation, list) else str(permutation)
    return [_DIMS[letter].value for letter in text if letter in _DIMS]


def _note_attributes(component: Component, notes: list[str]) -> None:
    for key, value in component.attributes.items():
        plain = key in _COVERED or (key in _PLAIN and _PLAIN[key] == value)
        if not plain:
            notes.append(f"{component.name}: attribute {key} = {value} is not translated")


def _clock(files: TimeloopFiles, notes: list[str]) -> float:
    if files.cycle_seconds is None or not math.isfinite(files.cycle_seconds):
        return float(_assume(notes, "clock_mhz", 1000.0, "1000 MHz"))
    return round(1e-6 / files.cycle_seconds, 6)


def _assume(notes: list[str], key: str, value: Any, text: str) -> Any:
    notes.append(f"{key}: not in the files; assumed: {text}")
    return value
