from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import CanonicalizePooling
from tests.passes.modules import assert_becomes, assert_unchanged


def test_mean_and_max_over_the_image_become_pools() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.mean(x, axis=[-1, 2], keepdims=True)
                b = R.mean(x, axis=[2, 3], keepdims=False)
                c = R.max(x, axis=[2, 3], keepdims=True)
                y = (a, b, c)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.avg_pool2d(x, pool_size=[4, 5])
                p = R.nn.avg_pool2d(x, pool_size=[4, 5])
                b = R.reshape(p, R.shape([1, 3]))
                c = R.nn.max_pool2d(x, pool_size=[4, 5])
                y = (a, b, c)
                R.output(y)
            return y

    assert_becomes(CanonicalizePooling(), Before, Expected)


def test_other_axes_stay() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.mean(x, axis=[1], keepdims=True)
                b = R.max(x, axis=[1, 3], keepdims=True)
                c = R.mean(x)
                y = (a, b, c)
                R.output(y)
            return y

    assert_unchanged(CanonicalizePooling(), Module)
