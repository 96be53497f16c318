import json

import numpy as np
from tvm import ir
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import AbsorbQuantization
from tests.passes.modules import assert_unchanged, ramp

W = ramp(2, 3, 1, 1)
CODES = np.arange(6, dtype=np.int8).reshape(2, 3, 1, 1)


def test_pairs_become_a_table_and_a_clamp_where_a_layer_can_take_it() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                q = R.quantize(x, R.const(0.5), R.const(-28, "int8"), axis=1, out_dtype="int8")
                d = R.dequantize(q, R.const(0.5), R.const(-28, "int8"), axis=1)
                c = R.nn.conv2d(d, R.const(W))
                r = R.quantize(c, R.const(0.25), R.const(8, "uint8"), axis=1, out_dtype="uint8")
                n7_last = R.dequantize(r, R.const(0.25), R.const(8, "uint8"), axis=1)
                y = R.tanh(n7_last)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(W))
                d = R.clip(c, -2.0, 61.75)
                y = R.tanh(d)
                R.output(y)
            return y

    found = AbsorbQuantization()(Before)
    table = {str(k): json.loads(str(v)) for k, v in found.attrs["qmc.given_ranges"].items()}
    assert table == {"x": [8, 0.5, 100], "7": [8, 0.25, 8]}
    found = found.without_attr("qmc.given_ranges")
    ir.assert_structural_equal(found["main"], Expected["main"], map_free_vars=True)


def test_weights_and_unequal_pairs_stay() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                w = R.dequantize(R.const(CODES), R.const(0.5), R.const(0, "int8"), axis=0)
                c = R.nn.conv2d(x, w)
                q = R.quantize(c, R.const(0.5), R.const(3, "uint8"), axis=1, out_dtype="uint8")
                y = R.dequantize(q, R.const(0.25), R.const(3, "uint8"), axis=1)
                R.output(y)
            return y

    assert_unchanged(AbsorbQuantization(), Module)
