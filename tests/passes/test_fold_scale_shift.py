import numpy as np
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import FoldScaleShift
from tests.passes.modules import assert_becomes, assert_unchanged, ramp

W = ramp(2, 3, 1, 2)
BIAS = ramp(1, 2, 1, 1)
SCALE = np.array([2.0, 4.0], np.float32).reshape(2, 1, 1)


def test_division_folds_into_weights_and_bias() -> None:
    weights, bias = W / SCALE[..., None], BIAS / SCALE[None]

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(W), dilation=[1, 2])
                a = R.add(c, R.const(BIAS))
                y = R.divide(a, R.const(SCALE))
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(weights), dilation=[1, 2])
                y = R.add(c, R.const(bias))
                R.output(y)
            return y

    assert_becomes(FoldScaleShift(), Before, Expected)


def test_scalar_without_a_layer_becomes_depthwise() -> None:
    ones, shift = -np.ones((3, 1, 1, 1), np.float32), np.full((1, 3, 1, 1), 5, np.float32)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                y = R.subtract(R.const(5.0, "float32"), x)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(ones), groups=3)
                y = R.add(c, R.const(shift))
                R.output(y)
            return y

    assert_becomes(FoldScaleShift(), Before, Expected)


def test_bias_gets_its_canonical_shape() -> None:
    flat = BIAS.reshape(2, 1, 1)

    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(W))
                y = R.add(R.const(flat), c)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(W))
                y = R.add(c, R.const(BIAS))
                R.output(y)
            return y

    assert_becomes(FoldScaleShift(), Before, Expected)


def test_activations_and_images_are_left_alone() -> None:
    mask = ramp(4, 5)

    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.multiply(x, R.const(mask))
                b = R.add(x, a)
                y = R.divide(R.const(1.0, "float32"), b)
                R.output(y)
            return y

    assert_unchanged(FoldScaleShift(), Module)
