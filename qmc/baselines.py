"""Every layer under the named dataflows, to tell what its own mapping is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmc.cost_models.base import Cost, CostModel
from qmc.dataflows import Dataflow, dataflow_machines
from qmc.layer import Layer, Precision
from qmc.schedule import Task, search_all
from qmc.search_result import Objective, SearchResult
from qmc.targets.target import Target

Json = dict[str, Any]
#: The best mapping found of each dataflow; None where the machine has no place for it.
Baselines = Mapping[Dataflow, SearchResult | None]

_NAMES = {Objective.EDP: "EDP", Objective.ENERGY: "energy", Objective.LATENCY: "latency"}

#: Steps of a search for a baseline: enough to prove nearly all, a second or two where it is not.
BASELINE_STEPS = 1 << 20


def find_baselines(
    work: Sequence[tuple[Layer, Precision]],
    target: Target,
    model: CostModel,
    objective: Objective,
    *,
    max_cycles: int | None = None,
    jobs: int = 1,
    max_steps: int = BASELINE_STEPS,
) -> list[Baselines]:
    """The best mapping of every layer with weights under each dataflow."""
    machines = [(flow, m) for flow in Dataflow for m in dataflow_machines(target, flow)]
    tasks = [
        Task(layer, precision, machine, model, objective, max_steps, max_cycles)
        for layer, precision in work
        for _, machine in machines
    ]
    outcomes = iter(search_all(tasks, jobs=jobs))
    found: list[Baselines] = []
    for _ in work:
        best: dict[Dataflow, SearchResult | None] = dict.fromkeys(Dataflow)
        for flow, _ in machines:
            best[flow] = _better(best[flow], next(outcomes))
        found.append(best)
    return found


def _better(best: SearchResult | None, found: object) -> SearchResult | None:
    if not isinstance(found, SearchResult):
        return best
    if best is None or found.certificate.best < best.certificate.best:
        return found
    return best


def baselines_data(baselines: Baselines, cost: Cost, objective: Objective) -> Json:
    """What each dataflow costs, and how many times the cost of the layer's own mapping that is."""
    return {
        flow.value: None if found is None else _one(found, cost, objective)
        for flow, found in baselines.items()
    }


def _one(found: SearchResult, cost: Cost, objective: Objective) -> Json:
    other = found.cost
    return {
        "energy_pj": other.energy_pj,
        "cycles": other.cycles,
        "edp_pj_cycles": other.edp_pj_cycles,
        "times": ratio((other.energy_pj, other.cycles), (cost.energy_pj, cost.cycles), objective),
        "proved": found.certificate.proved,
    }


def comparison(data: Json, objective: Objective, proved: bool) -> str:
    """The ratios in words: ``EDP ×1.80 better than weight-stationary``; empty without any.

    A dataflow can only be better than a ``proved`` mapping where the target rules it out.
    """
    why = " (ruled out by the target)" if proved else ""
    found = {flow: entry["times"] for flow, entry in data.items() if entry is not None}
    better = [f"×{times:.3g} better than {flow}" for flow, times in found.items() if times > 1]
    worse = [
        f"×{1 / times:.3g} worse than {flow}{why}" for flow, times in found.items() if times < 1
    ]
    words = ", ".join([*better, *worse])
    return f"{_NAMES[objective]} {words}" if words else ""


def network_baselines(layers: Sequence[Json], objective: Objective) -> Json:
    """The same for the whole network; layers without weights cost what they cost.

    A dataflow that some layer has no mapping of has no total; ``missing`` counts such layers.
    """
    weighted = [layer["baselines"] for layer in layers if layer["baselines"]]
    own = _total(layers)
    totals: Json = {}
    for flow in Dataflow if weighted else ():
        missing = sum(entry[flow.value] is None for entry in weighted)
        totals[flow.value] = {"missing": missing}
        if not missing:
            chosen = [layer["baselines"].get(flow.value, layer) for layer in layers]
            energy, cycles = _total(chosen)
            totals[flow.value] |= {
                "energy_uj": energy / 1e6,
                "cycles": cycles,
                "edp_pj_cycles": energy * cycles,
                "times": ratio((energy, cycles), own, objective),
                "proved": all(entry[flow.value]["proved"] for entry in weighted),
            }
    return totals


def _total(entries: Sequence[Json]) -> tuple[float, int]:
    return sum(e["energy_pj"] for e in entries), sum(e["cycles"] for e in entries)


def ratio(other: tuple[float, int], own: tuple[float, int], objective: Objective) -> float:
    """How many times one (energy, cycles) is the other, by the objective."""
    energy, cycles = other[0] / own[0], other[1] / own[1]
    match objective:
        case Objective.EDP:
            return energy * cycles
        case Objective.ENERGY:
            return energy
        case Objective.LATENCY:
            return cycles
