"""What becomes a region function, and what stays in ``main``."""

from __future__ import annotations

from typing import Any

import tvm
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import FormRegions, Partition
from qmc.passes.extract_network import extract_network
from qmc.passes.grouping import layer_of
from qmc.passes.region_module import region_function, region_module, regions
from qmc.passes.relax_expr import bindings, op_name
from tests.passes.modules import ramp

W, V = ramp(2, 3, 1, 2), ramp(4, 2, 3, 1)


@I.ir_module
class Wave:
    """Convolution, addition of itself, sine, convolution and ReLU."""

    I.module_attrs(
        {
            "qmc.nodes": [
                ["first", "t0", "Conv"],
                ["double", "t1", "Add"],
                ["wave", "t2", "Sin"],
                ["second", "t3", "Conv"],
                ["relu", "t4", "Relu"],
            ],
            "qmc.interface": {"input": "image", "output": "t4"},
        }
    )

    @R.function
    def main(x: R.Tensor((1, 3, 4, 5), "float32")):
        with R.dataflow():
            n0_first = R.nn.conv2d(x, R.const(W))
            n1_double = R.add(n0_first, n0_first)
            n2_wave = R.sin(n1_double)
            n3_second = R.nn.conv2d(n2_wave, R.const(V))
            n4_relu = R.nn.relu(n3_second)
            y = n4_relu
            R.output(y)
        return y


def formed(module: Any) -> Any:
    return FormRegions()(Partition()(module))


def test_layers_on_both_sides_of_an_unknown_operator_become_two_functions() -> None:
    module = formed(Wave)
    functions = {g.name_hint: function for g, function in regions(module).items()}
    assert list(functions) == ["qmc_main_0", "qmc_main_1"]
    names = [op_name(v) or getattr(v, "op", v).name_hint for v in main_calls(module)]
    assert names == ["qmc_main_0", "relax.sin", "qmc_main_1"]
    for name, function in functions.items():
        assert function.attrs["Codegen"] == "qmc"
        assert function.attrs["global_symbol"] == name


def main_calls(module: Any) -> list[Any]:
    return [v for v in bindings(module["main"]).values() if isinstance(v, tvm.ir.Call)]


def test_region_has_layers_and_tensor_names_of_the_whole() -> None:
    first, second = (extract_network(region_module(f)) for f in regions(formed(Wave)).values())
    assert [layer.name for layer in first.layers] == ["first", "double"]
    assert [layer.name for layer in second.layers] == ["second"]
    assert (first.input, first.output) == ("image", "t1")
    assert (second.input, second.output) == ("t2", "t4")
    whole = extract_network(Partition()(without_wave()))
    assert list(first.tensors) == list(whole.tensors)[:3]


def without_wave() -> Any:
    @I.ir_module
    class Plain:
        I.module_attrs(
            {
                "qmc.nodes": [["first", "t0", "Conv"], ["double", "t1", "Add"]],
                "qmc.interface": {"input": "image", "output": "t1"},
            }
        )

        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                n0_first = R.nn.conv2d(x, R.const(W))
                n1_double = R.add(n0_first, n0_first)
                y = n1_double
                R.output(y)
            return y

    return Plain


def test_layers_without_weights_in_reach_go_back_to_main() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.nn.max_pool2d(a, pool_size=[2, 2])
                y = b
                R.output(y)
            return y

    module = formed(Before)
    assert not regions(module)
    assert [op_name(call) for call in main_calls(module)] == [
        "relax.nn.relu",
        "relax.nn.max_pool2d",
    ]
    assert not [f for f in module.functions.values() if layer_of(f)]


def test_layer_outside_the_rules_stays_in_main() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 4, 5, 3), "float32"), w: R.Tensor((3, 6), "float32")):
            with R.dataflow():
                a = R.nn.conv2d(
                    x, R.const(ramp(2, 1, 2, 3)), data_layout="NHWC", kernel_layout="OHWI"
                )
                b = R.reshape(a, (1, 32))
                c = R.matmul(b, R.const(ramp(32, 3)))
                d = R.matmul(c, w)
                R.output(d)
            return d

    module = formed(Before)
    (function,) = regions(module).values()
    assert [layer.name for layer in extract_network(region_module(function)).layers] == ["b", "c"]
    left = [op_name(call) for call in main_calls(module)]
    assert left[0] == "relax.nn.conv2d"
    assert left[-1] == "relax.matmul"


def test_symbolic_and_integer_tensors_are_left_alone() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor(("n", 3, 4, 5), "float32"), k: R.Tensor((1, 7), "int64")):
            with R.dataflow():
                a = R.nn.conv2d(x, R.const(W))
                b = R.add(k, k)
                R.output(a, b)
            return (a, b)

    module = formed(Before)
    assert not regions(module)
    assert [op_name(call) for call in main_calls(module)] == ["relax.nn.conv2d", "relax.add"]


def test_function_and_module_of_a_region_are_inverse() -> None:
    for name, function in regions(formed(Wave)).items():
        again = region_function(region_module(function), name.name_hint)
        tvm.ir.assert_structural_equal(again, function)
