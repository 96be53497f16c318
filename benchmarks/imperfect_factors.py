"""What factors that do not divide gain: ``python benchmarks/imperfect_factors.py [TARGET ...]``.

For every distinct layer of MobileNetV2 and ResNet-18 the EDP of the best perfect mapping over that
of the best mapping with short tiles, and whether that is proved. ``--factors imperfect`` searches
all short tiles, else only loops in space are cut; ``--seconds S`` limits every search.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

from search_speed import mobilenet_v2, resnet_18

from qmc.cost_models.analytical import AnalyticalModel
from qmc.imperfect_search import imperfect_search
from qmc.layer import Layer, Precision
from qmc.search import search
from qmc.search_result import Factors
from qmc.targets import load_target


def main() -> None:
    """Print a table for each machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", default=["eyeriss", "simba"])
    parser.add_argument("--factors", type=Factors, default=Factors.SPATIAL_IMPERFECT)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    layers = list({(x.bounds, x.strides): x for x in (*mobilenet_v2(), *resnet_18())}.values())
    for name in arguments.targets:
        compare(name, layers, arguments.factors, arguments.seconds)


def compare(name: str, layers: list[Layer], factors: Factors, seconds: float) -> None:
    """Print the layers that gain, and a summary."""
    target, model = load_target(name), AnalyticalModel()
    gains, proved, times = [], 0, []
    for layer in layers:
        perfect = search(layer, Precision(), target, model).certificate.best
        started = time.process_time()
        found = imperfect_search(
            *(layer, Precision(), target, model), factors=factors, budget_seconds=seconds
        )
        times.append(time.process_time() - started)
        certificate = found.certificate
        gains.append(perfect / certificate.best)
        proved += certificate.proved
        if gains[-1] > 1.0005:
            told = "proved" if certificate.proved else f"gap {100 * certificate.gap:.0f} %"
            print(f"  {layer.name:32} x{gains[-1]:.3f}  {told}", flush=True)
    mean = math.exp(statistics.fmean(math.log(gain) for gain in gains))
    print(
        f"{name}, {factors}: EDP better by x{mean:.3f} on average, x{max(gains):.3f} at most, on "
        f"{sum(gain > 1.0005 for gain in gains)} of {len(gains)} layers; {proved} proved; "
        f"{statistics.median(times):.1f} s median, {max(times):.1f} s worst",
        flush=True,
    )


if __name__ == "__main__":
    main()
