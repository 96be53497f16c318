"""The function of one layer for a vector unit."""

from __future__ import annotations

from collections.abc import Callable

from qmc.codegen.constants import Constant
from qmc.codegen.describe import print_description
from qmc.codegen.kernel import Kernel, check_layer, print_signature
from qmc.codegen.names import layer_identifier
from qmc.codegen.scratch import Scratch
from qmc.codegen.vector.channelwise import (
    fits_add,
    fits_copy,
    print_add,
    print_concat,
    print_copy,
    print_lookup,
    print_pool,
)
from qmc.codegen.vector.depthwise import fits_depthwise, print_depthwise
from qmc.codegen.vector.knobs import MOST_PIXELS, NO_KNOBS, Knobs
from qmc.codegen.vector.matrix import print_matrix
from qmc.codegen.vector.sources import VectorLayer
from qmc.codegen.writer import Writer
from qmc.integer import IntegerNetwork
from qmc.layer import Op
from qmc.targets import KernelFamily

#: Line that lets blocks have up to MOST_PIXELS pixels; others compile faster without it.
MORE_PIXELS = "#define QMC_MORE_PIXELS"
_FEW_PIXELS = 12
_ENOUGH_PIXELS = f"""\
#if QMC_MOST_PIXELS < {MOST_PIXELS}
#error "another kernel included the blocks before, without QMC_MORE_PIXELS"
#endif

"""
#: Groups of fewer channels than this are left to the loops of the mapping.
_LEAST_GROUP = 4

Printer = Callable[[VectorLayer], tuple[Constant, ...]]


def make_vector_kernel(
    network: IntegerNetwork,
    index: int,
    prefix: str,
    family: KernelFamily,
    knobs: Knobs = NO_KNOBS,
) -> Kernel | None:
    """Print the function of layer ``index``; None where the unit has no form for it.

    Args:
        network: the whole network.
        index: of the layer.
        prefix: of the function's name.
        family: the vector unit.
        knobs: how the kernel is built.

    Raises:
        CodegenError: the layer has no C form at all.
    """
    integer = network.layers[index]
    spec = integer.layer
    sources = tuple(network.tensors[name] for name in spec.inputs)
    check_layer(integer, sources)
    name = f"{prefix}_{layer_identifier(index, spec.name)}"
    scratch = Scratch(alignment=family.alignment)
    layer = VectorLayer(network, integer, family, name, Writer(), scratch, knobs=knobs)
    printer = choose_printer(layer)
    if printer is None:
        return None
    constants = printer(layer)
    signature = print_signature(name, spec.op, len(sources), layer.scratch.size_bytes > 0)
    head = Writer()
    if knobs.pixels > _FEW_PIXELS:
        head.line(MORE_PIXELS)
    head.lines(f'#include "{family.header}"\n\n')
    if knobs.pixels > _FEW_PIXELS:
        head.lines(_ENOUGH_PIXELS)
    print_description(head, integer, sources, layer.result, None)
    head.line(f"QMC_TARGET {signature}")
    with head.block(""):
        layer.scratch.declare(head)
        head.lines(layer.writer.text())
    return Kernel(
        name,
        signature,
        head.text(),
        "",
        constants,
        layer.scratch.size_bytes,
        integer,
        layer.over_read,
    )


def choose_printer(layer: VectorLayer) -> Printer | None:
    """The printer of a layer's form."""
    integer, spec = layer.integer, layer.integer.layer
    narrow = integer.output.bits <= 8
    match spec.op:
        case Op.CONV | Op.DENSE if integer.weight_format is not None:
            return None  # unpacked through a table
        case Op.CONV | Op.DENSE if fits_depthwise(integer):
            return print_depthwise
        case Op.CONV | Op.DENSE if spec.bounds.G == 1 or spec.bounds.K >= _LEAST_GROUP:
            return print_matrix
        case Op.ADD if narrow and fits_add(integer):
            return print_add
        case Op.CONCAT if narrow:
            return print_concat
        case Op.LOOKUP if narrow:
            return print_lookup
        case Op.AVERAGE_POOL:
            return print_pool
        case Op.MAX_POOL if narrow:
            return print_pool
        case Op.RESHAPE if fits_copy(layer):
            return print_copy
        case _:
            return None
