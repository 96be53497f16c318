"""The study of the first published system of this kind, repeated: energy against accuracy.

Usage::

    python benchmarks/paper_study.py [--shared DIR] [-o DIR] [--network NAME ...]
                                     [--target NAME ...] [--points N] [--images N]

MobileNetV1 and MobileNetV2 on ``eyeriss`` and ``simba``, uniform widths 2 to 8 beside mixed ones,
post-training. Klhufek et al. 2024 (arXiv 2404.05368) pack partial sums at the output's width and
price a depthwise layer as a dense one; each is done here both ways (``--psum output`` and honest,
true and dense-coded), and every number names its rule. Accuracy is measured: integer networks on up
to 256 labelled images, that the points are chosen by, and up to 1,000 others. *No drop* is the
cheapest point tried that gets as many of the former right as the float network; what it loses on
the latter stands beside. The paper's "up to 37 %" names neither its baseline nor its rule, so both
8 and 16 bits stand beside. Rows are printed as they are done, and what takes long is kept in qmc's
cache: a study that was stopped goes on where it was. Written: study.csv, study.md, and a picture
for each network, machine and coding of depthwise layers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from qmc.bit_costs import LayerCosts, machine_costs
from qmc.bit_front import Point, spread
from qmc.bit_problem import SENSITIVITY
from qmc.bit_space import BitSpace, make_space
from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.streaming import streaming_cost
from qmc.explore import Ground, make_laboratory, prepare, split_images
from qmc.front_plot import plot_front
from qmc.layer import Layer, LoopBounds, Precision
from qmc.network import Network
from qmc.options import ExploreOptions
from qmc.progress import Stages
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.trial import Images, Laboratory
from qmc.width_table import width_table

NETWORKS = {
    "mobilenetv1": ("mobilenetv1_075_imagenet", "imagenet-sample-dev"),
    "mobilenetv2": ("mobilenetv2_1.0_imagenette", "imagenette160-dev"),
}
PAPER = "37 %"
UNIFORM = range(8, 1, -1)
#: Nats that mostly lose nothing.
FIRST_GUESS = 0.01


@dataclass(frozen=True, slots=True)
class Row:
    """One machine, network and pair of rules; energies in µJ, losses in points of top-1.

    Attributes:
        network, target, psum, depthwise: what was compared under which rule.
        uniform: energy by width.
        at_16: energy at 16 bits.
        mixed: the cheapest mixed point without a drop.
        same: the cheapest uniform width without a drop; None where there is none.
        points: of the exact front.
    """

    network: str
    target: str
    psum: str
    depthwise: str
    uniform: dict[int, float]
    at_16: float
    mixed: Point
    same: Point | None
    points: int

    @property
    def energy(self) -> float:
        """Of the mixed point."""
        return self.mixed.cost / 1e6

    def saved(self, baseline: float) -> float:
        """Percent of a baseline's energy."""
        return 100 * (1 - self.energy / baseline)

    def cells(self) -> list[str]:
        """As text."""
        scores = self.mixed.score, self.mixed.check
        losses = ("-" if score is None else f"{score.drop:+.2f}" for score in scores)
        same = "none" if self.same is None else f"{self.same.name}: {self.same.cost / 1e6:.0f}"
        return [
            *(self.network, self.target, self.psum, self.depthwise),
            *(f"{self.uniform[b]:.0f}" if b in self.uniform else "-" for b in UNIFORM),
            *(f"{self.at_16:.0f}", same, f"{self.energy:.0f}", *losses),
            *(f"{self.saved(b):.1f}" for b in (self.uniform[8], self.at_16)),
        ]


