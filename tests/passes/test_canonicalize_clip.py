from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import CanonicalizeClip
from tests.passes.modules import assert_becomes, assert_unchanged


def test_minimum_of_maximum_becomes_clip() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.maximum(R.const(-1.0, "float32"), x)
                b = R.minimum(a, R.const(6.0, "float32"))
                R.output(b)
            return b

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                b = R.clip(x, -1.0, 6.0)
                R.output(b)
            return b

    assert_becomes(CanonicalizeClip(), Before, Expected)


def test_clamp_from_zero_without_end_becomes_relu() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.maximum(x, R.const(0.0, "float32"))
                b = R.tanh(a)
                R.output(b)
            return b

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.tanh(a)
                R.output(b)
            return b

    assert_becomes(CanonicalizeClip(), Before, Expected)


def test_relu_then_clip_and_relu6_merge() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.clip(a, -2.0, 9.0)
                c = R.nn.relu6(b)
                R.output(c)
            return c

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.clip(x, 0.0, 6.0)
                R.output(c)
            return c

    assert_becomes(CanonicalizeClip(), Before, Expected)


def test_disjoint_clamps_leave_the_outer_limit() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                a = R.clip(x, 5.0, 6.0)
                b = R.clip(a, 0.0, 1.0)
                R.output(b)
            return b

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                b = R.clip(x, 1.0, 1.0)
                R.output(b)
            return b

    assert_becomes(CanonicalizeClip(), Before, Expected)


def test_clamp_that_is_read_twice_or_has_no_constant_limit_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.clip(a, 0.0, 6.0)
                c = R.maximum(a, b)
                d = R.tanh(c)
                R.output(d)
            return d

    assert_unchanged(CanonicalizeClip(), Module)
