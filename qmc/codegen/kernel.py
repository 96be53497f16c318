"""One C function per layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmc.codegen.constants import Constant, mac_constants
from qmc.codegen.counting import print_tables, step_depths
from qmc.codegen.data_movement import print_reshape, print_slice
from qmc.codegen.describe import print_description
from qmc.codegen.elementwise import elementwise_scratch, print_elementwise
from qmc.codegen.mac_kernel import MacKernel, mac_scratch, print_mac
from qmc.codegen.mac_plan import plan_mac
from qmc.codegen.names import layer_identifier
from qmc.codegen.nest import make_nest, natural_mapping
from qmc.codegen.pool import pool_scratch, print_pool
from qmc.codegen.scratch import Scratch
from qmc.codegen.writer import Writer
from qmc.errors import CodegenError
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.layer import MAC_OPS, Op
from qmc.mapping import Mapping
from qmc.network import Tensor
from qmc.packing import storage_bytes

#: What kernels with cut tiles call; their loops run short at the end of a dim.
_LEAST = """\
static inline int qmc_least(int a, int b)
{
    return a < b ? a : b;
}

"""


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The emitted function of a layer and what it needs.

    Attributes:
        function: its C name.
        signature: its prototype without the semicolon.
        text: its definition, comment included.
        count_text: tables of its access counter; empty for a layer that counts nothing.
        constants: arrays that it reads.
        scratch_bytes: piece of the arena it works in.
        integer: the layer.
        over_read: bytes that it may read beyond an input in the arena, and not use.
    """

    function: str
    signature: str
    text: str
    count_text: str
    constants: tuple[Constant, ...]
    scratch_bytes: int
    integer: IntegerLayer
    over_read: int = 0


def make_kernel(
    network: IntegerNetwork, index: int, prefix: str, mapping: Mapping | None
) -> Kernel:
    """Print the function of layer ``index``.

    Raises:
        CodegenError: the layer or its mapping has no C form.
    """
    integer = network.layers[index]
    layer = integer.layer
    sources = tuple(network.tensors[name] for name in layer.inputs)
    result = network.tensors[layer.output]
    check_layer(integer, sources)
    name = f"{prefix}_{layer_identifier(index, layer.name)}"
    head, body, tables = Writer(), Writer(), Writer()
    if layer.op in MAC_OPS:
        mapping = mapping or natural_mapping(layer)
        scratch, constants = _print_mac(tables, body, integer, index, sources[0], name, mapping)
        head.lines(f'#ifdef QMC_COUNT\n#include "{name}_count.h"\n#endif\n\n')
    else:
        mapping = None
        scratch, constants = _print_other(body, integer, sources, result, name)
    if "qmc_least(" in body.text():
        head.lines(_LEAST)
    signature = print_signature(name, layer.op, len(sources), scratch.size_bytes > 0)
    print_description(head, integer, sources, result, mapping)
    head.line(signature)
    with head.block(""):
        scratch.declare(head)
        head.lines(body.text())
    return Kernel(
        name, signature, head.text(), tables.text(), constants, scratch.size_bytes, integer
    )


def check_layer(integer: IntegerLayer, sources: tuple[Tensor, ...]) -> None:
    """Refuse what no kernel can be printed for.

    Raises:
        CodegenError: a batch, a width or a shape without a C form.
    """
    layer, bits = integer.layer, integer.output.bits
    if layer.bounds.N != 1:
        raise CodegenError(layer.name, f"batch is {layer.bounds.N}; only 1 can be emitted")
    if bits > 8 and bits != 16:
        raise CodegenError(layer.name, f"output has {bits} bits; allowed: 1 to 8, or 16")
    for quant in integer.inputs:
        if quant.bits > 8:
            raise CodegenError(layer.name, f"input has {quant.bits} bits; allowed: 1 to 8")
    if layer.op is Op.DENSE and sources[0].pixels != 1:
        raise CodegenError(
            layer.name, "a dense layer needs an input of one pixel; flatten it first"
        )


def _print_mac(
    tables: Writer,
    body: Writer,
    integer: IntegerLayer,
    index: int,
    source: Tensor,
    name: str,
    mapping: Mapping,
) -> tuple[Scratch, tuple[Constant, ...]]:
    nest = make_nest(integer.layer, mapping)
    plan = plan_mac(integer, nest, source)
    print_tables(tables, integer.layer, index, mapping, nest)
    kernel = MacKernel(integer, plan, source, name, step_depths(mapping, nest))
    print_mac(body, kernel)
    return mac_scratch(kernel), mac_constants(integer, plan, name)


def _print_other(
    body: Writer,
    integer: IntegerLayer,
    sources: tuple[Tensor, ...],
    result: Tensor,
    name: str,
) -> tuple[Scratch, tuple[Constant, ...]]:
    scratch = Scratch()
    match integer.layer.op:
        case Op.MAX_POOL | Op.AVERAGE_POOL:
            scratch = pool_scratch(sources[0])
            print_pool(body, integer, sources[0])
        case Op.RESHAPE:
            print_reshape(body, integer, sources[0], result)
        case Op.SLICE:
            print_slice(body, integer, sources[0], result)
        case _:
            scratch = elementwise_scratch(integer, sources)
            print_elementwise(body, integer, sources, result, name)
    return scratch, _table(integer, name)


def _table(integer: IntegerLayer, name: str) -> tuple[Constant, ...]:
    if integer.table is None:
        return ()
    if integer.layer.op is Op.SOFTMAX:
        return (Constant(f"{name}_table", "uint32_t", integer.table.astype(np.uint32)),)
    kind = "uint8_t" if integer.output.bits <= 8 else "uint16_t"
    return (Constant(f"{name}_table", kind, integer.table.astype(kind.removesuffix("_t"))),)


def print_signature(name: str, op: Op, count: int, has_scratch: bool) -> str:
    """The prototype of a kernel without its semicolon."""
    inputs = ["input"] if op in MAC_OPS else [f"input{i}" for i in range(count)]
    arguments = ", ".join(f"const uint8_t *{word}" for word in inputs)
    scratch = ", int32_t *restrict scratch" if has_scratch else ""
    return f"void {name}({arguments}, uint8_t *restrict output{scratch})"


def tensor_bytes(network: IntegerNetwork, name: str) -> int:
    """Packed size of a tensor."""
    return storage_bytes(network.tensors[name].shape, network.quantization[name].bits)
