from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import LiftOneDimensional
from tests.passes.modules import assert_becomes, assert_unchanged, ramp

W, BIAS = ramp(4, 1, 3), ramp(4, 1)
BIAS4 = BIAS.reshape(1, 4, 1, 1)


def test_conv_bias_and_pool_work_on_images_of_height_one() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 4, 9), "float32")):
            with R.dataflow():
                c = R.nn.conv1d(x, R.const(W), strides=[2], padding=[1, 2], dilation=[1], groups=4)
                a = R.add(c, R.const(BIAS))
                y = R.nn.max_pool1d(a, pool_size=[3], strides=[2], padding=[0, 1])
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 4, 9), "float32")):
            with R.dataflow():
                image = R.reshape(x, R.shape([1, 4, 1, 9]))
                w = R.reshape(R.const(W), R.shape([4, 1, 1, 3]))
                c = R.nn.conv2d(
                    image, w, strides=[1, 2], padding=[0, 1, 0, 2], dilation=[1, 1], groups=4
                )
                a = R.add(c, R.const(BIAS4))
                p = R.nn.max_pool2d(a, pool_size=[1, 3], strides=[1, 2], padding=[0, 0, 0, 1])
                y = R.reshape(p, R.shape([1, 4, 2]))
                R.output(y)
            return y

    assert_becomes(LiftOneDimensional(), Before, Expected)


def test_images_and_vectors_stay() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 4, 2, 9), "float32"), v: R.Tensor((1, 4), "float32")):
            with R.dataflow():
                a = R.add(x, R.const(BIAS4))
                b = R.tanh(v)
                y = (a, b)
                R.output(y)
            return y

    assert_unchanged(LiftOneDimensional(), Module)
