import numpy as np
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import FoldBatchNorm
from tests.passes.modules import assert_becomes, assert_unchanged, ramp

W = ramp(2, 3, 1, 2)
DENSE = ramp(3, 2)
BIAS = ramp(1, 2, 1, 1)
GAMMA, BETA, MEAN = ramp(2), ramp(2, step=2), ramp(2, step=3)
VARIANCE = np.array([4.0, 16.0], np.float32) - np.float32(0.5)
SCALE = np.array([1 / 2, 1.5 / 4])
SHIFT = BETA - MEAN * SCALE


def f32(values):
    return np.asarray(values, dtype=np.float32)


def test_conv_with_bias_takes_scale_and_shift() -> None:
    folded_w, folded_b = f32(W * SCALE[:, None, None, None]), f32(BIAS[0, :, 0, 0] * SCALE + SHIFT)
    folded_b = folded_b.reshape(1, 2, 1, 1)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(W), strides=[1, 2], padding=[0, 1, 0, 2])
                a = R.add(c, R.const(BIAS))
                n = R.nn.batch_norm(
                    a, R.const(GAMMA), R.const(BETA), R.const(MEAN), R.const(VARIANCE),
                    axis=1, epsilon=0.5,
                )  # fmt: skip
                y = n[0]
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(folded_w), strides=[1, 2], padding=[0, 1, 0, 2])
                y = R.add(c, R.const(folded_b))
                R.output(y)
            return y

    assert_becomes(FoldBatchNorm(), Before, Expected)


def test_dense_takes_scale_and_shift() -> None:
    folded_w, folded_b = f32(DENSE * SCALE), f32(SHIFT).reshape(1, 2)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                a = R.matmul(x, R.const(DENSE))
                n = R.nn.batch_norm(
                    a, R.const(GAMMA), R.const(BETA), R.const(MEAN), R.const(VARIANCE),
                    axis=1, epsilon=0.5,
                )  # fmt: skip
                y = n[0]
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                c = R.matmul(x, R.const(folded_w))
                y = R.add(c, R.const(folded_b))
                R.output(y)
            return y

    assert_becomes(FoldBatchNorm(), Before, Expected)


def test_alone_it_becomes_a_depthwise_convolution() -> None:
    scale, shift = f32(SCALE).reshape(2, 1, 1, 1), f32(SHIFT).reshape(1, 2, 1, 1)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 2, 4, 5), "float32")):
            with R.dataflow():
                n = R.nn.batch_norm(
                    x, R.const(GAMMA), R.const(BETA), R.const(MEAN), R.const(VARIANCE),
                    axis=1, epsilon=0.5,
                )  # fmt: skip
                y = n[0]
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 2, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(scale), groups=2)
                y = R.add(c, R.const(shift))
                R.output(y)
            return y

    assert_becomes(FoldBatchNorm(), Before, Expected)


def test_statistics_that_are_not_constant_are_left_alone() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 2, 4, 5), "float32"), v: R.Tensor((2,), "float32")):
            with R.dataflow():
                n = R.nn.batch_norm(
                    x, R.const(GAMMA), R.const(BETA), R.const(MEAN), v, axis=1, epsilon=0.5
                )
                y = n[0]
                R.output(y)
            return y

    assert_unchanged(FoldBatchNorm(), Module)


def test_other_axis_is_left_alone() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 4, 5, 2), "float32")):
            with R.dataflow():
                n = R.nn.batch_norm(
                    x, R.const(GAMMA), R.const(BETA), R.const(MEAN), R.const(VARIANCE), axis=3
                )
                y = n[0]
                R.output(y)
            return y

    assert_unchanged(FoldBatchNorm(), Module)
