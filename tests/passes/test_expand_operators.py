from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from qmc.passes import CanonicalizePooling, ExpandOperators
from tests.passes.modules import assert_becomes, assert_unchanged


def test_silu_becomes_a_product_with_a_sigmoid() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                y = R.nn.silu(x)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                gate = R.sigmoid(x)
                y = R.multiply(x, gate)
                R.output(y)
            return y

    assert_becomes(ExpandOperators(), Before, Expected)


@I.ir_module
class Loops:
    """What TVM's importer makes of ``Clip(x, 0)``, with ``minimum`` where the loops are others."""

    @T.prim_func(private=True, s_tir=True)
    def maximum(
        x: T.Buffer((T.int64(2), T.int64(3)), "float32"),
        low: T.Buffer((), "float32"),
        y: T.Buffer((T.int64(2), T.int64(3)), "float32"),
    ):
        T.func_attr({"tirx.noalias": True})
        for i, j in T.grid(T.int64(2), T.int64(3)):
            with T.sblock("T_maximum"):
                a, b = T.axis.remap("SS", [i, j])
                T.reads(x[a, b], low[()])
                T.writes(y[a, b])
                y[a, b] = T.max(x[a, b], low[()])

    @T.prim_func(private=True, s_tir=True)
    def minimum(
        x: T.Buffer((T.int64(2), T.int64(3)), "float32"),
        high: T.Buffer((), "float32"),
        y: T.Buffer((T.int64(2), T.int64(3)), "float32"),
    ):
        T.func_attr({"tirx.noalias": True})
        for i, j in T.grid(T.int64(2), T.int64(3)):
            with T.sblock("T_minimum"):
                a, b = T.axis.remap("SS", [i, j])
                T.reads(x[a, b], high[()])
                T.writes(y[a, b])
                y[a, b] = T.min(x[a, b], high[()]) + T.float32(1)

    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        cls = Loops
        with R.dataflow():
            missing = R.isnan(R.const(0.5, "float32"))
            low = R.where(missing, R.const(-9.0, "float32"), R.const(0.5, "float32"))
            a = R.call_tir(cls.maximum, (x, low), out_ty=R.Tensor((2, 3), "float32"))
            b = R.call_tir(
                cls.minimum, (a, R.const(6.0, "float32")), out_ty=R.Tensor((2, 3), "float32")
            )
            R.output(b)
        return b


def test_loops_of_a_maximum_become_the_operator_and_others_stay() -> None:
    text = ExpandOperators()(Loops)["main"].script()
    assert 'R.maximum(x, R.const(0.5, "float32"))' in text
    assert "isnan" not in text
    assert "where" not in text
    assert text.count("call_tir") == 1


def test_adaptive_pool_that_divides_the_image_becomes_a_pool() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 6, 10), "float32")):
            with R.dataflow():
                y = R.nn.adaptive_avg_pool2d(x, output_size=[2, 5])
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 6, 10), "float32")):
            with R.dataflow():
                y = R.nn.avg_pool2d(x, pool_size=[3, 2], strides=[3, 2])
                R.output(y)
            return y

    assert_becomes(CanonicalizePooling(), Before, Expected)


def test_adaptive_pool_with_windows_of_several_sizes_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 6, 10), "float32")):
            with R.dataflow():
                y = R.nn.adaptive_avg_pool2d(x, output_size=[2, 3])
                R.output(y)
            return y

    assert_unchanged(CanonicalizePooling(), Module)
