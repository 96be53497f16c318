"""``qmc buffers``: how small the memories of a machine may be for one network at its widths."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qmc import report
from qmc.buffer_advice import BufferAdvice, buffer_advice
from qmc.cost_models.analytical import AnalyticalModel
from qmc.frontend import load_network
from qmc.layer import Layer, Precision
from qmc.network import Network
from qmc.pricing import layer_precision
from qmc.progress import Tick, no_tick
from qmc.schedule import schedule_network
from qmc.scheme import Scheme
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.widths import activation_bits, parse_widths

Json = dict[str, Any]


def advise_buffers(
    model: Path, machine: str, scheme: str, objective: Objective, jobs: int, tick: Tick = no_tick
) -> Json:
    """Search the network's mappings and advise on every memory of bounded size.

    Args:
        model: ONNX file.
        machine: name or YAML file.
        scheme: widths, or a scheme or plan file.
        objective: what is to be kept.
        jobs: threads.
        tick: called with memories done and in all.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    target, network = load_target(machine), load_network(model)[1]
    work = _work(network, target, scheme)
    rules = AnalyticalModel()
    found = schedule_network(work, target, rules, objective, jobs=jobs)
    mapped = [(layer, precision, found[layer.name]) for layer, precision in work]
    advice = buffer_advice(mapped, target, rules, objective, jobs=jobs, tick=tick)
    return {
        "network": network.name,
        "target": report.target_entry(target),
        "objective": objective.value,
        "memories": [asdict(one) for one in advice],
    }


def _work(network: Network, target: Target, scheme: str) -> list[tuple[Layer, Precision]]:
    widths = parse_widths(scheme, network)
    layers = [layer for layer in network.layers if layer.has_weights]
    if isinstance(widths, Scheme):
        return [(layer, layer_precision(layer, widths, target)) for layer in layers]
    bits = activation_bits(network, widths)
    return [
        (
            layer,
            Precision(
                widths.weight_bits(layer.name),
                bits[layer.inputs[0]],
                bits[layer.output],
                target.psum_bits,
            ),
        )
        for layer in layers
    ]


def print_buffers(data: Json, console: Console) -> None:
    """One line for each memory."""
    table = Table(box=None, header_style="bold")
    heads = ("memory", "has", "held", "smallest", "power of two", "half of that", "twice as large")
    for head in heads:
        table.add_column(head, justify="left" if head == "memory" else "right")
    for entry in data["memories"]:
        one = BufferAdvice(**entry)
        sizes = one.size_bytes, one.used_bytes, one.smallest_bytes, one.power_of_two_bytes
        changes = (_percent(one.half), _percent(one.double))
        table.add_row(one.memory, *(f"{size:,} B" for size in sizes), *changes)
    console.print(table)


def _percent(change: float | None) -> str:
    return "no mapping" if change is None else f"{100 * change:+.2f} %"
