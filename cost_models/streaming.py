"""Layers without weights: every element is read once and written once; no mapping is searched.

The model of element-wise layers, pools, concatenation, table look-ups, softmax and moves:

- each input is read once from, and the output written once to, every memory *outside the array*
  that keeps inputs (outputs) by default: the main memory and, where there is one, the shared
  buffer. Data pass through the shared buffer: it is filled from outside and read by the vector
  unit, written by the vector unit and drained outside. Tiles are streamed, so nothing has to fit
  as a whole.
- one operation per lane and cycle, on the machine's MAC lanes; the number of operations per output
  is in :data:`_OPERATIONS`.
- an operation costs the energy of one multiply-accumulate of the machine. This is an *assumption*
  (label it so): an adder or comparator costs less, a table look-up about as much; no published
  energy table of these machines lists vector operations.
- cycles = the largest of the lane work and every port's words / bandwidth.
"""

from __future__ import annotations

import math

from qmc.cost_models.base import Accesses, Cost, total_cost
from qmc.cost_models.ports import slowest
from qmc.cost_models.words import packed_words, rows
from qmc.layer import Layer, Op, Operand, Precision
from qmc.targets.target import MemoryLevel, Target

#: Operations per output element; a pool does one more per window position.
_OPERATIONS = {
    Op.ADD: 3,  # two rescales and the sum
    Op.MUL: 2,  # product and rescale
    Op.CONCAT: 1,  # rescale
    Op.LOOKUP: 1,
    Op.SOFTMAX: 4,  # maximum, exponential, sum, division
    Op.RESHAPE: 0,
    Op.SLICE: 0,
    Op.MAX_POOL: 0,
    Op.AVERAGE_POOL: 1,  # rescale
}
_POOLS = frozenset({Op.MAX_POOL, Op.AVERAGE_POOL})


def streaming_cost(layer: Layer, precision: Precision, target: Target) -> Cost:
    """Cost of a layer without weights.

    Args:
        layer: an operation outside :data:`qmc.layer.MAC_OPS`.
        precision: widths of the inputs (all alike) and of the output.
        target: the machine.
    """
    read, written = input_elements(layer), output_elements(layer)
    accesses: dict[str, dict[Operand, Accesses]] = {level.name: {} for level in target.memories}
    outside = memories_outside_array(target)
    for index, level in enumerate(outside):
        passes_through = index > 0
        if Operand.I in level.keep:
            accesses[level.name][Operand.I] = _input(level, read, precision, passes_through)
        if Operand.O in level.keep:
            accesses[level.name][Operand.O] = _output(level, written, precision, passes_through)
    work = operations(layer)
    compute = max(1, math.ceil(work / target.mac.instances))
    cycles, bound = slowest(compute, outside, accesses)
    return total_cost(
        accesses,
        mac_pj=work * target.mac.energy_pj,
        leakage_pj=cycles * math.fsum(level.leakage_pj for level in outside),
        cycles=cycles,
        bound=bound,
        utilization=work / (cycles * target.mac.instances),
    )


def memories_outside_array(target: Target) -> tuple[MemoryLevel, ...]:
    """The single-instance memories that inputs or outputs pass through, outermost first."""
    return tuple(
        level
        for level in target.memories
        if level.instances == 1 and level.keep & {Operand.I, Operand.O}
    )


def output_elements(layer: Layer) -> int:
    """Elements of the output tensor."""
    bounds = layer.bounds
    return bounds.N * bounds.G * bounds.K * bounds.P * bounds.Q


def input_elements(layer: Layer) -> int:
    """Elements of all inputs together, padding left out.

    Both inputs of a MUL count at full size, though the second may be one value per channel.
    """
    assert not layer.has_weights, layer.name
    if layer.op in _POOLS:
        top, left, bottom, right = layer.pads
        height = max(1, layer.input_height - top - bottom)
        width = max(1, layer.input_width - left - right)
        return layer.bounds.N * layer.bounds.G * layer.bounds.K * height * width
    if layer.op in {Op.ADD, Op.MUL}:
        return output_elements(layer) * len(layer.inputs)
    return output_elements(layer)


def operations(layer: Layer) -> int:
    """Vector operations of the layer."""
    per_output = _OPERATIONS[layer.op]
    if layer.op in _POOLS:
        per_output += layer.bounds.R * layer.bounds.S
    return output_elements(layer) * per_output


def _input(level: MemoryLevel, elements: int, precision: Precision, through: bool) -> Accesses:
    words = packed_words(elements, level.stored_bits(Operand.I, precision.input_bits), level)
    energy = rows(words, level) * (level.read_pj + (level.fill_pj if through else 0.0))
    return Accesses(words, words if through else 0, 0, 1, _resident(words, level), energy)


def _output(level: MemoryLevel, elements: int, precision: Precision, through: bool) -> Accesses:
    words = packed_words(elements, level.stored_bits(Operand.O, precision.output_bits), level)
    energy = rows(words, level) * (level.update_pj + (level.read_pj if through else 0.0))
    return Accesses(words if through else 0, 0, words, 1, _resident(words, level), energy)


def _resident(words: int, level: MemoryLevel) -> int:
    """Words held at once: a stream needs no more than a row in a bounded memory."""
    return words if level.depth_words is None else min(words, level.row_words)
