"""Random valid networks: they compile, and every integer of the C and of ONNX Runtime is right."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from qmc.arithmetic import Rounding
from qmc.compiler import compile_model
from qmc.options import Mapper
from tests.onnx_graph import OnnxGraph
from tests.test_import_random import STEPS, Value, step
from tests.test_qdq_export import assert_same_integers

TARGETS = ("eyeriss", "simba", "cortex-m7", "x86-avx2", "c99", "host")
#: Steps beyond those of the importer's own test.
_MORE = ("leaky", "shuffle", "transposed", "halves", "upward", "large")
_OPSETS = (20, 21)


def random_network(dice: random.Random, folder: Path) -> Path:
    """A network of 1 to 12 random operators on an image of random size."""
    shape = (1, dice.randint(1, 9), dice.randint(3, 16), dice.randint(3, 16))
    g = OnnxGraph(shape, seed=dice.randrange(1 << 30), opset=dice.choice(_OPSETS))
    values: list[Value] = [("x", *shape[1:])]
    for _ in range(dice.randint(1, 12)):
        source = dice.choice(values[-2:])
        kind = dice.choice((*STEPS, *STEPS, *_MORE))
        if source[1] > 48 and kind == "join":
            kind = "clamp"
        new = _more(g, kind, source, dice) if kind in _MORE else step(g, kind, source, values)
        values.append(new)
    return g.save(_end(g, values[-1], dice), folder)


def _more(g: OnnxGraph, kind: str, value: Value, dice: random.Random) -> Value:
    x, channels, height, width = value
    match kind:
        case "leaky":
            out = g.node("LeakyRelu", x, alpha=dice.choice((0.01, 0.3)))
        case "shuffle" if channels % 2 == 0:
            apart = g.const(np.array([1, 2, channels // 2, height, width]))
            turned = g.node("Transpose", g.node("Reshape", x, apart), perm=[0, 2, 1, 3, 4])
            out = g.node("Reshape", turned, g.const(np.array([1, channels, height, width])))
        case "transposed":
            turned = g.node("Transpose", x, perm=[0, 1, 3, 2])
            return turned, channels, width, height
        case "halves":
            out = g.node("Add", x, x)
        case "large":
            weights = g.random(channels, channels, 1, 1, scale=dice.choice((1e-3, 30.0)))
            out = g.node("Conv", x, weights, g.random(channels, scale=dice.choice((1e-4, 100.0))))
        case _:
            out = g.node("Mul", g.node("Sigmoid", x), x)
    return out, channels, height, width


def _end(g: OnnxGraph, value: Value, dice: random.Random) -> str:
    x, channels, height, width = value
    if dice.random() < 0.2:
        return g.node("Conv", x, g.random(3, channels, 1, 1))
    size = channels
    if dice.random() < 0.5 or channels * height * width > 4096:
        x = g.node("GlobalAveragePool", x)
    else:
        size *= height * width
    flat = g.node("Flatten", x)
    out = g.node("Gemm", flat, g.random(4, size, scale=0.1), g.random(4), transB=1)
    return g.node("Softmax", out, axis=1) if dice.random() < 0.3 else out


def network_case(dice: random.Random) -> Callable[[], None]:
    """Compile a random network in the current folder; raises where anything is not exact."""
    widths = dice.choice(("w8a8", "w4a4", "w3a5", "w2a3", "w7a6", "w5a8", "w8a2"))
    rounding = dice.choice((Rounding.HALF_UP, Rounding.FLOOR))
    target, seed = dice.choice(TARGETS), dice.randrange(1 << 30)

    def work() -> None:
        path = random_network(random.Random(seed), Path.cwd())
        shape = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
        data = np.random.default_rng(seed).standard_normal((4, *shape[1:])).astype(np.float32)
        np.save("calib.npy", data)
        options: dict[str, Any] = {"scheme": widths, "calib": Path("calib.npy"), "jobs": 1}
        options |= {"mapper": Mapper.RANDOM, "rounding": rounding, "golden": 2}
        plan = compile_model(path, target, "build", **options)
        exact = plan.output / "network.onnx"
        if exact.is_file():
            assert_same_integers(onnx.load(exact), plan.integer, data)

    return work
