from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import UnpackTuples
from tests.passes.modules import assert_becomes, assert_unchanged


def test_field_of_a_known_tuple_is_read_itself() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                p = R.nn.max_pool2d(x, [2, 2])
                z = R.zeros_like(p)
                t = (p, z)
                inner = (t, x)
                u = inner[0]
                q = u[0]
                y = R.nn.relu(q)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                p = R.nn.max_pool2d(x, [2, 2])
                y = R.nn.relu(p)
                R.output(y)
            return y

    assert_becomes(UnpackTuples(), Before, Expected)


def test_tuple_that_an_operator_returns_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 4, 4, 5), "float32")):
            with R.dataflow():
                t = R.split(x, 2, axis=1)
                y = t[1]
                R.output(y)
            return y

    assert_unchanged(UnpackTuples(), Module)
