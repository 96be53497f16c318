"""The study of the first published system of this kind, repeated: energy against accuracy.

Usage::

    python benchmarks/paper_study.py [--shared DIR] [-o DIR] [--network NAME ...]
                                     [--target NAME ...] [--unmeasured] [--images N]

MobileNetV1 and MobileNetV2 on ``eyeriss`` and ``simba``, uniform widths 2 to 8 beside mixed ones,
post-training. Klhufek et al. 2024 (arXiv 2404.05368) pack partial sums at the output's width and
price a depthwise layer as a dense one; each is done here both ways (``--psum output`` and honest,
true and dense-coded), and every number names its rule. *No drop* is measured: the cheapest point of
the exact front whose integer program is as good as float on the images it was chosen by; beside it
what it loses on the others. The paper's "up to 37 %" names neither its baseline nor its rule, so
both 8 and 16 bits stand beside. Written: study.csv, study.md, and a picture for each machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from qmc.auto_scheme import cheapest_within
from qmc.bit_costs import LayerCosts, machine_costs
from qmc.bit_front import Point
from qmc.bit_problem import ENERGY
from qmc.bit_space import BitSpace, make_space
from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.streaming import streaming_cost
from qmc.explore import Ground, make_laboratory, prepare, split_images
from qmc.front_plot import plot_front
from qmc.layer import Layer, LoopBounds, Precision
from qmc.network import Network
from qmc.options import ExploreOptions
from qmc.progress import Stages, no_tick
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.trial import Images, Laboratory
from qmc.width_table import width_table

NETWORKS = {
    "mobilenetv1": ("mobilenetv1_075_imagenet", "imagenet-sample-dev"),
    "mobilenetv2": ("mobilenetv2_1.0_imagenette", "imagenette160-dev"),
}
PAPER = "37 %"


@dataclass(frozen=True, slots=True)
class Row:
    """One machine, network and pair of rules; energies in µJ."""

    network: str
    target: str
    psum: str
    depthwise: str
    uniform: dict[int, float]
    at_16: float
    mixed: float
    lost: float | None
    lost_on_others: float | None
    points: int

    def cells(self) -> list[str]:
        """As text."""
        saved_8, saved_16 = 1 - self.mixed / self.uniform[8], 1 - self.mixed / self.at_16
        losses = ("-" if v is None else f"{v:+.2f}" for v in (self.lost, self.lost_on_others))
        return [
            *(self.network, self.target, self.psum, self.depthwise),
            *(f"{self.uniform[b]:.0f}" for b in sorted(self.uniform, reverse=True)),
            *(f"{self.at_16:.0f}", f"{self.mixed:.0f}", *losses),
            *(f"{100 * saved_8:.1f}", f"{100 * saved_16:.1f}", str(self.points)),
        ]


HEAD = [
    *("network", "machine", "psum", "depthwise", *(f"w{b}a{b}" for b in range(8, 1, -1))),
    *("w16a16", "mixed, no drop", "lost", "lost on others"),
    *("% saved of 8 bit", "% saved of 16 bit", "points of the front"),
]


def coded_dense(layer: Layer) -> Layer:
    """A depthwise layer as the paper's files describe it: every output reads every channel."""
    b = layer.bounds
    if not layer.is_depthwise:
        return layer
    bounds = LoopBounds(b.N, 1, b.G * b.K, b.G * b.C, b.P, b.Q, b.R, b.S)
    return replace(layer, bounds=bounds)


def with_layers(network: Network, dense: bool) -> Network:
    layers = tuple(coded_dense(layer) for layer in network.layers) if dense else network.layers
    return replace(network, layers=layers)


def energy_at_16(network: Network, target: Target, model: AnalyticalModel, jobs: int) -> float:
    """µJ of the network at 16 bits everywhere."""
    table = width_table(network.layers, target, model, Objective.ENERGY, (16,), jobs=jobs)
    others = [layer for layer in network.layers if not layer.has_weights]
    wide = Precision(16, 16, 16, target.psum_bits)
    total = sum(entry.energy_pj for entry in table.entries.values())
    return (total + sum(streaming_cost(layer, wide, target).energy_pj for layer in others)) / 1e6


def costs_under(
    network: Network, target: Target, rule: PsumRule, dense: bool, jobs: int
) -> tuple[Mapping[str, LayerCosts], float]:
    """Costs at all widths, and µJ at 16 bits."""
    model = AnalyticalModel(psum=rule)
    priced = with_layers(network, dense)
    costs = machine_costs(priced, target, model, Objective.ENERGY, jobs=jobs)
    return costs, energy_at_16(priced, target, model, jobs)


