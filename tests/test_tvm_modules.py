"""Modules of all kinds: what can be taken is taken, the rest computes what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm.script import ir as I
from tvm.script import relax as R

import qmc
from qmc.errors import ModelError, SchemeError
from qmc.passes.region_module import regions
from tests.test_tvm_partition import noise, sine_in_the_middle
from tests.tvm_run import integer_networks, run

WEIGHTS = 0.3 * noise(2, 3, 1, 2)
POINTWISE = 0.3 * noise(3, 4, 1, 1)
TRIPLE, TABLE, DENSE = np.full((1, 4), 3), noise(100, 8), 0.2 * noise(32, 5)
TWO = np.ones(2, "f4")
SQUARE, ONES, ZEROS = 0.3 * noise(8, 8), np.ones(8, "f4"), np.zeros(8, "f4")
FILTER = 0.2 * noise(4, 8, 3)


@I.ir_module
class WithoutDataflow:
    @R.function
    def main(x: R.Tensor((1, 3, 4, 5), "float32")):
        y = R.nn.conv2d(x, R.const(WEIGHTS))
        z = R.sin(y)
        return z


@I.ir_module
class SymbolicBatch:
    @R.function
    def main(x: R.Tensor(("n", 3, 4, 5), "float32")):
        with R.dataflow():
            c = R.add(R.nn.conv2d(x, R.const(WEIGHTS)), R.const(TWO.reshape(1, 2, 1, 1)))
            n = R.nn.batch_norm(c, R.const(TWO), R.const(TWO), R.const(TWO), R.const(TWO), axis=1)
            y = R.nn.relu(n[0])
            w = R.multiply(R.mean(y, axis=[2, 3]), R.const(2.0, "float32"))
            p = R.permute_dims(R.permute_dims(y, [0, 2, 3, 1]), [0, 3, 1, 2])
            R.output(w, p)
        return (w, p)


@I.ir_module
class BatchOfFour:
    @R.function
    def main(x: R.Tensor((4, 3, 4, 5), "float32")):
        with R.dataflow():
            y = R.nn.relu6(R.nn.conv2d(x, R.const(WEIGHTS)))
            w = R.multiply(R.mean(y, axis=[2, 3]), R.const(2.0, "float32"))
            R.output(w)
        return w


@I.ir_module
class SplitAndJoined:
    @R.function
    def main(x: R.Tensor((1, 4, 4, 5), "float32")):
        with R.dataflow():
            parts = R.split(x, 2, axis=1)
            first = parts[0]
            second = parts[1]
            joined = R.concat([second, first], axis=1)
            weights = R.const(POINTWISE)
            y = R.nn.conv2d(joined, weights)
            half = R.astype(y, "float16")
            R.output(y, half)
        return (y, half)


@I.ir_module
class Embedding:
    @R.function
    def main(x: R.Tensor((1, 4), "int64")):
        with R.dataflow():
            a = R.multiply(x, R.const(TRIPLE, "int64"))
            b = R.minimum(R.maximum(a, R.const(5, "int64")), R.const(7, "int64"))
            c = R.take(R.const(TABLE), R.reshape(b, (4,)), axis=0)
            d = R.matmul(R.reshape(c, (1, 32)), R.const(DENSE))
            R.output(d)
        return d


@I.ir_module
class Attention:
    @R.function
    def main(x: R.Tensor((1, 6, 8), "float32")):
        with R.dataflow():
            q = R.matmul(x, R.const(SQUARE))
            s = R.nn.softmax(R.matmul(q, R.permute_dims(x, [0, 2, 1])))
            n = R.nn.layer_norm(R.matmul(s, x), R.const(ONES), R.const(ZEROS), axes=[2])
            y = R.matmul(R.mean(R.nn.gelu(n), axis=[1]), R.const(SQUARE))
            R.output(y)
        return y


@I.ir_module
class Signals:
    @R.function
    def main(x: R.Tensor((1, 8, 16), "float32")):
        with R.dataflow():
            a = R.nn.relu(R.nn.conv1d(x, R.const(FILTER), padding=[1, 1]))
            b = R.sin(a)
            c = R.concat([b, b], axis=1)
            d = R.nn.conv1d(c, R.const(FILTER))
            R.output(d)
        return d


@I.ir_module
class Identity:
    @R.function
    def main(x: R.Tensor((1, 6, 16), "float32")):
        return x


@pytest.mark.parametrize(
    ("module", "shape", "count"),
    [
        (WithoutDataflow, (1, 3, 4, 5), 1),
        (SymbolicBatch, (5, 3, 4, 5), 0),
        (BatchOfFour, (4, 3, 4, 5), 0),
        (SplitAndJoined, (1, 4, 4, 5), 1),
        (Embedding, (1, 4), 1),
        (Attention, (1, 6, 8), 1),
        (Signals, (1, 8, 16), 2),
        (Identity, (1, 6, 16), 0),
    ],
)
def test_module_computes_what_it_did(
    module: Any, shape: tuple[int, ...], count: int, caplog: pytest.LogCaptureFixture
) -> None:
    is_integer = module is Embedding
    data = np.arange(4).reshape(shape) if is_integer else noise(*shape)
    many = np.repeat(data, 3, axis=0) if shape[0] == 1 else None
    calibration = None if count == 0 else many
    annotated = qmc.partition_for_qmc(module, "eyeriss", calibration=calibration, codegen=False)
    assert len(regions(annotated)) == count
    assert ("no layer is taken" in caplog.text) == (count == 0)
    partitioned = qmc.partition_for_qmc(module, "eyeriss", calibration=calibration)
    found, expected = run(partitioned, data), run(module, data)
    if not isinstance(found, list):
        found, expected = [found], [expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        tolerance = (0.03 if count else 1e-6) * np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=0)


@I.ir_module
class Branch:
    @R.function
    def main(x: R.Tensor((1, 3, 4, 5), "float32"), c: R.Tensor((), "bool")):
        if c:
            z = R.sin(x)
        else:
            z = R.cos(x)
        return z


@I.ir_module
class Cast:
    @R.function
    def main(x: R.Tensor(ndim=4, dtype="float32")):
        with R.dataflow():
            a = R.match_cast(x, R.Tensor((1, 3, 4, 5), "float32"))
            y = R.nn.conv2d(a, R.const(WEIGHTS))
            R.output(y)
        return y


@I.ir_module
class Printing:
    @R.function(pure=False)
    def main(x: R.Tensor((1, 3, 4, 5), "float32")):
        y = R.sin(x)
        _ = R.print(y, format="{}")
        return y


@I.ir_module
class TwoFunctions:
    @R.function
    def f(x: R.Tensor((1, 3), "float32")):
        return x

    @R.function
    def g(x: R.Tensor((1, 3), "float32")):
        return x


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Branch, "function main: z: If; allowed: a pure function of calls"),
        (Cast, "function main: a: MatchCast"),
        (Printing, "function main has side effects"),
        (TwoFunctions, "found functions f, g; allowed: main, or one only"),
    ],
)
def test_module_of_another_form_is_refused(module: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        qmc.partition_for_qmc(module, "eyeriss")


def test_widths_file_names_layers_of_all_regions(tmp_path: Path) -> None:
    module, data = sine_in_the_middle(), noise(4, 3, 6, 5)
    widths = tmp_path / "widths.yaml"
    widths.write_text("default: w8a8\nlayers: {relu: w3a6, last: {w: 2}}\n")
    annotated = qmc.partition_for_qmc(
        module, "eyeriss", scheme=widths, calibration=data, codegen=False
    )
    layers = [layer for network in integer_networks(annotated) for layer in network.layers]
    found = {layer.layer.name: layer.weight_bits for layer in layers}
    assert found == {"relu": 3, "second": 8, "last": 2}
    assert layers[0].output.bits == 6
    widths.write_text("layers: {fourth: w4a8}\n")
    with pytest.raises(SchemeError, match="no layer is called 'fourth'"):
        qmc.partition_for_qmc(module, "eyeriss", scheme=widths, calibration=data)


def test_dump_writes_the_module_after_each_pass(tmp_path: Path) -> None:
    qmc.partition_for_qmc(
        sine_in_the_middle(), "eyeriss", calibration=noise(4, 3, 6, 5), dump_ir=tmp_path
    )
    names = [path.stem[3:] for path in sorted(tmp_path.glob("*.py"))]
    assert names[0] == "imported"
    assert names[-4:] == ["FormRegions", "QuantizeRegions", "MapLayers", "RunQmcCodegen"]
