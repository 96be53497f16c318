"""Does the learned order of measurements find faster kernels than random order does?

    python benchmarks/tune_order.py                         replay the records beside this file
    python benchmarks/tune_order.py --records FILE
    python benchmarks/tune_order.py --record FILE --models MODEL.onnx... [--scheme w8a8 w4a8]

Recording measures up to ``--most`` random kernels of ``--layers`` layers of each model, drawn at
random among those with choices; layers that stand in FILE are not measured again. Replaying
measures nothing: both orders see the same recorded figures, so that a busy machine matters little.
Layers are tuned together as ``qmc tune`` does it, eight kernels of each in a round, 5 seeds; cold,
and with the records of half of the layers known beforehand. The columns are geometric means over
layers of (best found / best recorded), so 1 is all that there is to find. Exit status 1 if the
learned order is not ahead of random order.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from latency import integer_network

from qmc.codegen import make_program
from qmc.targets import load_target
from qmc.tuning.features import describe
from qmc.tuning.problem import Problem, problems_of
from qmc.tuning.ranking import Ranking, next_batch
from qmc.tuning.records import Record, knobs_text
from qmc.tuning.runner import SEARCH_EFFORT, LocalRunner, measure
from qmc.tuning.timing import Timing, geometric_mean
from qmc.tuning.tuner import BATCH, build_all

RECORDS = Path(__file__).with_name("tune_order.json.gz")
SEEDS = 5
ROUNDS = 4
Layer = list[Record]


def replay(layers: list[Layer], seed: int, learned: bool, known: list[Record]) -> list[float]:
    """Best found over best recorded after each round, the geometric mean over layers."""
    random = np.random.default_rng(seed)
    waiting = [list(layer) for layer in layers]
    found: list[Layer] = [[] for _ in layers]
    means = []
    for _ in range(ROUNDS):
        for at, rest in enumerate(waiting):
            seen = [record for layer in found for record in layer]
            ranking = Ranking([*known, *seen] if learned else [], seed)
            rows = [record.features for record in rest]
            for place in sorted(next_batch(ranking, rows, BATCH, random), reverse=True):
                found[at].append(rest.pop(place))
        shares = [best(part) / best(whole) for part, whole in zip(found, layers, strict=True)]
        means.append(geometric_mean(shares))
    return means


def best(layer: Layer) -> float:
    return min(record.timing.ratio for record in layer)


def compare(layers: list[Layer], warm: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean curves of random and learned order."""
    curves: dict[bool, list[list[float]]] = {False: [], True: []}
    for seed in range(SEEDS):
        for learned in (False, True):
            if warm:  # half of the layers are of another network, tuned before
                order = np.random.default_rng(seed).permutation(len(layers))
                half = len(layers) // 2
                known = [record for at in order[:half] for record in layers[at]]
                chosen = [layers[at] for at in order[half:]]
            else:
                known, chosen = [], layers
            curves[learned].append(replay(chosen, seed, learned, known))
    return np.mean(curves[False], axis=0), np.mean(curves[True], axis=0)


def read_rows(path: Path) -> list[list[Any]]:
    rows: list[list[Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return rows


def write_rows(path: Path, rows: list[list[Any]]) -> None:
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path.write_bytes(gzip.compress(f"[{text}]\n".encode(), mtime=0))


def load(path: Path) -> list[Layer]:
    layers: dict[str, Layer] = {}
    for problem, knobs, features, ns, ratio in read_rows(path):
        timing = Timing(ns, ratio, "")
        layers.setdefault(problem, []).append(Record(problem, knobs, tuple(features), timing))
    return [layer for layer in layers.values() if len(layer) > BATCH * ROUNDS]


def record(options: argparse.Namespace) -> None:
    path: Path = options.record
    rows = read_rows(path) if path.exists() else []
    known = {row[0] for row in rows}
    target, random = load_target(options.target), np.random.default_rng(0)
    for model in options.models:
        for scheme in options.scheme:
            network = integer_network(model, scheme)
            program = make_program(network, {}, target.kernels)
            traffic = program.flash_bytes + program.ram_peak_bytes
            problems = [
                problem
                for problem in problems_of(network, target.kernels, traffic)
                if len(problem.candidates()) > BATCH * ROUNDS
            ]
            for at in random.permutation(len(problems))[: options.layers]:
                if problems[at].key not in known:
                    known.add(problems[at].key)
                    rows += record_layer(problems[at], options.most, random)
                    write_rows(path, rows)
                    print(f"{model.stem} {scheme} {problems[at].names[0]}: {len(rows)} records")


def record_layer(problem: Problem, most: int, random: np.random.Generator) -> list[list[Any]]:
    candidates = problem.candidates()[1:]
    chosen = [candidates[at] for at in random.permutation(len(candidates))[:most]]
    rows: list[list[Any]] = []
    for first in range(0, len(chosen), BATCH):
        batch = chosen[first : first + BATCH]
        with tempfile.TemporaryDirectory(prefix="qmc-order-") as folder:
            ((program, executable),) = build_all([(problem, batch)], Path(folder), 1)
            timings = measure(
                program, executable, LocalRunner(), problem.sweep_bytes, SEARCH_EFFORT
            )
        for knobs, timing in zip(batch, timings[1:], strict=True):
            features = [round(value, 4) for value in describe(problem, knobs)]
            figures = [round(timing.ns, 1), round(timing.ratio, 5)]
            rows.append([problem.key, knobs_text(knobs), features, *figures])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--record", type=Path, help="measure, and write to this file")
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--scheme", nargs="*", default=["w8a8", "w4a8"])
    parser.add_argument("--target", default="host")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--most", type=int, default=64)
    options = parser.parse_args()
    if options.record:
        record(options)
        return
    layers = load(options.records)
    print(f"{len(layers)} layers, {sum(map(len, layers))} recorded kernels, {SEEDS} seeds")
    ahead = True
    for title, warm in (("cold", False), ("other layers known", True)):
        random, learned = compare(layers, warm)
        print(f"{title}: measured per layer {[BATCH * (at + 1) for at in range(ROUNDS)]}")
        print(f"  random  {np.array2string(random, precision=4)}")
        print(f"  learned {np.array2string(learned, precision=4)}")
        ahead &= bool(learned[1:].mean() < random[1:].mean())
    sys.exit(0 if ahead else 1)


if __name__ == "__main__":
    main()
