from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm

from qmc.arithmetic import QuantParams, Rounding
from qmc.errors import QuantizationError, SchemeError
from qmc.frontend import load_network
from qmc.network import Network
from qmc.packing import storage_bytes, unpack_rows
from qmc.passes import AnnotateQuantization, LowerToInteger
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.grouping import layer_of
from qmc.passes.lower_to_integer import layer_constants
from qmc.passes.relax_expr import bindings, constant
from qmc.quantize import quantize
from qmc.scheme import Scheme, WeightScheme
from tests.onnx_graph import OnnxGraph


def small(tmp_path: Path) -> tuple[Any, Network]:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Relu", g.node("Conv", "x", g.random(5, 3, 3, 2), g.random(5), name="a/b \n<c>"))
    t = g.node("Add", t, g.node("Sigmoid", t))
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    t = g.node("Gemm", t, g.random(5, 4), g.random(4), name="classifier")
    return load_network(g.save(t, tmp_path))


def scheme_of(network: Network, bits: int = 5) -> Scheme:
    tensors = {
        name: QuantParams(bits, 0.1 + 1e-16 * i, 3) for i, name in enumerate(network.tensors)
    }
    weights = {
        name: WeightScheme(3, tuple(0.1 / 3 + 0.001 * i for i in range(len(p.bias))), None)
        for name, p in network.parameters.items()
    }
    weights["classifier"] = WeightScheme(4, weights["classifier"].scales, (0.1, 0.2, 0.3, -0.4))
    return Scheme(tensors, weights, Rounding.FLOOR)


def test_scheme_survives_print_and_parse_to_the_last_bit(tmp_path: Path) -> None:
    module, network = small(tmp_path)
    scheme = scheme_of(network)
    annotated = AnnotateQuantization(scheme)(module)
    parsed = tvm.script.from_source(annotated.script(show_meta=True))
    tvm.ir.assert_structural_equal(annotated, parsed, map_free_vars=True)
    assert annotated_scheme(parsed) == scheme


def test_missing_entries_are_all_named(tmp_path: Path) -> None:
    module, network = small(tmp_path)
    scheme = scheme_of(network)
    incomplete = Scheme({"x": scheme.tensors["x"]}, {}, scheme.rounding)
    with pytest.raises(SchemeError, match=r"no entry for layers 'a/b <c>', .*'classifier'"):
        AnnotateQuantization(incomplete)(module)


def test_functions_that_are_no_layer_are_not_annotated(tmp_path: Path) -> None:
    module, network = small(tmp_path)
    annotated = AnnotateQuantization(scheme_of(network))(module)
    names = {layer.name for layer in network.layers}
    for _, function in annotated.functions_items():
        has_scheme = bool(function.attrs) and "qmc.scheme" in function.attrs
        assert has_scheme == (layer_of(function) in names)


def test_lowered_module_calls_one_kernel_per_layer_on_packed_bytes(tmp_path: Path) -> None:
    module, network = small(tmp_path)
    scheme = scheme_of(network)
    lowered = LowerToInteger()(AnnotateQuantization(scheme)(module))
    assert [g.name_hint for g in lowered.get_global_vars()] == ["main"]
    values = list(bindings(lowered["main"]).values())
    calls = [value for value in values if isinstance(value, tvm.ir.Call)]
    assert [str(call.args[0].global_symbol) for call in calls] == [
        "qmc_0_a_b___c_", "qmc_1_sigmoid2", "qmc_2_add3", "qmc_3_globalaveragepool4",
        "qmc_4_classifier",
    ]  # fmt: skip
    for call, layer in zip(calls, network.layers, strict=True):
        assert str(call.ty.dtype) == "uint8"
        assert int(call.ty.shape[0]) == storage_bytes(network.tensors[layer.output].shape, 5)


def test_lowered_weights_are_the_packed_codes(tmp_path: Path) -> None:
    module, network = small(tmp_path)
    scheme = scheme_of(network)
    lowered = LowerToInteger()(AnnotateQuantization(scheme)(module))
    integer = quantize(network, scheme).layers[0]
    call = next(v for v in bindings(lowered["main"]).values() if isinstance(v, tvm.ir.Call))
    arguments = [constant(argument) for argument in call.args[1].fields[1:]]
    for found, (_, expected) in zip(arguments, layer_constants(integer), strict=True):
        assert np.array_equal(found, expected)
    assert integer.weights is not None
    rows = unpack_rows(arguments[0], 3, 3 * 3 * 2, signed=True)
    expected = integer.weights.transpose(0, 2, 3, 1).reshape(5, -1)
    assert np.array_equal(rows, expected)


def test_lowering_without_annotation_is_refused(tmp_path: Path) -> None:
    module, _ = small(tmp_path)
    with pytest.raises(SchemeError, match="run AnnotateQuantization first"):
        LowerToInteger()(module)


def test_lowering_error_keeps_its_class(tmp_path: Path) -> None:
    module, network = small(tmp_path)
    scheme = scheme_of(network)
    tiny = {n: WeightScheme(w.bits, (1e-12,) * len(w.scales)) for n, w in scheme.weights.items()}
    annotated = AnnotateQuantization(Scheme(scheme.tensors, tiny))(module)
    with pytest.raises(QuantizationError, match="layer 'a/b <c>'"):
        LowerToInteger()(annotated)
