from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import AbsorbInputLayout
from tests.passes.modules import assert_becomes, assert_unchanged


def test_channels_last_input_becomes_channels_first() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 4, 5, 3), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 3, 1, 2])
                b = R.tanh(a)
                c = R.permute_dims(x, axes=[0, 3, 1, 2])
                y = R.add(b, c)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                b = R.tanh(x)
                z = R.add(b, x)
                y = z
                R.output(y)
            return y

    assert_becomes(AbsorbInputLayout(), Before, Expected)


def test_input_with_another_reader_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 4, 5, 3), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 3, 1, 2])
                b = R.tanh(x)
                y = (a, b)
                R.output(y)
            return y

    assert_unchanged(AbsorbInputLayout(), Module)


def test_other_transposition_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 2, 3, 1])
                y = R.tanh(a)
                R.output(y)
            return y

    assert_unchanged(AbsorbInputLayout(), Module)
