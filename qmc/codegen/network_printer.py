"""The network's header and the function that runs its layers in order."""

from __future__ import annotations

from qmc.arithmetic import QuantParams
from qmc.codegen.arena import MemoryPlan
from qmc.codegen.choice_printer import print_checks, print_choice, print_choice_header
from qmc.codegen.kernel import tensor_bytes
from qmc.codegen.names import comment_text
from qmc.codegen.variants import Variant
from qmc.codegen.writer import Writer
from qmc.integer import IntegerNetwork
from qmc.network import Tensor

_WORD = 4


def scratch_name(index: int) -> str:
    """Name of a kernel's scratch in the memory plan; no tensor is called so."""
    return f"\0scratch {index}"


def print_header(name: str, network: IntegerNetwork, variants: tuple[Variant, ...]) -> str:
    """``<net>.h``."""
    upper = name.upper()
    writer = Writer()
    writer.line(f"/* Network {comment_text(network.name)}. Written by qmc. */")
    writer.line(f"#ifndef QMC_{upper}_H")
    writer.line(f"#define QMC_{upper}_H")
    writer.line()
    writer.line("/* Activations are packed: channels last, each pixel's channels a little-endian")
    writer.line("   bit stream padded to a byte. real = scale * (code - zero point). */")
    for role, tensor in (("INPUT", network.input), ("OUTPUT", network.output)):
        _print_macros(
            writer,
            f"{upper}_{role}",
            network.tensors[tensor],
            network.quantization[tensor],
            tensor_bytes(network, tensor),
        )
    writer.line(f"#define {upper}_LAYERS {len(network.layers)}")
    writer.line()
    writer.line("/* One inference; returns 0. Not reentrant: all memory is one static arena. */")
    writer.line(f"int {name}_run(const void *input, void *output);")
    writer.line()
    print_choice_header(writer, name, variants)
    writer.line("#ifdef QMC_TRACE")
    writer.line("/* Called after every layer with its packed output; the program defines it. */")
    writer.line("void qmc_trace(int layer, const void *data, unsigned long size);")
    writer.line("#endif")
    writer.line()
    writer.line("#endif")
    return writer.text()


def _print_macros(
    writer: Writer, prefix: str, tensor: Tensor, quant: QuantParams, size: int
) -> None:
    height_width = tensor.shape[2:] or (1,)
    width = height_width[-1]
    writer.line(f"#define {prefix}_CHANNELS {tensor.channels}")
    writer.line(f"#define {prefix}_HEIGHT {tensor.pixels // width}")
    writer.line(f"#define {prefix}_WIDTH {width}")
    writer.line(f"#define {prefix}_BITS {quant.bits}")
    writer.line(f"#define {prefix}_BYTES {size}")
    writer.line(f"#define {prefix}_SCALE {quant.scale!r}")
    writer.line(f"#define {prefix}_ZERO_POINT {quant.zero_point}")
    writer.line()


def print_network(
    name: str, network: IntegerNetwork, variants: tuple[Variant, ...], alignment: int = 0
) -> str:
    """``<net>.c``.

    Args:
        name: prefix of all C names.
        network: the network.
        variants: its functions, for one processor or several.
        alignment: of the arena, in bytes; 0 is that of its type.
    """
    writer = Writer()
    if len(variants) > 1:
        writer.line("#include <string.h>")
        writer.line()
    writer.line(f'#include "{name}.h"')
    writer.line('#include "kernels/kernels.h"')
    writer.line()
    peak = max(variant.memory.peak_bytes for variant in variants)
    words = max(1, -(-peak // _WORD))
    writer.line(f"/* All intermediate tensors and scratch: {peak} bytes at the peak. */")
    aligned = f" __attribute__((aligned({alignment})))" if alignment else ""
    writer.line(f"static int32_t arena[{words}]{aligned};")
    writer.line()
    writer.line("#ifdef QMC_TRACE")
    writer.line("#define TRACE(layer, data, size) qmc_trace(layer, data, size)")
    writer.line("#else")
    writer.line("#define TRACE(layer, data, size) ((void)0)")
    writer.line("#endif")
    writer.line()
    print_checks(writer, name, variants)
    for variant in variants:
        head = f"static int run{variant.suffix}" if len(variants) > 1 else f"int {name}_run"
        _print_run(writer, head, network, variant)
    if len(variants) > 1:
        print_choice(writer, name, variants)
    return writer.text()


def _print_run(writer: Writer, head: str, network: IntegerNetwork, variant: Variant) -> None:
    """The function that calls all layers."""
    writer.line(f"{head}(const void *input, void *output)")
    writer.line("{")
    writer.line("    uint8_t *const memory = (uint8_t *)arena;")
    for i, kernel in enumerate(variant.kernels):
        layer, memory = kernel.integer.layer, variant.memory
        arguments = [_place(network, memory, tensor) for tensor in (*layer.inputs, layer.output)]
        result = arguments[-1]
        if kernel.scratch_bytes:
            arguments.append(f"arena + {memory.offsets[scratch_name(i)] // _WORD}")
        writer.line(f"    {kernel.function}({', '.join(arguments)});")
        writer.line(f"    TRACE({i}, {result}, {tensor_bytes(network, layer.output)});")
    writer.line("    (void)memory;")
    writer.line("    return 0;")
    writer.line("}")


def _place(network: IntegerNetwork, memory: MemoryPlan, tensor: str) -> str:
    if tensor == network.input:
        return "(const uint8_t *)input"
    if tensor == network.output:
        return "(uint8_t *)output"
    return f"memory + {memory.offsets[tensor]}"
