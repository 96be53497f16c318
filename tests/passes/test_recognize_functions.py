import numpy as np
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import RecognizeFunctions
from qmc.passes.recognize_functions import _GRID, identify
from tests.passes.modules import assert_becomes, assert_unchanged


def test_hard_swish_becomes_a_composite() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.add(x, R.const(3.0, "float32"))
                b = R.clip(a, 0.0, 6.0)
                c = R.multiply(x, b)
                d = R.divide(c, R.const(6.0, "float32"))
                y = R.tanh(d)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function(private=True)
        def qmc_lookup_d(x: R.Tensor((1, 3, 4, 5), "float32")):
            R.func_attr(
                {
                    "Composite": "qmc.lookup",
                    "Primitive": True,
                    "qmc.function": "hard_swish",
                    "qmc.layer": "d",
                    "qmc.sources": [],
                }
            )
            with R.dataflow():
                a = R.add(x, R.const(3.0, "float32"))
                b = R.clip(a, 0.0, 6.0)
                c = R.multiply(x, b)
                d = R.divide(c, R.const(6.0, "float32"))
                R.output(d)
            return d

        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            cls = Expected
            with R.dataflow():
                d = cls.qmc_lookup_d(x)
                e = R.tanh(d)
                y = e
                R.output(y)
            return y

    assert_becomes(RecognizeFunctions(), Before, Expected)


def test_inner_value_with_another_reader_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.add(x, R.const(3.0, "float32"))
                b = R.clip(a, 0.0, 6.0)
                c = R.multiply(x, b)
                d = R.divide(c, R.const(6.0, "float32"))
                y = (d, c)
                R.output(y)
            return y

    assert_unchanged(RecognizeFunctions(), Module)


def test_other_constants_and_relu6_stay() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.add(x, R.const(3.0, "float32"))
                b = R.clip(a, 0.0, 5.0)
                c = R.multiply(x, b)
                y = R.divide(c, R.const(6.0, "float32"))
                R.output(y)
            return y

    assert_unchanged(RecognizeFunctions(), Module)


def test_identify_tells_functions_apart() -> None:
    assert identify(np.clip(_GRID * 0.25 + 0.4, 0, 1)) == "hard_sigmoid:0.25:0.4"
    assert identify(np.where(_GRID > 0, _GRID, 0.5 * np.expm1(_GRID))) == "elu:0.5"
    assert identify(np.tanh(_GRID)) is None
    assert identify(np.maximum(_GRID, 0)) is None
