"""A small network with every part a report has, compiled once for all tests that read builds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from qmc.compiler import Plan


def small_model(folder: Path) -> Path:
    """Convolution, depthwise convolution, residual sum, pool, classifier."""
    graph = OnnxGraph((1, 3, 10, 7))
    stem = graph.node("Conv", "x", graph.random(8, 3, 3, 3), name="stem", pads=[1, 1, 1, 1])
    stem = graph.node("Relu", stem)
    depth = graph.random(8, 1, 3, 3)
    side = graph.node("Conv", stem, depth, name="dw", group=8, pads=[1, 1, 1, 1])
    both = graph.node("Add", stem, side, name="sum")
    flat = graph.node("Flatten", graph.node("GlobalAveragePool", both, name="pool"))
    return graph.save(graph.node("Gemm", flat, graph.random(8, 5), name="fc"), folder)


def small_images(folder: Path) -> Path:
    """Six images of noise with labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 7, 3), dtype=np.uint8)
    path = folder / "images.npz"
    np.savez(path, images=pixels, labels=np.arange(6) % 5)
    return path


def compile_small(folder: Path) -> Plan:
    """Into ``folder/build``."""
    import qmc  # not before the cache of this run is chosen

    images = small_images(folder)
    options: dict[str, Any] = {"scheme": "w4a8", "calib": images, "eval": images, "jobs": 1}
    return qmc.compile(small_model(folder), "eyeriss", folder / "build", **options)