def no_drop(
    space: BitSpace, laboratory: Laboratory | None, images: tuple[Images, Images] | None
) -> tuple[Point, int]:
    """The cheapest point without a drop, measured where it can be, and the size of the front."""
    front = space.front()
    points = space.useful(front)
    if laboratory is None or images is None:
        within = [p for p in points if p.choice.totals["sensitivity"] <= 0.01]
        return within[-1], len(front)
    index = cheapest_within(laboratory, points, images[0], 0.0, no_tick)
    ((search, check),) = laboratory.try_all([points[index].assignment], *images)
    return replace(points[index], score=search, check=check), len(front)


def study(
    arguments: argparse.Namespace, name: str, target: Target, ground: Ground, folder: Path
) -> list[Row]:
    """All rules of one network on one machine."""
    laboratory, images = None, None
    if not arguments.unmeasured and ground.eval is not None:
        options = explore_options(arguments, name, target.name, folder)
        laboratory = make_laboratory(options, ground)
        images = split_images(options.model, ground.eval, arguments.jobs)
    rows, series = [], []
    for rule in (PsumRule.OUTPUT, PsumRule.HONEST):
        for dense in (True, False):
            costs, at_16 = costs_under(ground.network, target, rule, dense, arguments.jobs)
            sensitivities = ground.space.sensitivities
            space = make_space(ground.network, target, costs, sensitivities, Objective.ENERGY)
            equal = {p.name: p for p in space.uniforms()}
            uniforms = {b: equal[f"w{b}a{b}"] for b in range(2, 9) if f"w{b}a{b}" in equal}
            point, size = no_drop(space, laboratory, images)
            coding = "dense-coded" if dense else "true"
            lost = None if point.score is None else point.score.drop
            others = None if point.check is None else point.check.drop
            energies = {b: p.cost / 1e6 for b, p in uniforms.items()}
            mixed = point.choice.totals[ENERGY] / 1e6
            row = Row(
                *(name, target.name, rule.value, coding, energies, at_16),
                *(mixed, lost, others, size),
            )
            print(" | ".join(row.cells()), flush=True)
            rows.append(row)
            curve = [(p.cost / 1e6, p.loss, "") for p in space.useful(space.front())]
            series.append((f"mixed, psum {rule.value}, {coding}", curve, True))
            marks = [(p.cost / 1e6, p.loss, p.name) for p in space.useful(list(uniforms.values()))]
            series.append((f"uniform, psum {rule.value}, {coding}", marks, False))
    title = f"{name} on {target.name}"
    labels = ("energy, µJ per inference", "sensitivity, nats")
    plot_front(folder / f"{name}-{target.name}", title, labels, series)
    return rows


def explore_options(
    arguments: argparse.Namespace, name: str, target: str, folder: Path
) -> ExploreOptions:
    model, images = NETWORKS[name]
    data = arguments.shared / "data"
    return ExploreOptions(
        model=data / "models" / f"{model}.onnx",
        target=target,
        output=folder / "build",
        calib=data / "datasets" / images,
        eval=data / "datasets" / images,
        limit=arguments.images,
        jobs=arguments.jobs,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    beside = Path(__file__).parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="folder that holds data/")
    parser.add_argument("-o", "--output", type=Path, default=Path("study"))
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--target", nargs="+", default=["eyeriss", "simba"])
    parser.add_argument("--unmeasured", action="store_true", help="sensitivities alone decide")
    parser.add_argument("--images", type=int, help="first N of each set")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(" | ".join(HEAD), flush=True)
    rows = []
    for name in arguments.network:
        for machine in arguments.target:
            began = time.monotonic()
            options = explore_options(arguments, name, machine, arguments.output)
            ground = prepare(options, Stages(Console(stderr=True)))
            rows += study(arguments, name, load_target(machine), ground, arguments.output)
            print(f"# {name} on {machine}: {time.monotonic() - began:.0f} s", flush=True)
    lines = [HEAD, *(row.cells() for row in rows)]
    table = "".join(",".join(line) + "\n" for line in (map(_quoted, cells) for cells in lines))
    (arguments.output / "study.csv").write_text(table, encoding="utf-8")
    marked = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in marked)
    (arguments.output / "study.md").write_text(text, encoding="utf-8")
    best = max(rows, key=lambda row: 1 - row.mixed / row.uniform[8])
    how = "not measured" if best.lost is None else f"{best.lost:+.2f} points lost"
    print(
        f"most saved at no drop ({how}): {100 * (1 - best.mixed / best.uniform[8]):.1f} % of "
        f"uniform 8 bit, {100 * (1 - best.mixed / best.at_16):.1f} % of 16 bit ({best.network}, "
        f"{best.target}, psum {best.psum}, {best.depthwise} depthwise); the paper: up to {PAPER}"
    )
    return 0


def _quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell else cell


if __name__ == "__main__":
    sys.exit(main())
