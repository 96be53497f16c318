"""Every layer of MobileNetV2 at every triple of widths: ``python benchmarks/width_table.py``.

Give targets as arguments; without, ``eyeriss`` and ``simba``. Prints the distinct problems and the
time of the table on two cores beside the bar of 30 s a target. Nothing is taken from the cache, and
compilation is printed apart. CPU seconds tell more than wall seconds on a busy computer.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time

from search_speed import mobilenet_v2

from qmc.cache import CACHE_VARIABLE
from qmc.cost_models.analytical import AnalyticalModel
from qmc.layer import Layer, LoopBounds, Op
from qmc.targets import Target, load_target
from qmc.width_classes import width_classes
from qmc.width_table import TABLE_WIDTHS, width_table

BAR_SECONDS = 30


def report(target: Target, layers: list[Layer], jobs: int) -> None:
    classes = width_classes(target, target.psum_bits, TABLE_WIDTHS)
    shapes = len({(layer.op, layer.bounds, layer.strides) for layer in layers})
    wall, cpu = time.perf_counter(), time.process_time()
    table = width_table(layers, target, AnalyticalModel(), jobs=jobs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    proved = sum(entry.proved for entry in table.entries.values())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{target.name}: {len(layers)} layers ({shapes} shapes) x {len(classes.triples)} triples "
        f"({len(classes.problems)} distinct problems, {shapes * len(classes.problems)} optima in "
        f"{shapes} walks): {wall:.1f} s on {jobs} cores (bar {BAR_SECONDS} s), {cpu:.1f} CPU s; "
        f"{proved} of {len(table.entries)} entries proved; peak memory {memory:.0f} MB"
    )


def compile_all(target: Target) -> None:
    began = time.perf_counter()
    layer = Layer("small", Op.CONV, ("x",), "y", LoopBounds(K=4, C=4, P=2))
    width_table([layer], target, AnalyticalModel())
    print(f"compilation, or loading what was compiled before: {time.perf_counter() - began:.1f} s")


def main() -> None:
    layers = [
        Layer(f"{index}", layer.op, layer.inputs, layer.output, layer.bounds, layer.strides)
        for index, layer in enumerate(mobilenet_v2())
    ]
    targets = [load_target(name) for name in sys.argv[1:] or ["eyeriss", "simba"]]
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        compile_all(targets[0])
        for target in targets:
            report(target, layers, jobs=2)


if __name__ == "__main__":
    main()
