"""What a person reads of one layer on the terminal: costs, mapping, and what would help."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmc.console import baseline_notes, plain_table, printable, proof, times
from qmc.mapping_text import size_text

Json = dict[str, Any]

#: Bounds on the cycles that are shown, the largest first.
_BOUNDS = 5
#: Changes of the objective that count as none.
_NO_CHANGE = 5e-4
_OBJECTIVES = {"edp": "EDP", "energy": "Energy", "latency": "Cycles"}


def print_layer(entry: Json, console: Console) -> None:
    """One layer: cost, search, energies as bars, bytes moved, loop nest, what would help."""
    widths = f"w{entry['w_bits']}a{entry['a_bits']}o{entry['o_bits']} p{entry['psum_bits']}"
    title = f"{printable(entry['name'])}  {entry['op']}  {widths}"
    console.print(Text(title, style="bold"))
    rows = [
        ("MACs", f"{entry['macs']:,}"),
        ("Energy (modelled)", f"{entry['energy_pj'] / 1e6:,.4f} µJ"),
        ("Cycles (modelled)", f"{entry['cycles']:,}, set by {entry['bound']}"),
        ("EDP (modelled)", f"{entry['edp_pj_cycles']:.4e} pJ·cycle"),
        ("MACs in use", f"{100 * entry['utilization']:.1f} %"),
        *_search(entry["certificate"]),
    ]
    for label, value in rows:
        console.print(Text(f"  {label:<20}{value}"))
    bars = max(10, min(40, console.width - 45))
    console.print(_energy_bars(entry, bars))
    console.print(_bound_bars(entry, bars))
    console.print(_accesses(entry))
    console.print(_bytes(entry))
    if entry.get("nest"):
        console.print(Text("\nLoop nest", style="bold"))
        console.print(Text(entry["nest"]))
    if entry.get("baselines"):
        console.print(_baselines(entry))
        for note in baseline_notes([entry]):
            console.print(Text(note, style="dim"))
    if entry.get("what_helps"):
        _print_what_helps(entry, console)
    if entry.get("against"):
        console.print(_against(entry["against"]))


def _search(certificate: Json) -> list[tuple[str, str]]:
    if not certificate:
        return []
    proved = certificate["proved"]
    told = "proved best" if proved else "not proved"
    if certificate["gap"]:
        told += f": at most {100 * certificate['gap']:.3g} % above the best"
    if certificate["max_cycles"] is not None:
        told += f", of at most {certificate['max_cycles']:,} cycles"
    cut = ", ".join(f"{reason} {n:,}" for reason, n in certificate["pruned"].items() if n)
    seen = f"{certificate['visited']:,} partial, {certificate['evaluated']:,} whole mappings"
    return [
        ("Search", told),
        ("  space", f"{certificate['space']:,} mappings, {certificate['factors']} factors"),
        ("  priced", seen),
        ("  branches cut by", cut or "nothing"),
        *(
            [("  expected", _expected(certificate["expected"]))]
            if "expected" in certificate
            else []
        ),
        *([("  note", certificate["note"])] if "note" in certificate else []),
    ]


def _expected(errors: Json) -> str:
    """The errors to expect of a learned search, or of a calibrated cost model."""
    if "calibrated" in errors:
        before, after = errors["before"], errors["after"]
        return (
            f"{errors['calibrated']} off by {100 * after['median']:.2g} % "
            f"(95 %: {100 * after['p95']:.2g} %), uncalibrated {100 * before['median']:.2g} %"
        )
    if "regret_median" not in errors:
        return "unknown: the model has not been measured"
    return (
        f"regret {100 * errors['regret_median']:.2g} % (95 %: {100 * errors['regret_p95']:.2g} %), "
        f"predictions off by {100 * errors['error_median']:.2g} % "
        f"(95 %: {100 * errors['error_p95']:.2g} %), on {errors['held_out']} held out"
    )


def _energy_bars(entry: Json, width: int) -> Table:
    table = plain_table("Energy by memory")
    for name in ("Memory", "pJ", "%", ""):
        table.add_column(name, justify="right" if name in ("pJ", "%") else "left", no_wrap=True)
    for memory, energy in entry["energy_by_memory_pj"].items():
        share = energy / (entry["energy_pj"] or 1.0)
        table.add_row(memory, f"{energy:,.1f}", f"{100 * share:.1f}", "█" * round(width * share))
    return table


def _bound_bars(entry: Json, width: int) -> Table:
    table = plain_table("Cycles by bound")
    for name in ("Bound", "Cycles", "%", ""):
        table.add_column(name, justify="right" if name in ("Cycles", "%") else "left")
    bounds = sorted(entry["cycles_by_bound"].items(), key=lambda item: -item[1])
    for bound, cycles in bounds[:_BOUNDS]:
        share = cycles / entry["cycles"]
        table.add_row(bound, f"{cycles:,}", f"{100 * share:.1f}", "█" * round(width * share))
    return table


def _accesses(entry: Json) -> Table:
    table = plain_table("Words per instance")
    for name in ("Memory", "", "Reads", "Fills", "Updates", "Instances", "Words held"):
        table.add_column(name, justify="left" if name in ("Memory", "") else "right")
    for memory, operands in entry["accesses"].items():
        for operand, count in operands.items():
            numbers = ("reads", "fills", "updates", "instances", "utilized_words")
            table.add_row(memory, operand, *(f"{count[key]:,}" for key in numbers))
    return table


def _bytes(entry: Json) -> Table:
    table = plain_table("Bytes moved, all instances")
    for name in ("Memory", "", "Read", "Written", "pJ"):
        table.add_column(name, justify="left" if name in ("Memory", "") else "right")
    for memory, operands in entry["accesses"].items():
        for operand, count in operands.items():
            moved = (size_text(count[key]) for key in ("bytes_read", "bytes_written"))
            table.add_row(memory, operand, *moved, f"{count['energy_pj']:,.0f}")
    return table


def _baselines(entry: Json) -> Table:
    objective = _OBJECTIVES[entry.get("objective", "edp")]
    table = plain_table("Named dataflows on this hardware")
    for name in ("Dataflow", objective, "µJ", "Cycles", ""):
        table.add_column(name, justify="left" if name in ("Dataflow", "") else "right")
    for flow, found in entry["baselines"].items():
        if found is None:
            table.add_row(flow, "-", "-", "-", "has no mapping here")
        else:
            numbers = (f"{found['energy_pj'] / 1e6:,.4f}", f"{found['cycles']:,}")
            table.add_row(flow, times(found), *numbers, "")
    return table


def _print_what_helps(entry: Json, console: Console) -> None:
    objective = _OBJECTIVES[entry.get("objective", "edp")]
    by_quantity: dict[str, dict[float, Json]] = {}
    for row in entry["what_helps"]:
        by_quantity.setdefault(row["what"], {})[row["times"]] = row
    table = plain_table(f"What would help most ({objective})")
    table.add_column("")
    for name in ("twice", "half"):
        table.add_column(name, justify="right")
    idle = []
    for what, rows in by_quantity.items():
        twice, half = rows.get(2.0), rows.get(0.5)
        if all(row is None or _is_idle(row) for row in (twice, half)):
            idle.append(what)
        else:
            table.add_row(what, _change(twice), _change(half))
    if table.row_count:
        console.print(table)
    if not all(row["proved"] for row in entry["what_helps"]):
        console.print(
            Text("? not proved: the best mapping found in a number of steps", style="dim")
        )
    if idle:
        console.print(Text(f"No change from twice or half of: {', '.join(idle)}."))


def _is_idle(row: Json) -> bool:
    return row["relative"] is not None and abs(row["relative"]) < _NO_CHANGE


def _change(row: Json | None) -> str:
    if row is None:
        return "-"
    if row["relative"] is None:
        return "does not fit"
    if _is_idle(row):
        return "0   "
    return f"{100 * row['relative']:+.1f} %{'' if row['proved'] else '?'}"


def _against(comparison: Json) -> Table:
    table = plain_table(f"Against the other report: {comparison['differences']} differences")
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


def print_front(front: Json, console: Console) -> None:
    """The Pareto set of a layer: one line per point, from least energy to fewest cycles."""
    points = front["points"]
    table = plain_table(f"{printable(front['layer'])}: energy and latency, modelled")
    for name in ("µJ", "", "Cycles", "", "ms", "EDP pJ·cycle", "Util"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Bound", overflow="ellipsis", no_wrap=True)
    table.add_column("Best by")
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
            proof(point["certificate"]),
        )
    console.print(table)
