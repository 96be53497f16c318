"""Machines whose arithmetic follows the operands' widths: throughput and proved mappings."""

from __future__ import annotations

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.search import search
from qmc.targets import load_target


def conv(name: str, strides: tuple[int, int] = (1, 1), **bounds: int) -> Layer:
    return Layer(name, Op.CONV, ("x",), "y", LoopBounds(**bounds), strides=strides)


MACHINES = ("tpu", "stripes", "bit-fusion", "ne16", "cortex-m7")
LAYERS = (
    conv("stem", (2, 2), K=32, C=3, P=112, Q=112, R=3, S=3),
    conv("depthwise", G=96, P=14, Q=14, R=3, S=3),
    conv("pointwise", K=96, C=576, P=14, Q=14),
    conv("dense", K=1000, C=1280),
    conv("square", K=256, C=128, P=28, Q=28, R=3, S=3),
)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("name", MACHINES)
def test_search_machine_proves_the_best_mapping_of_common_layers(name: str, layer: Layer) -> None:
    result = search(layer, Precision(4, 8, 8), load_target(name), AnalyticalModel())
    assert result.certificate.proved


@pytest.mark.parametrize(
    ("name", "bits", "cycles"),
    [
        ("tpu", (8, 8), 1),
        ("tpu", (8, 16), 2),  # half speed
        ("tpu", (16, 16), 4),  # quarter speed
        ("stripes", (8, 5), 5),  # a cycle per bit of the input
        ("stripes", (3, 16), 16),
        ("bit-fusion", (2, 2), 1 / 16),  # sixteen products at once
        ("bit-fusion", (3, 2), 1 / 8),  # 3 bits take a 4-bit multiplier
        ("bit-fusion", (8, 4), 1 / 2),
        ("bit-fusion", (16, 16), 4),  # four passes
        ("ne16", (3, 8), 3),  # a cycle per bit of the weight
        ("ne16", (8, 8), 8),
        ("cortex-m7", (2, 2), 1.73),
    ],
)
def test_throughput_follows_widths(name: str, bits: tuple[int, int], cycles: float) -> None:
    assert load_target(name).mac.cycles_at(*bits) == cycles


@pytest.mark.parametrize(
    ("name", "macs_per_cycle"),
    [
        ("tpu", 256 * 256),  # 92 TOPS at 700 MHz
        ("stripes", 2 * 4096),  # DaDianNao's 4096 at 16 bits, twice that at 8
        ("bit-fusion", 512),
        ("ne16", 9 * 16 * 9 / 8),
    ],
)
def test_peak_throughput_at_eight_bits_is_the_published_one(
    name: str, macs_per_cycle: float
) -> None:
    mac = load_target(name).mac
    assert mac.instances / mac.cycles_at(8, 8) == macs_per_cycle


@pytest.mark.parametrize(("name", "narrow"), [("stripes", (8, 4)), ("bit-fusion", (8, 4))])
def test_half_the_width_takes_half_the_cycles_where_compute_is_the_bound(
    name: str, narrow: tuple[int, int]
) -> None:
    layer, target = conv("square", K=256, C=128, P=28, Q=28, R=3, S=3), load_target(name)
    wide = search(layer, Precision(8, 8, 8), target, AnalyticalModel()).cost
    half = search(layer, Precision(*narrow, 8), target, AnalyticalModel()).cost
    assert (wide.bound, half.bound) == ("compute", "compute")
    assert wide.cycles == 2 * half.cycles
