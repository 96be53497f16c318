"""Damaged quantized models are read or refused in one line; nothing else comes out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from onnx import ModelProto

from qmc.errors import QmcError
from qmc.frontend import load_network
from qmc.qdq_export import to_qdq
from qmc.qonnx_export import to_qonnx
from qmc.widths import Widths
from tests.test_import_spellings import q_linear
from tests.test_qdq_export import chain, quantized

_OPERATORS = ("Quant", "Trunc", "BipolarQuant", "QLinearConv", "ConvInteger", "Clip", "Gemm")
_DOMAINS = ("", "qmc", "qonnx.custom_op.general", "x")
_BITS = ("0", "1", "16", "99", "-1", "x", "9" * 50)


def mutate(model: ModelProto, dice: random.Random) -> bytes:
    """One or two changes, to the graph or to bytes."""
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    for _ in range(dice.choice((1, 2))):
        node = dice.choice(graph.node)
        values = [name for one in graph.node for name in (*one.input, *one.output)] + [""]
        match dice.randrange(7):
            case 0 if node.input:
                node.input[dice.randrange(len(node.input))] = dice.choice(values)
            case 1 if node.input:
                del node.input[dice.randrange(len(node.input)) :]
            case 2:
                node.op_type = dice.choice(_OPERATORS)
            case 3:
                node.domain = dice.choice(_DOMAINS)
            case 4:
                tensor = dice.choice(graph.initializer)
                tensor.dims.append(dice.choice((0, 1, 2, 1 << 40)))
            case 5:
                dice.choice(graph.initializer).data_type = dice.randrange(27)
            case _:
                node.metadata_props.add(key="qmc.bits", value=dice.choice(_BITS))
    content = bytearray(changed.SerializeToString())
    if dice.random() < 0.2:
        content[dice.randrange(len(content))] = dice.randrange(256)
    return bytes(content)


@pytest.mark.parametrize("kind", ["qdq", "qonnx", "qlinear"])
def test_mutated_model_is_read_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    graph, output = q_linear()
    model = graph.model(output)
    if kind != "qlinear":
        model = to_qdq(*quantized(chain(), tmp_path, Widths(3, 5)))
        model = to_qonnx(model) if kind == "qonnx" else model
    dice, path = random.Random(kind), tmp_path / "mutated.onnx"
    refusals: list[str] = []
    for _ in range(60):
        path.write_bytes(mutate(model, dice))
        try:
            load_network(path)
        except QmcError as error:
            refusals.append(str(error))
    assert 20 < len(refusals) < 60
    assert not any("\n" in message for message in refusals)
