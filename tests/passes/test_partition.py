from typing import Any

import pytest
import tvm
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.errors import UnsupportedOpError
from qmc.passes import Partition
from qmc.passes.extract_network import extract_network
from tests.passes.modules import assert_becomes, assert_unchanged, ramp

W, BIAS = ramp(2, 3, 1, 2), ramp(1, 2, 1, 1)


def test_conv_bias_and_clamp_become_one_composite() -> None:
    @I.ir_module
    class Before:
        I.module_attrs({"qmc.nodes": [["first/conv", "t0", "Conv"], ["first relu", "t1", "Relu"]]})

        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                n0_conv = R.nn.conv2d(x, R.const(W))
                a = R.add(n0_conv, R.const(BIAS))
                n1_relu = R.nn.relu(a)
                y = n1_relu
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        I.module_attrs({"qmc.nodes": [["first/conv", "t0", "Conv"], ["first relu", "t1", "Relu"]]})

        @R.function(private=True)
        def qmc_conv_n1_relu(x: R.Tensor((1, 3, 4, 5), "float32")):
            R.func_attr(
                {
                    "Composite": "qmc.conv",
                    "Primitive": True,
                    "qmc.layer": "first/conv",
                    "qmc.sources": [0, 1],
                }
            )
            with R.dataflow():
                n0_conv = R.nn.conv2d(x, R.const(W))
                a = R.add(n0_conv, R.const(BIAS))
                n1_relu = R.nn.relu(a)
                R.output(n1_relu)
            return n1_relu

        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            cls = Expected
            with R.dataflow():
                n1_relu = cls.qmc_conv_n1_relu(x)
                a = n1_relu
                y = a
                R.output(y)
            return y

    found = Partition()(Before)
    layer = found["qmc_conv_n1_relu"]
    tvm.ir.assert_structural_equal(layer, Expected["qmc_conv_n1_relu"], map_free_vars=True)
    network = extract_network(found)
    assert network.layers[0].name == "first/conv"
    assert network.layers[0].source == ("first/conv", "first relu")
    assert network.output == "t1"


def test_value_between_layer_and_clamp_that_is_read_twice_splits_them() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(W))
                r = R.nn.relu(c)
                y = R.add(c, r)
                R.output(y)
            return y

    found = Partition()(Before)
    kinds = sorted(composites(found))
    assert kinds == ["qmc.add", "qmc.conv", "qmc.lookup"]


def composites(module: Any) -> list[str]:
    functions = [f for _, f in module.functions_items()]
    return [str(f.attrs["Composite"]) for f in functions if f.attrs and "Composite" in f.attrs]


def test_module_of_unknown_calls_stays_and_is_refused_later() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                y = R.exp(x)
                R.output(y)
            return y

    assert_unchanged(Partition(), Module)
    with pytest.raises(UnsupportedOpError, match="node 'y': operator exp"):
        extract_network(Partition()(Module))


def test_partition_twice_changes_nothing() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                c = R.nn.max_pool2d(x, pool_size=[2, 2])
                y = R.tanh(c)
                R.output(y)
            return y

    assert_becomes(Partition(), Before, Partition()(Before))
