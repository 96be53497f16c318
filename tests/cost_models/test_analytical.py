"""The analytical model on a layer small enough to follow with a pencil (docs/cost-model.md)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.base import Accesses, Cost
from qmc.cost_models.ports import compute_cycles, cycles_by_demand
from qmc.cost_models.traffic import FirstFill
from qmc.errors import CapacityError, CostModelError, MappingError
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import Packing, Target, WidthCycles, WidthEnergy
from tests.cost_models.machines import machine, memory

W, I, O = Operand.W, Operand.I, Operand.O  # noqa: E741
D = LoopDim

LAYER = Layer("hand", Op.CONV, ("x",), "y", LoopBounds(K=2, C=2, P=4, R=3))
BITS = Precision(weight_bits=4, input_bits=8, output_bits=8, psum_bits=16)
MAIN = memory(
    "main", row_words=4, packing=Packing.WORDS, read_pj=100.0, fill_pj=100.0, update_pj=100.0
)
BUFFER = memory(
    "buffer",
    packing=Packing.WORDS,
    depth_words=11,
    fanout_x=2,
    read_pj=2.0,
    fill_pj=3.0,
    update_pj=3.0,
    read_bandwidth=2.0,
    write_bandwidth=2.0,
)
REGISTER = memory(
    "register", packing=Packing.WORDS, depth_words=1, read_pj=0.1, fill_pj=0.2, update_pj=0.2
)
MACHINE = machine(MAIN, BUFFER, REGISTER)
MAPPING = Mapping(
    loops=(
        Loop(D.C, 2, "main"),
        Loop(D.R, 3, "buffer"),
        Loop(D.P, 4, "buffer"),
        Loop(D.K, 2, "buffer", "x"),
    ),
    keep=(
        Keep("main", frozenset({W, I, O})),
        Keep("buffer", frozenset({I, O})),
        Keep("register", frozenset({W})),
    ),
)


def evaluate(
    mapping: Mapping = MAPPING,
    target: Target = MACHINE,
    bits: Precision = BITS,
    model: AnalyticalModel | None = None,
    layer: Layer = LAYER,
) -> Cost:
    return (model or AnalyticalModel()).evaluate(layer, bits, target, mapping)


def words(entry: Accesses) -> tuple[int, int, int, int, int]:
    return entry.reads, entry.fills, entry.updates, entry.utilized_words, entry.instances


def test_hand_worked_layer_has_the_counts_of_the_page() -> None:
    cost = evaluate()
    assert {
        (level, operand): words(entry)
        for level, entries in cost.accesses.items()
        for operand, entry in entries.items()
    } == {
        ("main", W): (3, 0, 0, 3, 1),
        ("main", I): (6, 0, 0, 6, 1),
        ("main", O): (0, 0, 4, 4, 1),
        ("buffer", I): (12, 6, 0, 3, 1),
        ("buffer", O): (40, 0, 44, 8, 1),
        ("register", W): (6, 2, 0, 1, 2),
    }


def test_hand_worked_layer_has_the_energy_and_cycles_of_the_page() -> None:
    cost = evaluate()
    assert cost.energy_by_memory_pj == pytest.approx(
        {"main": 400.0, "buffer": 254.0, "register": 2.0, "mac": 48.0}
    )
    assert cost.energy_pj == pytest.approx(704.0)
    assert (cost.cycles, cost.bound) == (26, "buffer read bandwidth")
    assert cost.utilization == pytest.approx(48 / (26 * 2))
    assert cost.edp_pj_cycles == pytest.approx(704.0 * 26)


def test_output_rule_packs_partial_sums_as_outputs() -> None:
    entry = evaluate(model=AnalyticalModel(psum=PsumRule.OUTPUT)).accesses["buffer"][O]
    assert words(entry) == (20, 0, 24, 4, 1)


def test_counted_first_fill_charges_the_zeros() -> None:
    entry = evaluate(model=AnalyticalModel(FirstFill.COUNTED)).accesses["buffer"][O]
    assert words(entry) == (40, 8, 44, 8, 1)


def test_unlimited_ports_leave_compute_as_the_bound() -> None:
    free = replace(BUFFER, read_bandwidth=None, write_bandwidth=None)
    cost = evaluate(target=machine(MAIN, free, REGISTER))
    assert (cost.cycles, cost.bound) == (24, "compute")


def test_write_port_can_be_the_bound() -> None:
    slow = replace(BUFFER, write_bandwidth=0.5)
    cost = evaluate(target=machine(MAIN, slow, REGISTER))
    assert (cost.cycles, cost.bound) == (100, "buffer write bandwidth")


def test_leakage_grows_with_cycles_and_used_instances() -> None:
    leaky = replace(REGISTER, leakage_pj=0.5)
    cost = evaluate(target=machine(MAIN, BUFFER, leaky))
    assert cost.energy_by_memory_pj["leakage"] == pytest.approx(26 * 2 * 0.5)


def test_clustered_instances_share_their_rows() -> None:
    pair = replace(REGISTER, cluster=2)
    cost = evaluate(target=machine(MAIN, BUFFER, pair))
    assert cost.energy_by_memory_pj["register"] == pytest.approx(1.0)


def test_final_outputs_are_partial_where_other_instances_hold_the_rest() -> None:
    """C in space above two accumulators: neither ever holds a finished output."""
    accumulator = replace(REGISTER, name="accumulator", depth_words=8)
    target = machine(MAIN, replace(BUFFER, depth_words=None), accumulator)
    loops = (
        Loop(D.P, 4, "buffer"),
        Loop(D.C, 2, "buffer", "x"),
        Loop(D.R, 3, "accumulator"),
        Loop(D.K, 2, "accumulator"),
    )
    keep = (
        Keep("main", frozenset({W, I, O})),
        Keep("buffer", frozenset({I, O})),
        Keep("accumulator", frozenset({O})),
    )
    accesses = evaluate(Mapping(loops, keep), target).accesses
    # 24 updates of 16 bits each; the buffer receives the 8 finished outputs, two per word.
    assert words(accesses["accumulator"][O]) == (16, 0, 24, 2, 2)
    assert words(accesses["buffer"][O]) == (0, 0, 4, 4, 1)


def test_tile_larger_than_its_memory_raises_with_bytes() -> None:
    small = replace(BUFFER, depth_words=10)
    with pytest.raises(CapacityError, match="needs 22 bytes, buffer has 20 bytes") as caught:
        evaluate(target=machine(MAIN, small, REGISTER))
    assert (caught.value.needed_bytes, caught.value.available_bytes) == (22, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loops": MAPPING.loops[1:]}, "extents of C multiply to 1; its bound is 2"),
        ({"loops": (*MAPPING.loops, Loop(D.Q, 1, "cache"))}, "at cache: no such level; allowed: m"),
        ({"loops": (*MAPPING.loops, Loop(D.Q, 1, "main", "z"))}, "axis 'z'; allowed: x, y"),
        ({"loops": (*MAPPING.loops, Loop(D.Q, 0, "main"))}, "loop Q has extent 0"),
        ({"loops": (*MAPPING.loops[:3], Loop(D.K, 2, "main", "x"))}, "2 instances along x; the f"),
        ({"keep": MAPPING.keep[1:]}, "at main: keeps nothing; it must keep W, I and O"),
        ({"keep": (*MAPPING.keep, MAPPING.keep[0])}, "a level is listed twice"),
        ({"keep": (*MAPPING.keep, Keep("cache", frozenset()))}, "at cache: no such level"),
    ],
)
def test_illegal_mapping_raises(change: dict[str, object], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        evaluate(replace(MAPPING, **change))  # type: ignore[arg-type]


def test_width_outside_the_macs_raises() -> None:
    with pytest.raises(CostModelError, match=r"weights of 17 bits; .* execute 1 to 16"):
        evaluate(bits=replace(BITS, weight_bits=17))


@pytest.mark.parametrize(
    ("bits", "pj"), [((8, 8), 1.0), ((4, 8), 0.6), ((4, 4), 0.2), ((5, 4), 1.0)]
)
def test_energy_of_the_macs_follows_their_widths(bits: tuple[int, int], pj: float) -> None:
    table = (WidthEnergy(4, 8, 0.6), WidthEnergy(4, 4, 0.2), WidthEnergy(2, 8, 5.0))
    target = replace(MACHINE, mac=replace(MACHINE.mac, energy_by_width=table))
    cost = evaluate(target=target, bits=Precision(*bits, 8, 16))
    assert cost.energy_by_memory_pj["mac"] == pytest.approx(48 * pj)


SERIAL = tuple(WidthCycles(bits, 8, float(bits)) for bits in range(1, 8))
FUSED = (WidthCycles(2, 2, 1 / 16), WidthCycles(4, 4, 1 / 4), WidthCycles(4, 8, 1 / 2))


@pytest.mark.parametrize(
    ("native", "table", "bits", "cycles"),
    [
        (1.0, (), (4, 8), 24),  # 24 steps of one cycle
        (8.0, SERIAL, (3, 8), 24 * 3),  # weight bits one after another
        (8.0, SERIAL, (8, 8), 24 * 8),  # no entry holds 8 bits: the native cycles
        (1.0, FUSED, (4, 8), 12),  # two multiply-accumulates a cycle
        (1.0, FUSED, (3, 3), 6),  # 3 bits need the 4-bit entry
        (1.0, FUSED, (2, 2), 2),  # 24 / 16 = 1.5, a whole cycle more
        (1.1, (), (8, 8), 27),  # 26.4
        (0.1, (), (8, 8), 3),  # 2.4
    ],
)
def test_compute_cycles_follow_the_widths_of_the_macs(
    native: float, table: tuple[WidthCycles, ...], bits: tuple[int, int], cycles: int
) -> None:
    free = replace(BUFFER, depth_words=None, read_bandwidth=None, write_bandwidth=None)
    target = machine(MAIN, free, REGISTER)
    target = replace(target, mac=replace(target.mac, cycles=native, cycles_by_width=table))
    cost = evaluate(target=target, bits=Precision(*bits, 8, 16))
    assert (cost.cycles, cost.bound) == (cycles, "compute")


def test_compute_cycles_that_divide_evenly_are_not_rounded_up() -> None:
    assert 100 * 0.07 > 7
    assert compute_cycles(100, 0.07) == 7
    assert compute_cycles(1 << 40, 1.0) == 1 << 40


@pytest.mark.parametrize(
    ("compute", "words", "cycles"),
    [
        (5, [208], 14),  # 208 / 16 = 13; 41.6 words a cycle stretch 5 to 13.000000000000002
        (5, [160], 10),
        (3, [16, 0, 33], 4),  # 49 / 16 = 3.06
        (9, [100, 44], 9),  # the port keeps up
    ],
)
def test_cycles_by_demand_round_as_timeloop_does(
    compute: int, words: list[int], cycles: int
) -> None:
    assert cycles_by_demand(compute, words, 16.0) == cycles


def test_ports_hide_a_slow_multiplier_and_the_use_says_how_busy_it_is() -> None:
    mac = replace(MACHINE.mac, cycles=1.05)
    cost = evaluate(target=replace(MACHINE, mac=mac))  # compute 25.2, read port 26
    assert (cost.cycles, cost.bound) == (26, "compute")
    slow = evaluate(target=replace(MACHINE, mac=replace(MACHINE.mac, cycles=2.0)))
    assert (slow.cycles, slow.bound) == (48, "compute")
    assert slow.utilization == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("stride", "dilation", "fills"),
    [
        (1, 1, 8),  # windows of 3 rows overlap by 2: 3 + 5 * 1
        (2, 1, 13),  # by 1: 3 + 5 * 2
        (4, 1, 18),  # not at all: 6 * 3
        (1, 2, 10),  # a box of 5 rows slides by 1
    ],
)
def test_sliding_window_is_charged_its_new_rows(stride: int, dilation: int, fills: int) -> None:
    layer = Layer(
        "slide",
        Op.CONV,
        ("x",),
        "y",
        LoopBounds(P=6, R=3),
        strides=(stride, 1),
        dilations=(dilation, 1),
    )
    everything = frozenset({W, I, O})
    mapping = Mapping(
        (Loop(D.P, 6, "main"), Loop(D.R, 3, "local")),
        (Keep("main", everything), Keep("local", everything)),
    )
    target = machine(memory("main"), memory("local"))
    cost = evaluate(mapping, target, Precision(8, 8, 8, 8), layer=layer)
    assert cost.accesses["local"][I].fills == fills
    assert cost.accesses["main"][I].reads == fills


def test_depthwise_layer_reads_each_channel_once() -> None:
    layer = Layer("dw", Op.CONV, ("x",), "y", LoopBounds(G=4, P=5, Q=3, R=3, S=2))
    everything = frozenset({W, I, O})
    mapping = Mapping(
        (
            Loop(D.G, 4, "main"),
            *(Loop(dim, layer.bounds[dim], "local") for dim in (D.P, D.Q, D.R, D.S)),
        ),
        (Keep("main", everything), Keep("local", everything)),
    )
    target = machine(memory("main"), memory("local"))
    cost = evaluate(mapping, target, Precision(8, 8, 8, 8), layer=layer)
    main = cost.accesses["main"]
    assert main[I].reads == 4 * 7 * 4
    assert main[W].reads == 4 * 3 * 2
    assert main[O].updates == 4 * 5 * 3


def test_page_shows_the_counts_and_energies_of_the_model() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "cost-model.md").read_text("utf-8")
    cost = evaluate()
    for name in ("main", "buffer", "register"):
        (row,) = re.findall(rf"^\| {name}(?:, each)? \|(.*)\|$", page, re.MULTILINE)
        *counts, energy = (cell.strip() for cell in row.split("|"))
        shown = [tuple(map(int, cell.split("/"))) for cell in counts if cell]
        entries = [
            cost.accesses[name][operand] for operand in (W, I, O) if operand in cost.accesses[name]
        ]
        assert shown == [words(entry)[:3] for entry in entries]
        assert float(energy.split("=")[1]) == pytest.approx(cost.energy_by_memory_pj[name])
    assert f"Energy {cost.energy_pj:.0f} pJ" in page
    assert f"**{cost.cycles} cycles, bound by {cost.bound}**" in page
