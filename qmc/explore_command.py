"""``qmc explore``: the front as plans, tables and pictures, and what a person reads of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmc import report
from qmc.bit_front import Point, best_uniform, dominates, hypervolume, pareto
from qmc.bit_problem import CYCLES, ENERGY, FLASH, SENSITIVITY
from qmc.bit_space import MEASURED_COST
from qmc.explore import Exploration, explore
from qmc.finals import Final
from qmc.front_plot import plot_front
from qmc.network import Network
from qmc.options import ExploreOptions
from qmc.output_folder import check_replaceable, whole_folder
from qmc.plan_folder import compile_options, finish_plan, write_plan
from qmc.progress import Stages
from qmc.search_result import Objective
from qmc.sensitivity_csv import sensitivities_text
from qmc.trial import Score
from qmc.tuning.explore_latency import latency_entry
from qmc.verdicts import verdicts, verdicts_csv

Json = dict[str, Any]

#: Points of top-1 that the reference of the hypervolume loses, or nats of divergence.
_REFERENCE_DROP, _REFERENCE_SENSITIVITY = 10.0, 1.0
_UNITS = {
    None: ("measured cost", 1.0),
    Objective.ENERGY: ("energy, µJ per inference", 1e-6),
    Objective.LATENCY: ("cycles", 1.0),
    Objective.EDP: ("EDP, pJ·cycle", 1.0),
}


def explore_command(options: ExploreOptions, stages: Stages) -> Json:
    """Find the front, write the folder, and give back the object of front.json."""
    check_replaceable(options.output)
    found = explore(options, stages)
    with whole_folder(options.output) as folder:
        with stages.stage("write plans") as tick:
            entries = []
            for number, final in enumerate(found.finals):
                entries.append(_write_point(folder, number, final, found, options))
                tick(number + 1, len(found.finals))
        data = front_data(found, entries, options)
        _write_texts(folder, data, found)
        _plot(folder / "front", found, data)
        # The folder is one of qmc's: it may be replaced by the next exploration.
        (folder / "plan.yaml").write_text("# plans/NNN/plan.yaml\n", encoding="utf-8")
    return data


def _write_point(
    folder: Path, number: int, final: Final, found: Exploration, options: ExploreOptions
) -> Json:
    """One plan on disk, and its entry in front.json."""
    ground, wanted, point = found.ground, compile_options(options), final.point
    plan = finish_plan(ground.network, ground.target, final.scheme, wanted)
    name = f"plans/{number:03d}"
    write_plan(folder / name, plan, ground.target, wanted)
    told = verdicts(ground.space, ground.target, point, found.exact)
    (folder / name / "widths.csv").write_text(verdicts_csv(told), encoding="utf-8")
    beside = best_uniform(point, found.uniforms)
    entry = {"plan": f"{name}/plan.yaml", **point_data(point, ground.network, options)}
    entry["flash_bytes"], entry["ram_peak_bytes"] = plan.flash_bytes, plan.ram_bytes
    entry["mappings_proved"] = plan.proved
    if options.measure_seconds is not None:
        entry |= latency_entry(plan.integer, ground.target, point.cost)
    entry["dominated_by_uniform"] = [u.name for u in found.uniforms if dominates(u, point)]
    entry["best_uniform"] = beside and point_data(beside, ground.network, options)
    entry["command"] = (
        f"qmc compile {options.model} --target {options.target} "
        f"--scheme {options.output}/{name}/plan.yaml --optimize {options.optimize} -o BUILD"
    )
    return entry


def point_data(point: Point, network: Network, options: ExploreOptions) -> Json:
    """What is told of any point."""
    totals = point.choice.totals
    parameters = {name: p.weights.size for name, p in network.parameters.items()}
    bits = sum(parameters[name] * b for name, b in point.assignment.weights.items())
    widths = point.assignment.activations.values()
    energy, cycles = totals.get(ENERGY), totals[CYCLES]
    priced = not options.measured_costs and energy is not None
    return {
        "name": point.name,
        "cost": point.cost,
        "energy_uj": energy / 1e6 if priced and energy is not None else None,
        "cycles": int(cycles) if priced else None,
        "edp_pj_cycles": energy * cycles if priced and energy is not None else None,
        "measured_cost": totals.get(MEASURED_COST),
        "weight_and_constant_bytes": int(totals[FLASH]),
        "live_tensor_bytes": int(point.choice.peak),
        "weight_bits_mean": bits / max(1, sum(parameters.values())),
        "activation_bits_mean": sum(widths) / len(widths) if widths else None,
        "sensitivity": totals[SENSITIVITY],
        "trial": _score_data(point.trial),
        "search": _score_data(point.score),
        "check": _score_data(point.check),
    }


def _score_data(score: Score | None) -> Json | None:
    if score is None:
        return None
    return {
        "images": score.images,
        "top1": score.top1,
        "drop": score.drop,
        "agreement": score.agreement,
    }


def front_data(found: Exploration, entries: list[Json], options: ExploreOptions) -> Json:
    """The object of front.json."""
    ground, uniforms = found.ground, found.uniforms
    network = ground.network
    measured = found.measured
    widest = next((u for u in uniforms if u.name == "w8a8"), uniforms[0] if uniforms else None)
    cost = widest.cost if widest else max(point.cost for point in found.exact)
    loss = _REFERENCE_DROP if measured else _REFERENCE_SENSITIVITY
    lowest = -_REFERENCE_DROP if measured else 0.0
    volumes = {
        name: hypervolume(points, cost, loss, lowest)
        for name, points in (
            ("mixed", found.points if measured else found.exact),
            ("uniform", uniforms),
        )
    }
    return {
        "network": network.name,
        "target": report.target_entry(ground.target),
        "objective": None if options.measured_costs else options.optimize.value,
        "loss": "points of top-1 on all images" if measured else "sensitivity",
        "sensitivities": {
            "source": ground.space.sensitivities.source.value,
            "images": ground.space.sensitivities.images,
        },
        "exact": {
            "points": len(found.exact),
            "certificate": "every point is proved best for its weighting of cost and sensitivity"
            if not _limited(found)
            else "every point is the cheapest at its sensitivity under the limits",
        },
        "hypervolume": {
            **volumes,
            "reference": {"cost": cost, "loss": loss, "least_loss": lowest},
        },
        "points": entries,
        "uniform": [point_data(point, network, options) for point in uniforms],
        "verdict": front_verdict(found, volumes),
        "notes": list(ground.notes),
        "versions": report.versions(),
        "seed": options.seed,
    }


def _limited(found: Exploration) -> bool:
    limits = found.ground.limits
    return bool(limits.totals) or limits.peak is not None


def front_verdict(found: Exploration, volumes: dict[str, float]) -> str:
    """One sentence: whether mixed widths are worth it here."""
    beaten = [p for p in found.points if any(dominates(u, p) for u in found.uniforms)]
    of = f"{len(beaten)} of {len(found.points)} points"
    if volumes["uniform"] >= volumes["mixed"]:
        return f"uniform widths are better here: they dominate {of}"
    gain = volumes["mixed"] - volumes["uniform"]
    return (
        f"mixed widths are worth it: {of} are dominated by a uniform width, and the front "
        f"dominates {100 * gain:.1f} % more of the reference box"
    )


def _write_texts(folder: Path, data: Json, found: Exploration) -> None:
    texts = {
        "front.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n",
        "front.csv": _csv(data["points"], data["uniform"]),
        "exact_front.csv": _exact_csv(found.exact),
        "sensitivity.csv": sensitivities_text(found.ground.space.sensitivities),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


_PLAIN = (
    *("name", "cost", "energy_uj", "cycles", "edp_pj_cycles", "measured_cost"),
    *("weight_bits_mean", "activation_bits_mean", "sensitivity"),
)
_BESIDE = ("best_uniform", "best_uniform_cost", "dominated")
_PARTS = ("trial", "search", "check")
_SCORES = ("images", "top1", "drop", "agreement")


def _csv(points: list[Json], uniforms: list[Json]) -> str:
    """Plans, then uniform assignments, one line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [f"{part}_{key}" for part in _PARTS for key in _SCORES]
    writer.writerow([*("plan", *_PLAIN, "flash_bytes", "ram_peak_bytes", *scores), *_BESIDE])
    for entry in [*points, *uniforms]:
        beside = entry.get("best_uniform") or {}
        cells = [entry.get("plan", ""), *(entry[key] for key in _PLAIN)]
        cells += [entry.get("flash_bytes"), entry.get("ram_peak_bytes")]
        cells += [(entry[part] or {}).get(k) for part in _PARTS for k in _SCORES]
        cells += [beside.get("name"), beside.get("cost")]
        cells.append("yes" if entry.get("dominated_by_uniform") else "no")
        writer.writerow(cells)
    return text.getvalue()