HEAD = [
    *("network", "machine", "psum", "depthwise", *(f"w{b}a{b}" for b in UNIFORM)),
    *("w16a16", "uniform, no drop", "mixed, no drop", "lost", "lost on others"),
    *("% saved of w8a8", "% saved of w16a16"),
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


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Makes trials of one network, and says so."""

    laboratory: Laboratory
    search: Images
    others: Images

    def measured(self, points: Sequence[Point]) -> list[Point]:
        """The points with their scores on the images that are chosen by."""
        scores = self.laboratory.try_all([p.assignment for p in points], self.search)
        return [replace(p, score=score) for p, (score,) in zip(points, scores, strict=True)]

    def checked(self, point: Point) -> Point:
        """A point with its score on the others too."""
        ((check,),) = self.laboratory.try_all([point.assignment], self.others)
        return replace(point, check=check)


def measured_front(space: BitSpace, trials: Trials, count: int, guess: float) -> list[Point]:
    """Points of the exact front, least loss first: some at even distances, then a search.

    Sought is the last point without a drop, from the one of a sensitivity on, in growing steps and
    then by bisection, to a thirtieth of the front.
    """
    front = space.useful(space.front())
    found = {}

    def loses_nothing(number: int) -> bool:
        if number not in found:
            (found[number],) = trials.measured([front[number]])
        return lost(found[number]) <= 0.0

    if count:
        for point in spread(front, count):
            loses_nothing(front.index(point))
    least, step = max(1, len(front) // 32), max(1, len(front) // 16)
    good = max((i for i, p in enumerate(front) if sensitivity(p) <= guess), default=0)
    bad = len(front)
    while good > 0 and not loses_nothing(good):
        bad, good, step = good, max(0, good - step), 2 * step
    step = max(1, len(front) // 16)
    while good + step < bad:
        if loses_nothing(good + step):
            good, step = good + step, 2 * step
        else:
            bad = good + step
    while bad - good > least:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if loses_nothing(middle) else (good, middle)
    loses_nothing(good)
    return [found[number] for number in sorted(found)]


def sensitivity(point: Point) -> float:
    """Predicted, nats."""
    return point.choice.totals[SENSITIVITY]


def lost(point: Point) -> float:
    """Points of top-1 lost on the images that are chosen by."""
    assert point.score is not None
    return point.score.drop


def no_drop(points: Sequence[Point]) -> Point | None:
    """The cheapest that loses nothing."""
    return min((p for p in points if lost(p) <= 0.0), key=lambda p: p.cost, default=None)


Series = list[tuple[str, list[tuple[float, float, str]], bool]]


def one_rule(
    ground: Ground,
    trials: Trials,
    arguments: argparse.Namespace,
    rules: tuple[PsumRule, bool],
    guess: float,
) -> tuple[Row, Series]:
    """One row of the table, and what it adds to the picture.

    Args:
        ground: the network on its machine.
        trials: makes them.
        arguments: of the command.
        rules: of partial sums, and whether depthwise layers are coded as dense ones.
        guess: a sensitivity that may lose nothing.
    """
    rule, dense = rules
    target, coding = ground.target, "dense-coded" if dense else "true"
    began = time.process_time()
    costs, at_16 = costs_under(ground.network, target, rule, dense, arguments.jobs)
    told(f"costs on {target.name}, psum {rule.value}, {coding}", began)
    space = make_space(ground.network, target, costs, ground.space.sensitivities, Objective.ENERGY)
    names = {f"w{b}a{b}": b for b in UNIFORM}
    equal = [p for p in space.uniforms() if p.name in names]
    began = time.process_time()
    uniforms = trials.measured(equal)
    front = measured_front(space, trials, arguments.points, guess)
    mixed = trials.checked(no_drop(front) or front[0])
    told(f"{len(uniforms) + len(front)} trials", began)
    row = Row(
        *(ground.network.name, target.name, rule.value, coding),
        *({names[p.name]: p.cost / 1e6 for p in equal}, at_16),
        *(mixed, no_drop(uniforms), len(space.front())),
    )
    label = f"psum {rule.value}, {coding}"
    return row, [
        (f"mixed, {label}", [(p.cost / 1e6, lost(p), "") for p in front], True),
        (f"uniform, {label}", [(p.cost / 1e6, lost(p), p.name) for p in uniforms], False),
    ]


def told(what: str, began: float) -> None:
    print(f"# {what}: {time.process_time() - began:.0f} CPU s", file=sys.stderr, flush=True)


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
    parser.add_argument("--points", type=int, default=6, help="of every front, for the picture")
    parser.add_argument("--images", type=int, help="first N of each set")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def study(arguments: argparse.Namespace, name: str) -> list[Row]:
    """All machines and rules of one network."""
    options = explore_options(arguments, name, arguments.target[0], arguments.output)
    began = time.process_time()
    ground = prepare(options, Stages(Console(stderr=True)))
    assert ground.eval is not None
    parts = split_images(options.model, ground.eval, arguments.jobs)
    trials = Trials(make_laboratory(options, ground), *parts)
    told(f"{name}: costs, fits and sensitivities", began)
    rows: list[Row] = []
    for machine in arguments.target:
        place = replace(ground, target=load_target(machine))
        for dense in (True, False):
            series: Series = []
            for rule in (PsumRule.OUTPUT, PsumRule.HONEST):
                guess = sensitivity(rows[-1].mixed) if rows else FIRST_GUESS
                row, added = one_rule(place, trials, arguments, (rule, dense), guess)
                print(" | ".join(row.cells()), flush=True)
                rows.append(row)
                series += added
            labels = ("energy, µJ per inference", "top-1 lost, points")
            coding = "dense-coded" if dense else "true"
            title = f"{name} on {machine}, {coding} depthwise"
            plot_front(arguments.output / f"{name}-{machine}-{coding}", title, labels, series)
    return rows


def main() -> int:
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(" | ".join(HEAD), flush=True)
    rows = [row for name in arguments.network for row in study(arguments, name)]
    lines = [HEAD, *(row.cells() for row in rows)]
    table = "".join(",".join(line) + "\n" for line in (map(_quoted, cells) for cells in lines))
    (arguments.output / "study.csv").write_text(table, encoding="utf-8")
    marked = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in marked)
    (arguments.output / "study.md").write_text(text, encoding="utf-8")
    for baseline, energy in (
        ("w8a8", lambda row: row.uniform[8]),
        ("w16a16", lambda row: row.at_16),
    ):
        best = max(rows, key=lambda row: row.saved(energy(row)))
        print(
            f"most saved of {baseline} at no drop: {best.saved(energy(best)):.1f} % "
            f"({best.network}, {best.target}, psum {best.psum}, {best.depthwise} depthwise); "
            f"the paper: up to {PAPER}"
        )
    return 0


def _quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell else cell


if __name__ == "__main__":
    sys.exit(main())
