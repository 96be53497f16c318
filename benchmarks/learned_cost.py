"""The learned cost model beside its bars: ``benchmarks/learned_cost.py [--every N] [--card]``.

On layers (MobileNetV1, V2, ResNet-18), widths and machines held out of training: rank correlation,
top-k recall and error of its predictions; and the regret of ``--mapper learned`` with 64 true costs
against the proved optimum and against random mappings with as many true costs. ``--card`` writes
the figures into ``cost_models/learned.json`` and ``cost_models/learned.md``.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from search_speed import distinct_layers

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.training_set import (
    HELD_OUT_MACHINES,
    HELD_OUT_WIDTHS,
    MACHINES,
    Group,
    empty_arrays,
    make_group,
    random_precision,
)
from qmc.cost_models.xgboost_model import load_model, shipped_model
from qmc.errors import QmcError
from qmc.layer import Layer, Precision
from qmc.learned_moves import draw
from qmc.learned_search import EVALUATIONS, learned_search
from qmc.mapspace import map_space
from qmc.nest_arrays import build_choices, build_problem, new_state
from qmc.nest_kernel import empty_nest, price_all
from qmc.search import compile_kernels, search
from qmc.targets import Target, load_target

FOLDER = Path(__file__).parent.parent / "cost_models"
#: The truly best mappings of a group, and how many of those predicted best they are sought among.
TOP, AMONG = 8, 16
BARS = {"spearman": 0.97, "regret_median": 0.01, "regret_p95": 0.05, "wins": 0.95}


@dataclass(slots=True)
class Figures:
    """Of one kind of held-out problems; a number per group, errors per mapping."""

    spearman: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    mape: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)
    random_regret: list[float] = field(default_factory=list)
    wins: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | int]:
        """What the card keeps."""
        told: dict[str, float | int] = {
            "groups": len(self.spearman),
            "spearman": _median(self.spearman),
            "spearman_plain_estimate": _median(self.plain),
            "top_k_recall": _median(self.recall),
            "mape": _median(self.mape),
            "error_median": _median(self.errors),
            "error_p95": _quantile(self.errors, 0.95),
        }
        if self.regret:
            told |= {
                "searches": len(self.regret),
                "regret_median": _median(self.regret),
                "regret_p95": _quantile(self.regret, 0.95),
                "regret_worst": max(self.regret),
                "random_regret_median": _median(self.random_regret),
                "wins": float(np.mean(self.wins)),
                "seconds_median": _median(self.seconds),
            }
        return {key: round(value, 5) for key, value in told.items()}


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def _quantile(values: Iterable[float], share: float) -> float:
    return float(np.quantile(list(values), share))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, of equal values their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Rank correlation; 1 where the truth does not differ."""
    a, b = ranks(left), ranks(right)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 1.0


def judge_predictions(group: Group, figures: Figures) -> None:
    """Rank correlation, recall and error of EDP in one group."""
    edp = group.truth.prod(axis=1)
    predicted = np.exp(shipped_model().log_costs(group.rows, group.estimates)).prod(axis=1)
    figures.spearman.append(spearman(predicted, edp))
    figures.plain.append(spearman(group.estimates.prod(axis=1), edp))
    best = set(np.argsort(edp, kind="stable")[:TOP].tolist())
    chosen = set(np.argsort(predicted, kind="stable")[:AMONG].tolist())
    figures.recall.append(len(best & chosen) / len(best))
    errors = np.abs(predicted / edp - 1)
    figures.mape.append(float(errors.mean()))
    figures.errors.extend(errors.tolist())


def judge_search(layer: Layer, precision: Precision, target: Target, figures: Figures) -> None:
    """Regret against the proved optimum, and against random mappings."""
    exact = search(layer, precision, target, AnalyticalModel(), max_steps=1 << 24).certificate
    if not exact.proved:
        return
    learned = learned_search(layer, precision, target, AnalyticalModel(), seed=0).certificate
    assert learned.evaluated <= EVALUATIONS
    drawn = best_of_random(layer, precision, target, EVALUATIONS)
    figures.regret.append(learned.best / exact.best - 1)
    figures.random_regret.append(drawn / exact.best - 1)
    figures.wins.append(float(learned.best < drawn or learned.best <= exact.best * (1 + 1e-9)))
    figures.seconds.append(learned.seconds)


