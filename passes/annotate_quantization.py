"""Pass: the quantization scheme is written into the layers' attributes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm

from qmc.arithmetic import QuantParams, Rounding
from qmc.errors import SchemeError
from qmc.passes.extract_network import extract_network
from qmc.passes.grouping import layer_of
from qmc.passes.user_errors import register_user_errors
from qmc.scheme import Scheme, WeightScheme

#: Function attribute that holds a layer's part of the scheme, as JSON.
ATTRIBUTE = "qmc.scheme"


@tvm.transform.module_pass(opt_level=0, name="AnnotateQuantization")
@dataclass(frozen=True)
class AnnotateQuantization:
    """Attach to each composite the scheme of its inputs, output and weights.

    ::

        Composite="qmc.conv"  ->  Composite="qmc.conv", qmc.scheme='{"tensors": {...}, ...}'

    The attribute is JSON text, which survives printing, parsing and other passes to the last bit.
    Requires: a partitioned module. Ensures: every composite of a layer has the attribute; reshapes
    that move nothing have none.
    Does not fire when: a layer or tensor has no scheme: that is an error naming all such.

    Attributes:
        scheme: of every tensor and every layer with weights.
    """

    scheme: Scheme

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM.

        Raises:
            SchemeError: lists the layers without a scheme.
        """
        register_user_errors()
        network = extract_network(module)
        missing = [
            layer.name
            for layer in network.layers
            if not {*layer.inputs, layer.output} <= self.scheme.tensors.keys()
            or (layer.has_weights and layer.name not in self.scheme.weights)
        ]
        if missing:
            names = ", ".join(f"'{name}'" for name in missing)
            raise SchemeError(f"the scheme has no entry for layers {names}")
        texts = {layer.name: _text(self.scheme, layer) for layer in network.layers}
        updated = tvm.IRModule(module.functions, attrs=module.attrs)
        for variable, function in module.functions_items():
            text = texts.get(layer_of(function))
            if text is not None:
                updated[variable] = function.with_attr(ATTRIBUTE, text)
        return updated


def _text(scheme: Scheme, layer: Any) -> str:
    def tensor(name: str) -> dict[str, Any]:
        params = scheme.tensors[name]
        return {"bits": params.bits, "scale": params.scale, "zero_point": params.zero_point}

    data: dict[str, Any] = {
        "rounding": scheme.rounding.value,
        "tensors": {name: tensor(name) for name in (*layer.inputs, layer.output)},
    }
    if layer.has_weights:
        weights = scheme.weights[layer.name]
        data["weights"] = {"bits": weights.bits, "scales": weights.scales, "bias": weights.bias}
        if weights.format is not None:
            data["weights"]["format"] = weights.format
        if weights.codes is not None:
            data["weights"]["codes"] = base64.b64encode(weights.codes).decode("ascii")
    return json.dumps(data)


def annotated_scheme(module: Any) -> Scheme:
    """The scheme that the attributes of an annotated module hold.

    Raises:
        SchemeError: no layer is annotated.
    """
    tensors: dict[str, QuantParams] = {}
    weights: dict[str, WeightScheme] = {}
    rounding: Rounding | None = None
    for _, function in module.functions_items():
        if not layer_of(function) or ATTRIBUTE not in function.attrs:
            continue
        data = json.loads(str(function.attrs[ATTRIBUTE]))
        rounding = Rounding(data["rounding"])
        tensors |= {name: QuantParams(**params) for name, params in data["tensors"].items()}
        if "weights" in data:
            weights[layer_of(function)] = _weights(data["weights"])
    if rounding is None:
        raise SchemeError("the module carries no scheme; run AnnotateQuantization first")
    return Scheme(tensors, weights, rounding)


def _weights(data: Mapping[str, Any]) -> WeightScheme:
    bias, codes = data["bias"], data.get("codes")
    return WeightScheme(
        data["bits"],
        tuple(data["scales"]),
        None if bias is None else tuple(bias),
        None if codes is None else base64.b64decode(codes),
        data.get("format"),
    )
