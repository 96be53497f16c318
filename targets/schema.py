"""The schema of a machine description and its checks; errors name key, value and what is allowed.

The models here only describe and check the YAML; :mod:`qmc.targets.load` reads files and turns a
checked description into a :class:`~qmc.targets.target.Target`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qmc.layer import LoopDim, Operand

SCHEMA_VERSION = 1

#: Dims a constraint may name. The group loop G has none of its own: it follows ``groups_follow``.
ConstrainedDim = Literal["N", "K", "C", "P", "Q", "R", "S"]
CONSTRAINED_DIMS: tuple[ConstrainedDim, ...] = ("N", "K", "C", "P", "Q", "R", "S")

_Count = Annotated[int, Field(ge=1, le=1 << 40)]
_Bits = Annotated[int, Field(ge=1, le=64)]
_Energy = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Bandwidth = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["unlimited"]
_Cycles = Annotated[float, Field(gt=0, le=1 << 20, allow_inf_nan=False)]
_OperandName = Literal["W", "I", "O"]
_Factor = _Count | Literal["all"]
_Pixels = Annotated[int, Field(ge=1, le=32)]
#: Pixels that blocks of vectors unroll; blocks of tiles do not unroll.
_MOST_UNROLLED = 12
_Vector = Literal[16, 32, 64]
#: A C expression: calls and operators, no comments, strings in quotes.
_CheckText = Annotated[str, Field(pattern=r'^[A-Za-z0-9_()&|!" .-]*$', max_length=400)]
#: A word of a command, for people, make and a shell alike: nothing that they expand.
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,./:-]+$", max_length=200)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]


def _require_distinct(key: str, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ValueError(f"{key} names '{name}' twice; names must be distinct")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ConstraintSpec(_Model):
    """What one block of loops may contain."""

    only: tuple[ConstrainedDim, ...] | None = None
    factors: dict[ConstrainedDim, _Factor] = {}
    maximum: dict[ConstrainedDim, _Count] = {}
    order: tuple[ConstrainedDim, ...] = ()

    @field_validator("only", "order", mode="before")
    @classmethod
    def _tuples(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _agree(self) -> ConstraintSpec:
        for key, dims in (("only", self.only or ()), ("order", self.order)):
            _require_distinct(key, dims)
        for dim, factor in self.factors.items():
            if self.only is not None and dim not in self.only and factor != 1:
                raise ValueError(f"factors.{dim} is {factor}, but 'only' leaves {dim} out")
            limit = self.maximum.get(dim)
            if limit is not None and factor != "all" and factor > limit:
                raise ValueError(f"factors.{dim} is {factor}, above maximum.{dim} {limit}")
        return self

    def allows(self, dim: ConstrainedDim) -> bool:
        """Whether a loop of ``dim`` may have an extent above 1."""
        if self.only is not None and dim not in self.only:
            return False
        return self.factors.get(dim) != 1 and self.maximum.get(dim) != 1


class AxisSpec(ConstraintSpec):
    """One axis of a fan-out."""

    size: _Count

    @model_validator(mode="after")
    def _fits(self) -> AxisSpec:
        if self.order:
            raise ValueError("'order' has no meaning on an axis of space")
        fixed = 1
        for factor in self.factors.values():
            fixed *= 1 if factor == "all" else factor
        if fixed > self.size:
            raise ValueError(f"the fixed factors need {fixed} instances, size is {self.size}")
        return self


class FanoutSpec(_Model):
    """Instances right below one instance of a memory, by axis."""

    x: AxisSpec = AxisSpec(size=1)
    y: AxisSpec = AxisSpec(size=1)


class EnergySpec(_Model):
    """Energy of one row access, pJ."""

    read: _Energy
    fill: _Energy
    update: _Energy


class BandwidthSpec(_Model):
    """Words per cycle and instance."""

    read: _Bandwidth = "unlimited"
    write: _Bandwidth = "unlimited"


class HopSpec(_Model):
    """Energy to move a bit to the neighbour along an axis, pJ."""

    x: _Energy = 0.0
    y: _Energy = 0.0


class NetworkSpec(_Model):
    """Wires between a memory and the instances right below it."""

    topology: Literal["bus", "mesh"]
    hop_pj_per_bit: HopSpec = HopSpec()
    receiver_pj_per_bit: _Energy = 0.0
    add_pj: _Energy = 0.0


class MemorySpec(_Model):
    """One memory of the hierarchy."""

    name: _Name
    word_bits: Annotated[int, Field(ge=1, le=4096)]
    row_words: _Count = 1
    depth_words: _Count | Literal["unlimited"]
    cache: Literal["L1", "L2", "L3", "L4"] | None = None
    buffering: Annotated[int, Field(ge=1, le=16)] = 1
    keep: tuple[_OperandName, ...] = ()
    bypass: tuple[_OperandName, ...] = ()
    packing: Literal["words", "single", "dense", "planes"]
    store_bits: dict[_OperandName, _Bits] = {}
    energy_pj: EnergySpec
    leakage_pj: _Energy = 0.0
    bandwidth: BandwidthSpec = BandwidthSpec()
    cluster: _Count = 1
    temporal: ConstraintSpec = ConstraintSpec()
    fanout: FanoutSpec = FanoutSpec()
    network: NetworkSpec | None = None
    source: str | None = None

    @field_validator("keep", "bypass", mode="before")
    @classmethod
    def _operands(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _agree(self) -> MemorySpec:
        _require_distinct("keep", self.keep)
        _require_distinct("bypass", self.bypass)
        both = sorted(set(self.keep) & set(self.bypass))
        if both:
            raise ValueError(f"{both[0]} is in keep and in bypass; name it once")
        for name in self.store_bits:
            if name in self.bypass:
                raise ValueError(f"store_bits.{name} is given, but {name} bypasses this memory")
        if self.network is not None and self.fanout.x.size * self.fanout.y.size == 1:
            raise ValueError("a network needs more than one instance below; fanout gives one")
        if self.depth_words != "unlimited" and self.depth_words < self.buffering:
            raise ValueError(f"buffering of {self.buffering} tiles needs as many words at least")
        return self


class WidthEnergySpec(_Model):
    """Energy of a multiply-accumulate of operands up to these widths."""

    weight_bits: _Bits
    input_bits: _Bits
    energy_pj: _Energy


class WidthCyclesSpec(_Model):
    """Cycles of a multiply-accumulate of operands up to these widths."""

    weight_bits: _Bits
    input_bits: _Bits
    cycles: _Cycles


class ClassCostSpec(_Model):
    """Multiply-accumulates by weights that are no integers."""

    energy_pj: _Energy
    cycles: _Cycles = 1.0


class MacSpec(_Model):
    """The multiply-accumulate units."""

    name: _Name = "mac"
    energy_pj: _Energy
    leakage_pj: _Energy = 0.0
    weight_bits: tuple[_Bits, _Bits]
    input_bits: tuple[_Bits, _Bits]
    energy_by_width: tuple[WidthEnergySpec, ...] = ()
    cycles: _Cycles = 1.0
    cycles_by_width: tuple[WidthCyclesSpec, ...] = ()
    by_class: dict[Literal["sign", "shift", "float"], ClassCostSpec] = {}
    source: str | None = None

    @field_validator(
        "weight_bits", "input_bits", "energy_by_width", "cycles_by_width", mode="before"
    )
    @classmethod
    def _range(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _ascending(self) -> MacSpec:
        for key, (low, high) in (
            ("weight_bits", self.weight_bits),
            ("input_bits", self.input_bits),
        ):
            if low > high:
                raise ValueError(f"{key} is [{low}, {high}]; the first must not exceed the second")
        return self


class ToolchainSpec(_Model):
    """Compiler, flags and emulator of a machine that is not this computer."""

    compilers: Annotated[tuple[_Word, ...], Field(min_length=1)]
    flags: tuple[_Word, ...] = ()
    optimize: _Word = "-O3"
    linker: _Word | Literal[""] = ""
    link_flags: tuple[_Word, ...] = ()
    runner: tuple[_Word, ...] = ()
    sources: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]+\.(c|ld)$")], ...] = ()
    packages: tuple[_Word, ...] = ()

    @field_validator(
        "compilers", "flags", "link_flags", "runner", "sources", "packages", mode="before"
    )
    @classmethod
    def _tuples(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class KernelsSpec(_Model):
    """The vector unit of a processor, for the emitted C."""

    header: Annotated[str, Field(pattern=r"^[a-z0-9_]+\.h$", max_length=64)]
    cpu_flags: tuple[_Name, ...] = ()
    lanes: Annotated[int, Field(ge=4, le=64, multiple_of=4)]
    pixels: Annotated[tuple[_Pixels, ...], Field(min_length=1, max_length=4)]
    depthwise_bytes: Annotated[tuple[_Vector, ...], Field(min_length=1, max_length=3)]
    depthwise_pixels: Annotated[int, Field(ge=1, le=4)]
    widens: bool = False
    reads_codes: bool = False
    registers: Annotated[int, Field(ge=0, le=256)] = 0
    state_components: tuple[Annotated[int, Field(ge=0, le=62)], ...] = ()
    check: _CheckText = ""
    panel_bytes: _Count = 16384
    strip_bytes: _Count = 16384
    panels: Literal["quads", "rows"] = "quads"
    run_bytes: Literal[4, 8, 16] = 4
    tile_bytes: Literal[0, 32, 64] = 0
    block_cost: Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)] = 0.5
    columns: Annotated[int, Field(ge=0, le=32)] = 0
    requant: Literal["float", "integer"] = "float"
    signed_inputs: bool = False
    alignment: Literal[4, 8, 16, 32, 64] = 64
    toolchain: ToolchainSpec | None = None

    @field_validator("cpu_flags", "state_components", "pixels", "depthwise_bytes", mode="before")
    @classmethod
    def _tuples(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _agree(self) -> KernelsSpec:
        if self.tile_bytes and self.panels != "quads":
            raise ValueError("tile_bytes is for panels 'quads'")
        if max(self.pixels) > _MOST_UNROLLED and not self.tile_bytes:
            raise ValueError(f"pixels above {_MOST_UNROLLED} are for tiles, but tile_bytes is 0")
        return self


class TargetSpec(_Model):
    """A whole machine."""

    schema_version: Literal[1]
    name: _Name
    description: str
    clock_mhz: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    psum_bits: _Bits
    groups_follow: Literal["K", "C"]
    caches: str | None = None
    sources: Annotated[dict[str, str], Field(min_length=1)]
    memories: Annotated[tuple[MemorySpec, ...], Field(min_length=2, max_length=16)]
    mac: MacSpec
    kernels: KernelsSpec | None = None

    @field_validator("memories", mode="before")
    @classmethod
    def _levels(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _agree(self) -> TargetSpec:
        _require_distinct("memories", (*(memory.name for memory in self.memories), self.mac.name))
        for index, memory in enumerate(self.memories):
            if memory.cache is not None:  # else qmc.targets.system_caches has filled it in
                raise ValueError(
                    f"memories[{index}].cache is {memory.cache}, but 'caches' names no folder"
                )
        outer = self.memories[0]
        for operand in Operand:
            if operand.value not in outer.keep:
                raise ValueError(
                    f"memories[0] '{outer.name}' must keep {operand.value}: "
                    "the outermost memory holds every operand"
                )
        _require_room_for_sums(self.psum_bits, self.memories)
        for dim in CONSTRAINED_DIMS:
            _require_mappable(dim, self.memories)
        return self


def blocks(memories: tuple[MemorySpec, ...]) -> Iterator[tuple[str, ConstraintSpec]]:
    """Every block of loops with its key path, outermost first."""
    for index, memory in enumerate(memories):
        path = f"memories[{index}]"
        yield f"{path}.temporal", memory.temporal
        yield f"{path}.fanout.x", memory.fanout.x
        yield f"{path}.fanout.y", memory.fanout.y


def _require_room_for_sums(psum_bits: int, memories: tuple[MemorySpec, ...]) -> None:
    """An entry of the innermost memory that keeps outputs holds a partial sum."""
    index = max(index for index, memory in enumerate(memories) if "O" in memory.keep)
    entry = memories[index].store_bits.get("O", psum_bits)
    if entry < psum_bits:
        raise ValueError(
            f"memories[{index}].store_bits.O is {entry}, but partial sums have {psum_bits} bits; "
            f"set psum_bits to {entry} or less"
        )


def _require_mappable(dim: ConstrainedDim, memories: tuple[MemorySpec, ...]) -> None:
    """A dim needs a block that takes any extent, and at most one block that takes it whole."""
    whole = [path for path, block in blocks(memories) if block.factors.get(dim) == "all"]
    if len(whole) > 1:
        raise ValueError(
            f"{whole[0]} and {whole[1]} both take 'all' of {dim}; one of them can have it"
        )
    if not any(_takes_any(block, dim) for _, block in blocks(memories)):
        raise ValueError(
            f"no block of loops can take {dim}: every one fixes or limits its extent; "
            f"allow {dim} in the temporal loops of a memory"
        )


def _takes_any(block: ConstraintSpec, dim: ConstrainedDim) -> bool:
    if not block.allows(dim) or dim in block.maximum:
        return False
    factor = block.factors.get(dim)
    return factor == "all" or (factor is None and not isinstance(block, AxisSpec))


def dim_of(name: str) -> LoopDim:
    """The loop dim a description calls ``name``."""
    return LoopDim(name)
