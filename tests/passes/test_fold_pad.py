from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import FoldPad
from tests.passes.modules import assert_becomes, assert_unchanged, ramp

W = ramp(2, 3, 2, 2)


def test_zero_pad_moves_into_conv_and_pools() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                r = R.nn.relu(x)
                p = R.nn.pad(r, pad_width=[0, 0, 0, 0, 0, 1, 1, 0])
                a = R.nn.conv2d(p, R.const(W), padding=[1, 0, 0, 0])
                b = R.nn.avg_pool2d(p, pool_size=[2, 3])
                c = R.nn.max_pool2d(p, pool_size=[2, 3])
                y = (a, b, c)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                r = R.nn.relu(x)
                a = R.nn.conv2d(r, R.const(W), padding=[1, 1, 1, 0])
                b = R.nn.avg_pool2d(
                    r, pool_size=[2, 3], padding=[0, 1, 1, 0], count_include_pad=True
                )
                c = R.nn.max_pool2d(r, pool_size=[2, 3], padding=[0, 1, 1, 0])
                y = (a, b, c)
                R.output(y)
            return y

    assert_becomes(FoldPad(), Before, Expected)


def test_other_values_and_axes_stay() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32"), z: R.Tensor((1, 2, 4, 5), "float32")):
            with R.dataflow():
                p = R.nn.pad(x, pad_width=[0, 0, 0, 0, 1, 1, 1, 1], pad_value=1.0)
                a = R.nn.conv2d(p, R.const(W))
                q = R.nn.pad(z, pad_width=[0, 0, 1, 0, 0, 0, 0, 0])
                b = R.nn.conv2d(q, R.const(W))
                y = (a, b)
                R.output(y)
            return y

    assert_unchanged(FoldPad(), Module)


def test_maximum_of_possibly_negative_values_keeps_its_zeros() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                p = R.nn.pad(x, pad_width=[0, 0, 0, 0, 1, 1, 1, 1])
                y = R.nn.max_pool2d(p, pool_size=[2, 2])
                R.output(y)
            return y

    assert_unchanged(FoldPad(), Module)


def test_average_with_uncounted_padding_of_its_own_keeps_the_pad() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                p = R.nn.pad(x, pad_width=[0, 0, 0, 0, 1, 0, 1, 0])
                y = R.nn.avg_pool2d(p, pool_size=[2, 2], padding=[0, 0, 1, 1])
                R.output(y)
            return y

    assert_unchanged(FoldPad(), Module)