def best_of_random(layer: Layer, precision: Precision, target: Target, count: int) -> float:
    """EDP of the best of ``count`` random mappings that fit; those that do not are not counted."""
    space = map_space(layer, target)
    choices = build_choices(space)
    best = np.inf
    shares = np.bincount(np.arange(count) % len(space.keeps), minlength=len(space.keeps))
    for keep, share in zip(space.keeps, shares.tolist(), strict=True):
        problem = build_problem(layer, precision, target, keep, AnalyticalModel())
        arrays = empty_arrays(share, len(target.memories))
        nest, state = empty_nest(problem["bounds"]), new_state(space)
        found = draw(problem, choices, nest, state, 0, *arrays, 10_000)
        nest = empty_nest(problem["bounds"])
        costs = price_all(problem, nest, arrays[0][:found], arrays[1][:found])
        if found:
            best = min(best, float(np.nanmin(costs.prod(axis=1))))
    return best


def measure(
    machines: Iterable[str], widths: tuple[int, ...] | None, every: int, searches: bool
) -> Figures:
    """Figures over the held-out layers on some machines, every so many of them."""
    figures = Figures()
    for name in machines:
        target = load_target(name)
        for layer in distinct_layers()[zlib.crc32(name.encode()) % every :: every]:
            rng = np.random.default_rng(zlib.crc32(f"{name} {layer.name}".encode()))
            precision = random_precision(rng, target, *([widths] if widths else []))
            group = make_group(layer, precision, target, int(rng.integers(1 << 31)), 400)
            if group is not None:
                judge_predictions(group, figures)
            if searches:
                try:
                    judge_search(layer, precision, target, figures)
                except QmcError as error:
                    print(f"{name}: {layer.name}: {error}")
        print(
            f"  {name}: {len(figures.regret)} searches, {len(figures.spearman)} groups", flush=True
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=2, help="take one layer of so many")
    parser.add_argument("--card", action="store_true", help="write learned.json and learned.md")
    options = parser.parse_args()
    compile_kernels()
    every = options.every
    held_out = {
        "layers": measure(MACHINES, None, every, searches=True),
        "widths": measure(MACHINES, HELD_OUT_WIDTHS, 2 * every, searches=True),
        "machines": measure(HELD_OUT_MACHINES, None, 2 * every, searches=True),
    }
    summary = {scope: figures.summary() for scope, figures in held_out.items()}
    for line in table(summary):
        print(line)
    if options.card:
        write_card(summary)


def table(summary: dict[str, dict[str, float | int]]) -> list[str]:
    """The figures as a Markdown table, bars beside them."""
    rows = [
        ("Spearman, median of groups", "spearman", "≥ 0.97", "{:.4f}"),
        ("the same of the plain estimate", "spearman_plain_estimate", "", "{:.4f}"),
        (f"{TOP} best among {AMONG} predicted best", "top_k_recall", "", "{:.2f}"),
        ("MAPE of EDP, median of groups", "mape", "", "{:.2%}"),
        ("error of EDP, 95th percentile", "error_p95", "", "{:.2%}"),
        ("groups", "groups", "", "{:d}"),
        ("regret, median", "regret_median", "≤ 1 %", "{:.2%}"),
        ("regret, 95th percentile", "regret_p95", "≤ 5 %", "{:.2%}"),
        ("regret, worst", "regret_worst", "", "{:.2%}"),
        ("regret of random, median", "random_regret_median", "", "{:.0%}"),
        ("better than random (or optimal)", "wins", "≥ 95 %", "{:.1%}"),
        ("searches with a proved optimum", "searches", "", "{:d}"),
        ("seconds of a search, median", "seconds_median", "", "{:.1f}"),
    ]
    scopes = list(summary)
    lines = [f"| held out | {' | '.join(scopes)} | bar |", "|---|" + "---|" * (len(scopes) + 1)]
    for title, key, bar, form in rows:
        cells = [form.format(summary[s][key]) if key in summary[s] else "-" for s in scopes]
        lines.append(f"| {title} | {' | '.join(cells)} | {bar} |")
    return lines


def write_card(summary: dict[str, dict[str, float | int]]) -> None:
    path = FOLDER / "learned.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    kept = {s: {k: v for k, v in f.items() if "seconds" not in k} for s, f in summary.items()}
    card["held_out"] = kept
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    load_model(FOLDER)
    page = FOLDER / "learned.md"
    text = page.read_text(encoding="utf-8")
    head, mark, _ = text.partition("<!-- figures: benchmarks/learned_cost.py --card -->\n")
    assert mark, page
    page.write_text(head + mark + "\n".join(table(summary)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
