"""What a person reads on the terminal: the summary of a build and its table of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

#: Characters of the layer table beside the names.
_OTHER_COLUMNS = 64


def print_build(report: Json, console: Console) -> None:
    """Network summary, then one line per layer, in the manner of Arm Vela."""
    print_network(report, console)
    print_layers(report["layers"], console)
    for note in report.get("notes", ()):
        console.print(Text(f"note: {printable(note)}", style="yellow"))


def print_network(report: Json, console: Console) -> None:
    """The summary block."""
    network, target = report["network"], report["target"]
    console.print(Text(f"\nNetwork summary for {network['name']}", style="bold"))
    rows = [
        ("Target", f"{target['name']}  ({target['sha256'][:12]})"),
        ("MACs", f"{network['macs'] / 1e6:,.2f} M"),
        ("Bit operations", f"{network['bops'] / 1e9:,.3f} G"),
        ("Energy (modelled)", f"{network['energy_uj']:,.2f} µJ/inference"),
        ("Cycles (modelled)", f"{network['cycles']:,}"),
        ("Latency (modelled)", f"{network['latency_ms']:,.3f} ms at {_clock(target)}"),
        ("EDP (modelled)", f"{network['edp_pj_cycles']:.4e} pJ·cycle"),
        ("Weights and constants", f"{_kib(network.get('flash_bytes'))}"),
        ("Peak RAM", f"{_kib(network.get('ram_peak_bytes'))}"),
        ("Mappings proved best", _proved(report["layers"])),
    ]
    if network.get("top1") is not None:
        images = network["images"]
        rows += [
            ("Top-1, float", f"{network['top1_float']:.2f} %  (ONNX Runtime, {images} images)"),
            ("Top-1, integer C", f"{network['top1']:.2f} %  (emitted program, same images)"),
            ("Same answer as float", f"{network['agreement']:.2f} %"),
        ]
    for label, value in rows:
        console.print(Text(f"  {label:<24}{value}"))


def print_layers(layers: Iterable[Json], console: Console) -> None:
    """One line per layer with bars of energy."""
    layers = list(layers)
    total = sum(layer["energy_pj"] for layer in layers) or 1.0
    title = "Layers (energy and cycles modelled)"
    table = Table(title=title, title_style="bold", box=None, padding=(0, 1, 0, 0))
    name_width = min(28, max(10, console.width - _OTHER_COLUMNS))
    table.add_column("Layer", overflow="ellipsis", no_wrap=True, max_width=name_width)
    table.add_column("Op", no_wrap=True)
    for name, width in (("W/A/O", 6), ("MACs", 6), ("µJ", 6), ("%", 4), ("", 2), ("Cycles", 6)):
        table.add_column(name, justify="right" if name else "left", min_width=width)
    table.add_column("Util", justify="right", min_width=4)
    table.add_column("Bound", overflow="ellipsis", no_wrap=True, min_width=7)
    for layer in layers:
        share = layer["energy_pj"] / total
        table.add_row(
            Text(printable(layer["name"])),
            layer["op"],
            f"{layer['w_bits'] or '-'}/{layer['a_bits']}/{layer['o_bits']}",
            _short(layer["macs"]) if layer["macs"] else "-",
            f"{layer['energy_pj'] / 1e6:.3g}",
            f"{100 * share:.1f}",
            "█" * round(10 * share),
            _short(layer["cycles"]),
            f"{100 * layer['utilization']:.0f}%",
            Text(layer["bound"]),
        )
    console.print(table)


def print_layer(entry: Json, console: Console) -> None:
    """One layer: cost, energy by memory as bars, accesses, loop nest."""
    widths = f"w{entry['w_bits']}a{entry['a_bits']}o{entry['o_bits']} p{entry['psum_bits']}"
    title = f"{printable(entry['name'])}  {entry['op']}  {widths}"
    console.print(Text(title, style="bold"))
    for label, value in (
        ("MACs", f"{entry['macs']:,}"),
        ("Energy (modelled)", f"{entry['energy_pj'] / 1e6:,.4f} µJ"),
        ("Cycles (modelled)", f"{entry['cycles']:,}, set by {entry['bound']}"),
        ("EDP (modelled)", f"{entry['edp_pj_cycles']:.4e} pJ·cycle"),
        ("MACs in use", f"{100 * entry['utilization']:.1f} %"),
    ):
        console.print(Text(f"  {label:<24}{value}"))
    if entry["certificate"]:
        certificate = entry["certificate"]
        proved = "proved best" if certificate["proved"] else "not proved"
        told = f"{proved}: {certificate['evaluated']:,} of {certificate['space']:,} mappings priced"
        console.print(Text(f"  {'Search':<24}{told}"))
    console.print(_energy_bars(entry))
    console.print(_accesses(entry))
    if entry.get("nest"):
        console.print(Text(entry["nest"]))
    if entry.get("against"):
        console.print(_against(entry["against"]))


def print_front(front: Json, console: Console) -> None:
    """The Pareto set of a layer: one line per point, from least energy to fewest cycles."""
    points = front["points"]
    title = f"{printable(front['layer'])}: energy and latency, modelled"
    table = Table(title=title, title_style="bold", box=None, padding=(0, 1, 0, 0))
    for name in ("µJ", "", "Cycles", "", "ms", "EDP pJ·cycle", "Util"):
        table.add_column(name, justify="right")
    table.add_column("Bound")
    table.add_column("")
    for point in points:
        energy, cycles = point["energy_pj"], point["cycles"]
        table.add_row(
            f"{energy / 1e6:,.4f}",
            f"+{100 * (energy / points[0]['energy_pj'] - 1):.2f} %",
            f"{cycles:,}",
            f"+{100 * (cycles / points[-1]['cycles'] - 1):.1f} %",
            f"{1e3 * cycles / front['target']['clock_hz']:.4f}",
            f"{point['edp_pj_cycles']:.4e}",
            f"{100 * point['utilization']:.0f}%",
            point["bound"],
            _proof(point["certificate"]),
        )
    console.print(table)


def _proof(certificate: Json) -> str:
    """Whether a mapping is proved best, or how far it may be from that."""
    return "proved" if certificate["proved"] else f"gap {100 * certificate['gap']:.3g} %"


def _energy_bars(entry: Json) -> Table:
    table = Table("Memory", "pJ", "%", "", title="Energy by memory", box=None, pad_edge=False)
    for memory, energy in entry["energy_by_memory_pj"].items():
        share = energy / (entry["energy_pj"] or 1.0)
        table.add_row(memory, f"{energy:,.1f}", f"{100 * share:.1f}", "█" * round(40 * share))
    return table


def _accesses(entry: Json) -> Table:
    table = Table(title="Words per instance", box=None, pad_edge=False)
    for name in ("Memory", "", "Reads", "Fills", "Updates", "Instances", "Words held"):
        table.add_column(name, justify="left" if name in ("Memory", "") else "right")
    for memory, operands in entry["accesses"].items():
        for operand, count in operands.items():
            numbers = ("reads", "fills", "updates", "instances", "utilized_words")
            table.add_row(memory, operand, *(f"{count[key]:,}" for key in numbers))
    return table


def _against(comparison: Json) -> Table:
    title = f"Against the other report: {comparison['differences']} differences"
    table = Table(title=title, box=None, pad_edge=False)
    for name in ("Memory", "", "Count", "Here", "There", ""):
        table.add_column(name, justify="right" if name in ("Here", "There") else "left")
    for row in comparison["rows"]:
        here, there = row["here"], row["there"]
        mark = "" if row["same"] else "<>"
        if mark and here is not None and there:
            mark = f"<> {100 * (here / there - 1):+.3g} %"
        numbers = ("-" if value is None else f"{value:,}" for value in (here, there))
        table.add_row(row["memory"] or "layer", row["operand"], row["quantity"], *numbers, mark)
    return table


def printable(text: str) -> str:
    """``text`` on one line, without characters that would steer a terminal: names are hostile."""
    return "".join(c if c.isprintable() else " " for c in text)


def _short(count: int) -> str:
    """Three digits and a unit: 385 M, 12.5 k."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _clock(target: Json) -> str:
    return f"{target['clock_hz'] / 1e6:,.0f} MHz"


def _kib(size: int | None) -> str:
    return "-" if size is None else f"{size / 1024:,.1f} KiB  ({size:,} bytes)"


def _proved(layers: Iterable[Json]) -> str:
    certificates = [layer["certificate"] for layer in layers if layer["certificate"]]
    proved = sum(bool(certificate["proved"]) for certificate in certificates)
    space = sum(certificate["space"] for certificate in certificates)
    return f"{proved} of {len(certificates)}  ({space:,} mappings in their spaces)"
