"""A machine as a person wants to read it: hierarchy, sizes, dataflow, energies, sources."""

from __future__ import annotations

import textwrap
from typing import Any

from qmc.layer import LoopDim, Operand
from qmc.targets.target import ALL_REMAINING, LoopConstraint, MemoryLevel, Network, Target

_DIMS = tuple(dim for dim in LoopDim if dim is not LoopDim.G)
_WIDTH = 100


def describe_target(target: Target) -> str:
    """The whole description as plain text, several lines."""
    parts = (
        f"{target.name}: {target.description}",
        _section("Hierarchy (outermost first)", _hierarchy(target)),
        _section("Dataflow: which loops may run where", _dataflow(target)),
        _section("Energy, pJ (memories: per row access)", _energies(target)),
        _section("Cycles per multiply-accumulate and unit", _throughput(target)),
        _section("Sources", _sources(target)),
    )
    return "\n\n".join(parts)


def target_to_data(target: Target) -> dict[str, Any]:
    """The machine as JSON-able plain data."""
    return {
        "name": target.name,
        "description": target.description,
        "sha256": target.sha256,
        "clock_mhz": target.clock_hz / 1e6,
        "psum_bits": target.psum_bits,
        "macs": target.mac.instances,
        "mac_energy_pj": target.mac.energy_pj,
        "memories": [_memory_data(level) for level in target.memories],
        "sources": dict(target.sources),
    }


def _memory_data(level: MemoryLevel) -> dict[str, Any]:
    return {
        "name": level.name,
        "instances": level.instances,
        "size_bytes": level.size_bytes,
        "buffering": level.buffering,
        "word_bits": level.word_bits,
        "row_words": level.row_words,
        "packing": level.packing.value,
        "store_bits": {operand.value: bits for operand, bits in level.store_bits.items()},
        "keep": sorted(operand.value for operand in level.keep),
        "bypass": sorted(operand.value for operand in level.bypass),
        "fanout": {"x": level.fanout_x, "y": level.fanout_y},
        "network": None if level.network is None else _network_data(level.network),
        "energy_pj": {
            "read": level.read_pj,
            "fill": level.fill_pj,
            "update": level.update_pj,
        },
        "leakage_pj": level.leakage_pj,
        "bandwidth": {"read": level.read_bandwidth, "write": level.write_bandwidth},
        "dataflow": {
            "temporal": constraint_in_words(level.temporal),
            "x": constraint_in_words(level.spatial_x),
            "y": constraint_in_words(level.spatial_y),
        },
    }


def _network_data(network: Network) -> dict[str, Any]:
    return {
        "topology": network.topology.value,
        "hop_pj_per_bit": {"x": network.hop_x_pj, "y": network.hop_y_pj},
        "receiver_pj_per_bit": network.receiver_pj,
        "add_pj": network.add_pj,
    }


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _hierarchy(target: Target) -> list[str]:
    lines = []
    indent = ""
    for level in target.memories:
        count = f"{level.instances} x " if level.instances > 1 else ""
        lines.append(f"{indent}{count}{level.name}: {size_in_words(level)}, {_holds(level)}")
        indent += "  "
        if level.fanout_x * level.fanout_y > 1:
            lines.append(f"{indent}fans out to {_fanout(level)}")
    mac = target.mac
    widths = (
        f"weights {mac.weight_bits[0]}-{mac.weight_bits[1]} bits, "
        f"inputs {mac.input_bits[0]}-{mac.input_bits[1]} bits"
    )
    lines.append(f"{indent}{mac.instances} x {mac.name}: {widths}")
    lines.append(f"clock {target.clock_hz / 1e6:g} MHz; partial sums of {target.psum_bits} bits")
    return lines


def size_in_words(level: MemoryLevel) -> str:
    """Capacity, word, row and ports of a memory."""
    if level.size_bytes is None:
        size = "unlimited"
    elif level.size_bytes >= 1024:
        size = f"{level.size_bytes / 1024:g} KiB"
    else:
        size = f"{level.size_bytes} byte{'s' if level.size_bytes > 1 else ''}"
    if level.buffering > 1:
        size = f"{level.buffering} x {size}"
    row = f"{level.row_words} per row" if level.row_words > 1 else "one per row"
    parts = [f"{size}, {level.word_bits}-bit words, {row}, packing {level.packing.value}"]
    parts += [f"{operand.value} stored in {bits} bits" for operand, bits in _entries(level)]
    if level.read_bandwidth is not None:
        parts.append(f"reads {level.read_bandwidth:g} words/cycle")
    if level.write_bandwidth is not None:
        parts.append(f"writes {level.write_bandwidth:g} words/cycle")
    if level.cluster > 1:
        parts.append(f"{level.cluster} share a row")
    return ", ".join(parts)


