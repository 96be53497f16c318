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
#: The same of the mapping table.
_MAPPING_COLUMNS = 54
_OBJECTIVES = {"edp": "EDP", "energy": "energy", "latency": "cycles"}
_SHORT_NAMES = {
    "row-stationary": "row st.",
    "weight-stationary": "weight st.",
    "output-stationary": "output st.",
    "no-local-reuse": "no reuse",
}


def print_build(report: Json, console: Console) -> None:
    """Network summary, then one line per layer, in the manner of Arm Vela."""
    print_network(report, console)
    print_layers(report["layers"], console)
    print_mappings(report, console)
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
        *_limit(network, target),
        ("EDP (modelled)", f"{network['edp_pj_cycles']:.4e} pJ·cycle"),
        ("Weights and constants", f"{_kib(network.get('flash_bytes'))}"),
        ("Peak RAM", f"{_kib(network.get('ram_peak_bytes'))}"),
        ("Mappings proved best", _proved(report["layers"])),
    ]
    rows += [_variant_row(variant) for variant in network.get("variants", ())]
    rows += _dataflow_rows(report)
    if network.get("top1") is not None:
        images = network["images"]
        rows += [
            ("Top-1, float", f"{network['top1_float']:.2f} %  (ONNX Runtime, {images} images)"),
            ("Top-1, integer C", f"{network['top1']:.2f} %  (emitted program, same images)"),
            ("Same answer as float", f"{network['agreement']:.2f} %"),
        ]
    for label, value in rows:
        console.print(Text(f"  {label:<24}{value}"))


def _variant_row(variant: Json) -> tuple[str, str]:
    """Constants and RAM of one of several variants."""
    return (
        f"Variant {variant['name']}",
        f"{_kib(variant['flash_bytes'])} of constants, {_kib(variant['shared_bytes'])} shared with "
        f"those above; RAM {_kib(variant['ram_peak_bytes'])}",
    )


def print_layers(layers: Iterable[Json], console: Console) -> None:
    """One line per layer with bars of energy."""
    layers = list(layers)
    total = sum(layer["energy_pj"] for layer in layers) or 1.0
    table = plain_table("Layers (energy and cycles modelled)")
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
            short(layer["macs"]) if layer["macs"] else "-",
            f"{layer['energy_pj'] / 1e6:.3g}",
            f"{100 * share:.1f}",
            "█" * round(10 * share),
            short(layer["cycles"]),
            f"{100 * layer['utilization']:.0f}%",
            Text(layer["bound"]),
        )
    console.print(table)


def print_mappings(report: Json, console: Console) -> None:
    """One line per searched layer: EDP, proof, and the named dataflows in comparison."""
    searched = [layer for layer in report["layers"] if layer.get("certificate")]
    flows = list(report["network"].get("baselines") or ())
    objective = report.get("objective", "edp")
    table = plain_table(f"Mappings, and {_OBJECTIVES[objective]} of named dataflows in comparison")
    name_width = min(28, max(10, console.width - _MAPPING_COLUMNS))
    table.add_column("Layer", overflow="ellipsis", no_wrap=True, max_width=name_width)
    for name in ("EDP", "Best by", *(_SHORT_NAMES.get(flow, flow) for flow in flows)):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in searched:
        baselines = layer.get("baselines") or {}
        table.add_row(
            Text(printable(layer["name"])),
            f"{layer['edp_pj_cycles']:.2e}",
            proof(layer["certificate"]),
            *(times(baselines.get(flow)) for flow in flows),
        )
    if flows:
        network = report["network"]
        cells = (times(network["baselines"][flow]) for flow in flows)
        edp = f"{network['edp_pj_cycles']:.2e}"
        table.add_row(Text("network"), edp, "", *cells, style="bold")
    console.print(table)
    for note in baseline_notes(searched):
        console.print(Text(note, style="dim"))


def baseline_notes(layers: list[Json]) -> list[str]:
    """What the marks in a table of dataflows mean, where there are any."""
    notes = []
    baselines = [one for layer in layers for one in (layer.get("baselines") or {}).values() if one]
    proved = all(layer["certificate"]["proved"] for layer in layers)
    if any(not one["proved"] for one in baselines):
        notes.append("? the best mapping found of the dataflow; a better one may exist")
    if proved and any(one["times"] < 0.995 for one in baselines):
        limits = "the target's own loop constraints"
        notes.append(f"below ×1: {limits} rule out that dataflow's best mapping")
    return notes


def plain_table(title: str) -> Table:
    """A table without lines."""
    return Table(title=title, title_style="bold", box=None, padding=(0, 1, 0, 0))


def times(baseline: Json | None) -> str:
    """How many times the cost a dataflow has; ``?`` where its best is not known for sure."""
    if baseline is None or baseline.get("missing"):
        return "-"
    factor = baseline["times"]
    digits = f"{factor:.2f}" if factor < 9.995 else f"{factor:,.0f}"
    return f"×{digits}{' ' if baseline['proved'] else '?'}"


def proof(certificate: Json) -> str:
    """Whether a mapping is proved best, or how far it may be from that."""
    if certificate["gap"] is None:
        return "no bound"
    return "proof" if certificate["proved"] else f"gap {100 * certificate['gap']:.3g}%"


def printable(text: str) -> str:
    """``text`` on one line, without characters that would steer a terminal: names are hostile."""
    return "".join(c if c.isprintable() else " " for c in text)


def short(count: int) -> str:
    """Three digits and a unit: 385 M, 12.5 k."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _dataflow_rows(report: Json) -> list[tuple[str, str]]:
    """The network under the named dataflows, two to a line."""
    totals = report["network"].get("baselines") or {}
    told = [f"{flow} {times(total).strip()}" for flow, total in totals.items()]
    label = f"{_OBJECTIVES[report.get('objective', 'edp')]} of dataflows"
    lines = [", ".join(told[at : at + 2]) for at in range(0, len(told), 2)]
    return list(zip((label, *("" for _ in lines[1:])), lines, strict=True)) if lines else []


def _limit(network: Json, target: Json) -> list[tuple[str, str]]:
    if network.get("max_cycles") is None:
        return []
    cycles = network["max_cycles"]
    return [("  at most", f"{1e3 * cycles / target['clock_hz']:,.3f} ms, {cycles:,} cycles")]


def _clock(target: Json) -> str:
    return f"{target['clock_hz'] / 1e6:,.0f} MHz"


def _kib(size: int | None) -> str:
    return "-" if size is None else f"{size / 1024:,.1f} KiB  ({size:,} bytes)"


def _proved(layers: Iterable[Json]) -> str:
    certificates = [layer["certificate"] for layer in layers if layer["certificate"]]
    proved = sum(bool(certificate["proved"]) for certificate in certificates)
    space = sum(certificate["space"] for certificate in certificates)
    return f"{proved} of {len(certificates)}  ({space:,} mappings in their spaces)"
