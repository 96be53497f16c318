"""Is the exact front worth more than trials? Its hypervolume beside that of NSGA-II alone.

Usage::

    python benchmarks/front_quality.py [--shared DIR] [--network NAME ...] [--target NAME ...]
                                       [--generations N] [--times N] [--seeds N] [--images N]

``explore`` starts from the exact front of costs and sensitivities, and evolves it for a few
generations; NSGA-II alone starts from random widths and makes ``--times``
(10) as many accuracy evaluations. Both have the same trials, crossover, mutation and machine. The
hypervolume is the share of a box that a front dominates: energies from 0 to that of w8a8, points of
top-1 lost from -10 to 10; once on the images that the searches chose by, once on others that
neither saw.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from qmc.bit_choice import NO_LIMITS
from qmc.bit_front import Point, hypervolume, pareto, spread
from qmc.bit_space import BitSpace
from qmc.evolution import Evolution, evolve
from qmc.explore import SEEDS, Ground, make_laboratory, prepare, split_images
from qmc.options import ExploreOptions
from qmc.progress import Stages
from qmc.trial import Images, Laboratory

CASES = {
    "resnet8": ("resnet8_cifar10jpg", "cifar10jpg-train-calib.npz", "cifar10jpg-test-dev.npz"),
    "resnet20": ("resnet20_cifar10", "cifar10jpg-train-calib.npz", "cifar10jpg-test-dev.npz"),
    "mobilenetv2": ("mobilenetv2_1.0_imagenette", "imagenette160-dev", "imagenette160-dev"),
}
#: Candidates alive at a time, of NSGA-II alone; explore's are its plans and their neighbours.
POPULATION = 40
#: Points of top-1: the corner of the box, and losses below minus this count as this.
DROP = 10.0


def random_points(space: BitSpace, count: int, seed: int) -> list[Point]:
    """Widths drawn evenly, of those that the machine can do."""
    rng = np.random.default_rng(seed)
    found: list[Point] = []
    while len(found) < count:
        variables = space.widths.variables
        point = space.at([int(rng.integers(len(v.options))) for v in variables])
        if np.isfinite(point.cost):
            found.append(point)
    return found


def checked(laboratory: Laboratory, front: Sequence[Point], images: Images) -> list[Point]:
    """The points with their scores on other images in place of those they were chosen by."""
    scores = laboratory.try_all([point.assignment for point in front], images)
    return [replace(point, score=score) for point, (score,) in zip(front, scores, strict=True)]


def volumes(
    laboratory: Laboratory, tried: Sequence[Point], others: Images, cost: float
) -> tuple[float, float]:
    """Percent of the box that the front of all tried points dominates, on both parts."""
    front = pareto(tried)
    parts = front, checked(laboratory, front, others)
    first, second = (100 * hypervolume(part, cost, DROP, -DROP) for part in parts)
    return first, second


def compare(arguments: argparse.Namespace, ground: Ground, options: ExploreOptions) -> bool:
    """Print one line for each seed and search; whether explore is never behind."""
    space = ground.space
    laboratory = make_laboratory(options, ground)
    assert ground.eval is not None
    search, others = split_images(options.model, ground.eval, arguments.jobs)
    cost = next(point.cost for point in space.uniforms() if point.name == "w8a8")
    exact = spread(space.useful(space.front()), SEEDS)
    fine = True
    for seed in range(arguments.seeds):
        began = time.process_time()
        short = Evolution(arguments.generations, seed)
        ours = evolve(space, laboratory, search, exact, short, NO_LIMITS)
        spent = time.process_time() - began
        count = len({point.choice.options for point in ours})
        told = volumes(laboratory, ours, others, cost)
        start = random_points(space, POPULATION, seed)
        generations = -(-arguments.times * count // POPULATION) - 1
        began = time.process_time()
        alone = evolve(space, laboratory, search, start, Evolution(generations, seed), NO_LIMITS)
        slow = time.process_time() - began
        tries = len({point.choice.options for point in alone})
        behind = volumes(laboratory, alone, others, cost)
        print(
            f"  seed {seed}: explore {count} trials, {told[0]:.2f} % ({told[1]:.2f} % on others), "
            f"{spent:.0f} CPU s; NSGA-II alone {tries} trials, {behind[0]:.2f} % "
            f"({behind[1]:.2f} %), {slow:.0f} CPU s",
            flush=True,
        )
        fine &= told[0] >= behind[0]
    return fine


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    beside = Path(__file__).parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="folder that holds data/")
    parser.add_argument("--network", nargs="+", default=["resnet8"], choices=list(CASES))
    parser.add_argument("--target", nargs="+", default=["simba", "eyeriss"])
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, help="first N of each set")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.network:
            model, calib, labelled = CASES[name]
            data = arguments.shared / "data"
            for target in arguments.target:
                options = ExploreOptions(
                    model=data / "models" / f"{model}.onnx",
                    target=target,
                    output=Path(folder) / "front",
                    calib=data / "datasets" / calib,
                    eval=data / "datasets" / labelled,
                    limit=arguments.images,
                    jobs=arguments.jobs,
                )
                ground = prepare(options, Stages(Console(stderr=True)))
                print(f"{name} on {target}:", flush=True)
                fine &= compare(arguments, ground, options)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
