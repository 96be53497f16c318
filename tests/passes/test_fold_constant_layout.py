import numpy as np
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import FoldConstantLayout
from tests.passes.modules import assert_becomes, assert_unchanged, ramp

W = ramp(2, 3)
BIAS = ramp(4)
CODES = np.arange(6, dtype=np.int8).reshape(2, 3)
SCALES = ramp(2)
ZEROS = np.zeros(2, np.int8)


def test_transposed_weights_and_reshaped_bias_become_constants() -> None:
    turned, shaped = np.ascontiguousarray(W.T), BIAS.reshape(1, 4, 1, 1)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3), "float32"), z: R.Tensor((1, 4, 2, 5), "float32")):
            with R.dataflow():
                w = R.permute_dims(R.const(W), axes=[1, 0])
                a = R.matmul(x, w)
                b = R.reshape(R.const(BIAS), R.shape([1, 4, 1, 1]))
                c = R.add(z, b)
                y = (a, c)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3), "float32"), z: R.Tensor((1, 4, 2, 5), "float32")):
            with R.dataflow():
                a = R.matmul(x, R.const(turned))
                c = R.add(z, R.const(shaped))
                y = (a, c)
                R.output(y)
            return y

    assert_becomes(FoldConstantLayout(), Before, Expected)


def test_quantized_weights_are_transposed_but_not_evaluated() -> None:
    turned = np.ascontiguousarray(CODES.T)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                d = R.dequantize(R.const(CODES), R.const(SCALES), R.const(ZEROS), axis=0)
                w = R.permute_dims(d, axes=[1, 0])
                y = R.matmul(x, w)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                w = R.dequantize(R.const(turned), R.const(SCALES), R.const(ZEROS), axis=1)
                y = R.matmul(x, w)
                R.output(y)
            return y

    assert_becomes(FoldConstantLayout(), Before, Expected)


def test_movement_of_activations_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[1, 0])
                y = R.reshape(a, R.shape([1, 6]))
                R.output(y)
            return y

    assert_unchanged(FoldConstantLayout(), Module)
