"""The vocabulary of one layer: loop dims, operands, shapes.

Names in other tools (P and R are *height* here, Q and S *width*; nobody else translates):

====  =================================  ========  ===========  ======
qmc   meaning                            Timeloop  ZigZag       ONNX W
====  =================================  ========  ===========  ======
N     batch                              N         B            -
G     groups                             -         G            group
K     output channels of one group       M         K            M/g
C     input channels of one group        C         C            C/g
P, Q  output height, width               Q, P      OY, OX       -
R, S  filter height, width               S, R      FY, FX       kH, kW
====  =================================  ========  ===========  ======
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from qmc.formats import EnergyClass


class LoopDim(StrEnum):
    """A loop of the layer's nest."""

    N = "N"
    G = "G"
    K = "K"
    C = "C"
    P = "P"
    Q = "Q"
    R = "R"
    S = "S"


class Operand(StrEnum):
    """A tensor role of a layer."""

    W = "W"
    I = "I"  # noqa: E741 - the field's standard letter
    O = "O"  # noqa: E741


#: Dims that index each operand. P with R, and Q with S, index I together (partially relevant).
RELEVANT: dict[Operand, frozenset[LoopDim]] = {
    Operand.W: frozenset({LoopDim.G, LoopDim.K, LoopDim.C, LoopDim.R, LoopDim.S}),
    Operand.I: frozenset(
        {LoopDim.N, LoopDim.G, LoopDim.C, LoopDim.P, LoopDim.Q, LoopDim.R, LoopDim.S}
    ),
    Operand.O: frozenset({LoopDim.N, LoopDim.G, LoopDim.K, LoopDim.P, LoopDim.Q}),
}

#: Dims over which outputs are summed.
REDUCTION: frozenset[LoopDim] = frozenset({LoopDim.C, LoopDim.R, LoopDim.S})


class Op(StrEnum):
    """What a layer computes; its integer meaning is defined in docs/arithmetic.md."""

    CONV = "conv"  # dense, grouped and depthwise; 1-D as 2-D of height 1
    DENSE = "dense"  # Gemm or MatMul with constant weights
    ADD = "add"
    MUL = "mul"  # elementwise; the second input may be (N, C, 1, 1)
    CONCAT = "concat"  # along channels
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"  # global pooling too
    LOOKUP = "lookup"  # unary elementwise function, by table
    SOFTMAX = "softmax"  # along channels
    RESHAPE = "reshape"  # transpose and reshape: data movement only
    SLICE = "slice"  # some channels, rows and columns, or channels in another order


#: Layers with weights.
MAC_OPS: frozenset[Op] = frozenset({Op.CONV, Op.DENSE})


@dataclass(frozen=True, slots=True)
class LoopBounds:
    """Extents of the loop nest; K and C count the channels of *one* group."""

    N: int = 1
    G: int = 1
    K: int = 1
    C: int = 1
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"loop bound {field.name} must be at least 1")

    def __getitem__(self, dim: LoopDim) -> int:
        return int(getattr(self, dim.value))

    def product(self) -> int:
        """Number of points of the nest."""
        return self.N * self.G * self.K * self.C * self.P * self.Q * self.R * self.S


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: plain, hashable data without parameters.

    Attributes:
        name: unique in the network, from the ONNX node.
        op: what it computes.
        inputs: names of the input tensors (activations only, in order).
        output: name of the output tensor.
        bounds: loop nest. Layers without weights use K = C = 1 and G = channels; R, S are the
            window of a pool. RESHAPE and CONCAT use the shape of their output.
        strides, dilations: (height, width).
        pads: (top, left, bottom, right), in elements.
        clamp: real-valued limits of a fused activation: (0, inf) for ReLU, (0, 6) for ReLU6.
        function: for LOOKUP, the key of the function (see ``qmc.functions``), for example
            ``sigmoid``, ``hard_swish`` or ``hard_sigmoid:0.2:0.5``.
        starts: for SLICE, the first (channel, row, column); rows and columns advance by strides.
        interleave: for SLICE, groups of input channels that are read in turn, one channel of each:
            ShuffleNet's channel shuffle. ``starts`` counts in that order.
        perm: for RESHAPE, the transposition (ONNX axes) applied before the reshape.
        count_include_pad: for AVERAGE_POOL, whether padding counts in the divisor.
        source: names of the ONNX nodes this layer came from.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    bounds: LoopBounds
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    clamp: tuple[float, float] | None = None
    function: str | None = None
    starts: tuple[int, int, int] = (0, 0, 0)
    interleave: int = 1
    perm: tuple[int, ...] | None = None
    count_include_pad: bool = False
    source: tuple[str, ...] = ()

    @property
    def has_weights(self) -> bool:
        """Whether the layer multiplies by constant weights."""
        return self.op in MAC_OPS

    @property
    def is_depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.op is Op.CONV and self.bounds.G > 1 and self.bounds.C == 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference; 0 for layers without weights."""
        return self.bounds.product() if self.has_weights else 0

    @property
    def input_height(self) -> int:
        """Rows of I that the nest touches, padding included: (P-1)*stride + (R-1)*dilation + 1."""
        return (self.bounds.P - 1) * self.strides[0] + (self.bounds.R - 1) * self.dilations[0] + 1

    @property
    def input_width(self) -> int:
        """Columns of I that the nest touches, padding included."""
        return (self.bounds.Q - 1) * self.strides[1] + (self.bounds.S - 1) * self.dilations[1] + 1


#: Width of the accumulator in the emitted C (int32); the default width of a partial sum.
ACCUMULATOR_BITS = 32


@dataclass(frozen=True, slots=True)
class Precision:
    """Bits of a layer's operands as the cost model charges them. Design section 4.

    ``psum_bits`` is the width of a partial sum until the last reduction step; from then on an
    output has ``output_bits``. Equal widths are the ``psum: output`` compatibility rule.
    ``weight_class`` says what a multiplication by a weight is made of (:mod:`qmc.formats`).
    """

    weight_bits: int = 8
    input_bits: int = 8
    output_bits: int = 8
    psum_bits: int = ACCUMULATOR_BITS
    weight_class: EnergyClass = EnergyClass.INTEGER

    def __post_init__(self) -> None:
        for name in ("weight_bits", "input_bits", "output_bits", "psum_bits"):
            bits = getattr(self, name)
            if not 1 <= bits <= 64:
                raise ValueError(f"{name} must be 1 to 64, found {bits}")

    def bits(self, operand: Operand) -> int:
        """Width of a finished element of ``operand``."""
        match operand:
            case Operand.W:
                return self.weight_bits
            case Operand.I:
                return self.input_bits
            case Operand.O:
                return self.output_bits