def _exact_csv(points: Sequence[Point]) -> str:
    """Every point of the exact front with all its widths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    weights, activations = points[0].assignment.weights, points[0].assignment.activations
    names = [f"W {name}" for name in weights] + [f"A {name}" for name in activations]
    writer.writerow(["cost", "sensitivity", *names])
    for point in points:
        bits = [*point.assignment.weights.values(), *point.assignment.activations.values()]
        writer.writerow([repr(point.cost), repr(point.choice.totals[SENSITIVITY]), *bits])
    return text.getvalue()


def _plot(path: Path, found: Exploration, data: Json) -> None:
    label, unit = _UNITS[found.ground.space.objective]
    measured = found.measured
    mixed = list(found.points) if measured else found.ground.space.useful(found.exact)
    uniforms = found.ground.space.useful(found.uniforms)
    title = f"{data['network']} on {data['target']['name']}"
    series = [
        ("mixed widths", [(p.cost * unit, p.loss, "") for p in pareto(mixed)], True),
        ("uniform widths", [(p.cost * unit, p.loss, p.name) for p in uniforms], False),
    ]
    losses = "top-1 lost, points" if measured else "sensitivity, nats"
    plot_front(path, title, (label, losses), series)


def print_front(data: Json, console: Console) -> None:
    """The plans as a table, and the verdict."""
    label = {"energy": "µJ", "latency": "cycles", "edp": "EDP", None: "cost"}[data["objective"]]
    table = Table(box=None, header_style="bold")
    for name in ("plan", label, "W bits", "A bits", "sensitivity", "drop", "others", "uniform"):
        justify: Literal["left", "right"] = "left" if name in {"plan", "uniform"} else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for entry in [*data["points"], *data["uniform"]]:
        table.add_row(*_row(entry, data["objective"]))
    console.print(Text(f"\n{data['network']} on {data['target']['name']}", style="bold"))
    console.print(table)
    for line in _latency_lines(data["points"]):
        console.print(Text(line))
    console.print(Text(data["verdict"]))
    for note in data["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))


def _latency_lines(points: list[Json]) -> list[str]:
    """Predicted against measured latency of every plan's program, where it was measured."""
    return [
        f"{entry['plan'].removesuffix('/plan.yaml')}: {entry['predicted_ms']:.4f} ms predicted, "
        f"{entry['measured_ms']:.4f} ms measured"
        for entry in points
        if "measured_ms" in entry
    ]


def _row(entry: Json, objective: str | None) -> list[str]:
    cost = entry["energy_uj"] if objective == "energy" else entry["cost"]
    drops = [entry["search"], entry["check"]]
    beside = entry.get("best_uniform")
    dominated = entry.get("dominated_by_uniform")
    told = f"beats {beside['name']}" if beside else ""
    return [
        str(entry.get("plan", entry["name"])).removesuffix("/plan.yaml"),
        f"{cost:,.6g}",
        f"{entry['weight_bits_mean']:.2f}",
        "" if entry["activation_bits_mean"] is None else f"{entry['activation_bits_mean']:.2f}",
        f"{entry['sensitivity']:.3g}",
        *("" if score is None else f"{score['drop']:+.2f}" for score in drops),
        f"{dominated[0]} better" if dominated else told,
    ]