def _entries(level: MemoryLevel) -> list[tuple[Operand, int]]:
    return [
        (operand, level.store_bits[operand]) for operand in Operand if operand in level.store_bits
    ]


def _holds(level: MemoryLevel) -> str:
    keep = [operand.value for operand in Operand if operand in level.keep]
    either = [o for o in Operand if o not in (*level.keep, *level.bypass)]
    parts = [f"keeps {' '.join(keep)}" if keep else "keeps nothing by rule"]
    if either:
        parts.append(f"may keep {' '.join(either)}")
    return ", ".join(parts)


def _fanout(level: MemoryLevel) -> str:
    axes = [(level.fanout_x, "x"), (level.fanout_y, "y")]
    return " by ".join(f"{size} ({axis})" for size, axis in axes if size > 1)


def _dataflow(target: Target) -> list[str]:
    lines = []
    for level in target.memories:
        lines.append(f"{level.name}, in time: {constraint_in_words(level.temporal)}")
        for size, axis, constraint in (
            (level.fanout_x, "x", level.spatial_x),
            (level.fanout_y, "y", level.spatial_y),
        ):
            if size > 1:
                words = constraint_in_words(constraint)
                lines.append(f"{level.name}, along {axis} ({size}): {words}")
    lines.append(f"group loops (depthwise layers) run where {target.groups_follow.value} may")
    return lines


def constraint_in_words(constraint: LoopConstraint) -> str:
    """For example ``C, all of S; innermost first: C, S``."""
    parts = []
    for dim in _DIMS:
        factor = constraint.factors.get(dim)
        limit = constraint.maximum.get(dim)
        if factor == ALL_REMAINING:
            parts.append(f"all of {dim.value}")
        elif factor is not None and factor > 1:
            parts.append(f"{dim.value} of {factor}")
        elif factor is None:
            parts.append(f"{dim.value} up to {limit}" if limit else dim.value)
    words = ", ".join(parts) if parts else "no loops"
    if len(parts) == len(_DIMS) and not constraint.factors and not constraint.maximum:
        words = "any loops"
    order = [dim.value for dim in constraint.order if constraint.factors.get(dim) != 1]
    return f"{words}; innermost first: {', '.join(order)}" if len(order) > 1 else words


def _energies(target: Target) -> list[str]:
    width = max(len(level.name) for level in target.memories)
    lines = [f"{'':{width}}  {'read':>10}  {'fill':>10}  {'update':>10}  {'leak/cycle':>10}"]
    for level in target.memories:
        lines.append(
            f"{level.name:{width}}  {level.read_pj:10.8g}  {level.fill_pj:10.8g}  "
            f"{level.update_pj:10.8g}  {level.leakage_pj:10.8g}"
        )
    lines.append(f"{target.mac.name:{width}}  {target.mac.energy_pj:10.8g} per multiply-accumulate")
    for level in target.memories:
        if level.network is not None:
            lines.append(f"{level.name} network: {_network_in_words(level)}")
    for entry in target.mac.energy_by_width:
        widths = f"up to w{entry.weight_bits}a{entry.input_bits}"
        lines.append(f"{'':{width}}  {entry.energy_pj:10.8g} {widths}")
    for name, cost in target.mac.by_class.items():
        lines.append(f"{'':{width}}  {cost.energy_pj:10.8g} by weights of class {name.value}")
    return lines


def _network_in_words(level: MemoryLevel) -> str:
    network = level.network
    assert network is not None
    hops = [
        f"{pj:g} per bit and hop along {axis}"
        for axis, size, pj in (
            ("x", level.fanout_x, network.hop_x_pj),
            ("y", level.fanout_y, network.hop_y_pj),
        )
        if size > 1
    ]
    parts = [network.topology.value, *hops]
    if network.receiver_pj:
        parts.append(f"{network.receiver_pj:g} per bit and receiver")
    if network.add_pj:
        parts.append(f"{network.add_pj:g} per addition on the way")
    return ", ".join(parts)


def _throughput(target: Target) -> list[str]:
    mac = target.mac
    lines = [f"{mac.cycles:g} at any width" if not mac.cycles_by_width else f"{mac.cycles:g}"]
    for entry in mac.cycles_by_width:
        lines.append(f"{entry.cycles:g} up to w{entry.weight_bits}a{entry.input_bits}")
    for name, cost in mac.by_class.items():
        lines.append(f"{cost.cycles:g} by weights of class {name.value}")
    return lines


def _sources(target: Target) -> list[str]:
    lines = []
    for topic, source in target.sources.items():
        wrapped = textwrap.wrap(f"{topic}: {source}", _WIDTH - 2, subsequent_indent="  ")
        lines.extend(wrapped)
    return lines
