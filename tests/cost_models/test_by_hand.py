"""Every rule of the cost model by itself, small enough to follow with a pencil.

The layer and machine are those worked in docs/cost-model.md: K=2, C=2, P=4, R=3; main memory,
buffer, two registers with one multiplier each; 16-bit words; weights of 4 bits, inputs and outputs
of 8, partial sums of 16. Each test changes one thing of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmc.errors import CapacityError, CostModelError, MappingError
from qmc.formats import EnergyClass
from qmc.layer import Layer, LoopBounds, Op
from qmc.layer import LoopDim as D
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets import load_target
from qmc.targets.target import ClassCost, Network, Packing, Topology, WidthCycles, WidthEnergy
from tests.cost_models.machines import machine, memory
from tests.cost_models.test_analytical import (
    BITS,
    BUFFER,
    MACHINE,
    MAIN,
    MAPPING,
    REGISTER,
    I,
    O,
    W,
    evaluate,
    words,
)


@pytest.mark.parametrize(
    ("rule", "reads", "fills", "held"),
    [
        # Inputs of 6 bits in words of 16: the buffer reads 24, is filled with 12, holds 6.
        (Packing.WORDS, 12, 6, 3),  # two per word, four bits stay empty
        (Packing.SINGLE, 24, 12, 6),  # one per word
        (Packing.DENSE, 9, 5, 3),  # 144, 72 and 36 bits in a row: 9, 4.5 and 2.25 words
        (Packing.PLANES, 12, 6, 6),  # six planes of 24, 12 and 6 bits: 2, 1 and 1 words each
    ],
)
def test_packing_rule_decides_the_words(rule: Packing, reads: int, fills: int, held: int) -> None:
    packed = replace(BUFFER, packing=rule, depth_words=None)
    cost = evaluate(target=machine(MAIN, packed, REGISTER), bits=replace(BITS, input_bits=6))
    assert words(cost.accesses["buffer"][I]) == (reads, fills, 0, held, 1)


@pytest.mark.parametrize(
    ("psum_bits", "updates", "reads", "held"),
    [
        # 48 updates, the last 8 of them finished; 40 reads; 8 held. Finished: two of 8 bits a word.
        (8, 24, 20, 4),  # as narrow as outputs, rounded up together: 48 / 2
        (16, 40 + 4, 40, 8),  # a word each
        (20, 80 + 4, 80, 16),  # two words each
    ],
)
def test_partial_sums_have_their_own_width(
    psum_bits: int, updates: int, reads: int, held: int
) -> None:
    target = machine(MAIN, replace(BUFFER, depth_words=None), REGISTER)
    cost = evaluate(target=target, bits=replace(BITS, psum_bits=psum_bits))
    assert words(cost.accesses["buffer"][O]) == (reads, 0, updates, held, 1)
    assert cost.accesses["main"][O].updates == 4


def test_row_energy_is_per_row_of_words() -> None:
    wide = replace(BUFFER, row_words=8)
    cost = evaluate(target=machine(MAIN, wide, REGISTER))
    # Words I 12 read, 6 filled; O 40 read, 44 updated. Rows of 8: 2, 1; 5, 6 (5.5 rounded up).
    assert cost.energy_by_memory_pj["buffer"] == pytest.approx((2 + 5) * 2 + 1 * 3 + 6 * 3)


def test_mac_energy_and_throughput_by_widths() -> None:
    """Two 4-bit weights at once, for less: 48 products of 0.4 pJ, 24 steps of half a cycle."""
    mac = replace(
        MACHINE.mac,
        energy_by_width=(WidthEnergy(4, 8, 0.4),),
        cycles_by_width=(WidthCycles(4, 8, 0.5),),
    )
    free = replace(BUFFER, read_bandwidth=None, write_bandwidth=None)
    target = replace(machine(MAIN, free, REGISTER), mac=mac)
    cost = evaluate(target=target)
    assert cost.energy_by_memory_pj["mac"] == pytest.approx(48 * 0.4)
    assert (cost.cycles, cost.bound) == (12, "compute")
    wider = evaluate(target=target, bits=replace(BITS, weight_bits=5))
    assert wider.energy_by_memory_pj["mac"] == pytest.approx(48 * 1.0)
    assert (wider.cycles, wider.bound) == (24, "compute")


def test_mac_of_weights_that_are_no_integers_has_its_own_energy_and_throughput() -> None:
    """48 additions of shifted inputs at 0.1 pJ, in 24 steps of two cycles; floats are refused."""
    mac = replace(MACHINE.mac, by_class={EnergyClass.SHIFT: ClassCost(0.1, 2.0)})
    free = replace(BUFFER, read_bandwidth=None, write_bandwidth=None)
    target = replace(machine(MAIN, free, REGISTER), mac=mac)
    cost = evaluate(target=target, bits=replace(BITS, weight_class=EnergyClass.SHIFT))
    assert cost.energy_by_memory_pj["mac"] == pytest.approx(48 * 0.1)
    assert (cost.cycles, cost.bound) == (48, "compute")
    with pytest.raises(CostModelError, match="weights of class float; the MACs of"):
        evaluate(target=target, bits=replace(BITS, weight_class=EnergyClass.FLOAT))


@pytest.mark.parametrize(
    ("read", "write", "cycles", "bound"),
    [
        (2.0, 2.0, 26, "buffer read bandwidth"),  # 52 words read / 2; 50 written / 2; compute 24
        (4.0, 2.0, 25, "buffer write bandwidth"),
        (4.0, 4.0, 24, "compute"),  # 13 and 12.5
        (4.0, 0.5, 100, "buffer write bandwidth"),
    ],
)
def test_bandwidth_is_per_port(read: float, write: float, cycles: int, bound: str) -> None:
    ports = replace(BUFFER, read_bandwidth=read, write_bandwidth=write)
    cost = evaluate(target=machine(MAIN, ports, REGISTER))
    assert (cost.cycles, cost.bound) == (cycles, bound)


def test_leakage_is_per_cycle_and_used_instance() -> None:
    leaky = machine(replace(MAIN, leakage_pj=0.25), BUFFER, replace(REGISTER, leakage_pj=0.5))
    leaky = replace(leaky, mac=replace(leaky.mac, leakage_pj=0.125))
    # 26 cycles; one main memory, two registers and two MACs in use.
    expected = 26 * (1 * 0.25 + 2 * 0.5 + 2 * 0.125)
    assert evaluate(target=leaky).energy_by_memory_pj["leakage"] == pytest.approx(expected)


#: The page's machine as a file.
PAGE_MACHINE = """
schema_version: 1
name: by-hand
description: two lanes
clock_mhz: 100
psum_bits: 16
groups_follow: K
sources: {all: made up}
memories:
  - name: main
    word_bits: 16
    row_words: 4
    depth_words: unlimited
    keep: [W, I, O]
    packing: words
    energy_pj: {read: 100, fill: 100, update: 100}
  - name: buffer
    word_bits: 16
    depth_words: %d
    buffering: %d
    packing: words
    energy_pj: {read: 2, fill: 3, update: 3}
    bandwidth: {read: 2, write: 2}
    fanout: {x: {size: 2}}
  - name: register
    word_bits: 16
    depth_words: 1
    packing: words
    energy_pj: {read: 0.1, fill: 0.2, update: 0.2}
mac: {energy_pj: 1, weight_bits: [1, 16], input_bits: [1, 16]}
"""


def test_double_buffering_halves_the_room_for_tiles(tmp_path: Path) -> None:
    """The tiles of 3 + 8 words fit 11 words, or 22 where two of each lie in the buffer."""
    file = tmp_path / "machine.yaml"
    for depth, copies in ((11, 1), (22, 2), (33, 3)):
        file.write_text(PAGE_MACHINE % (depth, copies))
        assert evaluate(target=load_target(file)).energy_pj == pytest.approx(704.0)
    for depth, copies in ((10, 1), (21, 2), (11, 2)):
        file.write_text(PAGE_MACHINE % (depth, copies))
        with pytest.raises(CapacityError, match="needs 22 bytes"):
            evaluate(target=load_target(file))


def test_store_bits_weights_unpacked_in_the_register_take_8_bits_there() -> None:
    unpacked = replace(REGISTER, store_bits={W: 8})
    cost = evaluate(target=machine(MAIN, BUFFER, unpacked))
    # 6 weights reach a register, 24 are read; two per word now: 3 words and 12 (were 2 and 6).
    assert words(cost.accesses["register"][W]) == (12, 3, 0, 1, 2)
    # Outside they stay packed, four per word: 12 weights in 3 words.
    assert cost.accesses["main"][W].reads == 3
    # (12 x 0.1 + 3 x 0.2) x 2 registers.
    assert cost.energy_by_memory_pj["register"] == pytest.approx(3.6)


def test_store_bits_accumulator_entries_hold_partial_and_finished_sums_alike() -> None:
    accumulator = replace(BUFFER, store_bits={O: 24}, packing=Packing.DENSE, depth_words=15)
    cost = evaluate(target=machine(MAIN, accumulator, REGISTER))
    # 48 updates, 40 reads, 8 held, all in entries of 24 bits: x 24 / 16 words of a bit stream.
    assert words(cost.accesses["buffer"][O]) == (60, 0, 72, 12, 1)
    # Inputs are stored as before, 6 held in 3 words: 15 words in all just fit.
    assert words(cost.accesses["buffer"][I]) == (12, 6, 0, 3, 1)
    # The write port moves 6 + 72 words at 2 per cycle, the read port 12 + 60.
    assert (cost.cycles, cost.bound) == (39, "buffer write bandwidth")
    # Main memory still receives 8 finished outputs of 8 bits: 4 words.
    assert words(cost.accesses["main"][O]) == (0, 0, 4, 4, 1)


def test_store_bits_wider_elements_take_several_entries() -> None:
    narrow = replace(BUFFER, store_bits={O: 12}, packing=Packing.DENSE, depth_words=None)
    cost = evaluate(target=machine(MAIN, narrow, REGISTER), bits=replace(BITS, output_bits=8))
    # A partial sum of 16 bits takes two entries, 24 bits: 40 x 24 / 16; a finished output one: 12.
    assert words(cost.accesses["buffer"][O]) == (60, 0, 60 + 6, 12, 1)


def network_pj(network: Network, **changes: Any) -> float:
    """Energy of a network below the buffer."""
    wired = replace(BUFFER, network=network, depth_words=None)
    cost = evaluate(target=machine(MAIN, replace(wired, **changes), REGISTER))
    return cost.energy_by_memory_pj["buffer network"]


def test_mesh_multicast_passes_all_lanes_and_unicast_goes_to_each() -> None:
    # Two lanes along x. An input is shared: 2 hops. A weight each: 1 + 2 hops; outputs too.
    # Weights cross 6 times (fills), 4 bits; inputs in all 24 steps, 8 bits.
    # Outputs: 48 updates, of which 40 cross twice at 16 bits and 8 once at 8 bits: 28 on average.
    bits_times_hops = 6 * 4 * 3 + 24 * 8 * 2 + 24 * 28 * 3
    assert network_pj(Network(Topology.MESH, 0.01, 0.0, 0.0, 0.0)) == pytest.approx(
        0.01 * bits_times_hops
    )
    # Either way two lanes take what is sent.
    delivered = (6 * 4 + 24 * 8 + 24 * 28) * 2
    assert network_pj(Network(Topology.MESH, 0.0, 0.0, 0.005, 0.0)) == pytest.approx(
        0.005 * delivered
    )
    both = network_pj(Network(Topology.MESH, 0.01, 0.0, 0.005, 0.0))
    assert both == pytest.approx(33.6)  # the page's


def test_bus_drives_all_four_lanes_for_every_word() -> None:
    # A bus of four, two lanes in use: 4 hops for a shared input, 4 + 4 for two weights or outputs.
    found = network_pj(Network(Topology.BUS, 0.01, 0.0, 0.0, 0.0), fanout_x=4)
    assert found == pytest.approx(0.01 * (6 * 4 * 8 + 24 * 8 * 4 + 24 * 28 * 8))


def test_wires_along_both_axes_with_outputs_added_up_on_the_way() -> None:
    """K along x (2), R along y (3): six lanes; C and P in time, 8 steps."""
    wires = Network(Topology.MESH, hop_x_pj=1.0, hop_y_pj=10.0, receiver_pj=0.0, add_pj=100.0)
    buffer = replace(BUFFER, network=wires, fanout_y=3, depth_words=None)
    loops = (
        Loop(D.C, 2, "main"),
        Loop(D.P, 4, "buffer"),
        Loop(D.K, 2, "buffer", "x"),
        Loop(D.R, 3, "buffer", "y"),
    )
    cost = evaluate(replace(MAPPING, loops=loops), machine(MAIN, buffer, REGISTER))
    # W: each lane its own, g = 2 and 3: 3 rows x (1 + 2) hops along x, 2 columns x (1 + 2 + 3).
    # A register is filled twice (C), 4 bits.
    weights = 2 * 4 * (9 * 1 + 12 * 10)
    # I: the columns share, g = 1 and 3: 3 rows x 2 hops, 2 columns x (1 + 2 + 3); 8 steps, 8 bits.
    inputs = 8 * 8 * (6 * 1 + 12 * 10)
    # O: a column adds up, g = 2 and 1: 1 x (1 + 2) hops, 2 columns x 3; four additions a step.
    # 16 updates at the buffer, 8 finished; those are sums of 16 bits until the last addition:
    # (8 x 16 + 8 x 16 + 8 x 16) / 16 = 24 bits.
    outputs = 8 * (24 * (3 * 1 + 6 * 10) + 4 * 100)
    assert cost.energy_by_memory_pj["buffer network"] == pytest.approx(weights + inputs + outputs)
    assert cost.energy_pj == pytest.approx(sum(cost.energy_by_memory_pj.values()))


def test_bypassed_memory_is_passed_and_its_network_crossed() -> None:
    """Weights go from main memory past the buffer: both networks carry them."""
    wires = Network(Topology.MESH, 0.01, 0.0, 0.0, 0.0)
    main = replace(MAIN, network=wires, fanout_x=3)
    cost = evaluate(target=machine(main, BUFFER, REGISTER))
    # One of three buffers is used: one hop. 12 weights of 4 bits go by it to two registers; it
    # takes 12 inputs of 8 bits, and gives back 8 finished outputs of 8 bits.
    assert cost.energy_by_memory_pj["main network"] == pytest.approx(
        0.01 * (12 * 4 + 12 * 8 + 8 * 8)
    )


def test_instances_inside_bypassed_loops_do_not_share_windows() -> None:
    """P and R along x; the loop in time below steps P by one, so no two lanes start alike."""
    layer = Layer("windows", Op.CONV, ("x",), "y", LoopBounds(P=4, R=2))
    target = machine(memory("main", fanout_x=4), memory("middle"), memory("local"))
    loops = (
        Loop(D.P, 2, "main", "x"),
        Loop(D.R, 2, "main", "x"),
        Loop(D.P, 2, "middle"),
    )
    everything = frozenset({W, I, O})
    keep = (Keep("main", everything), Keep("middle", frozenset()), Keep("local", everything))
    cost = evaluate(Mapping(loops, keep), target, layer=layer)
    # Rows 2 p + t + r of lanes (p, r): 0 1 2 3, then 1 2 3 4: four different ones in both steps.
    assert cost.accesses["main"][I].reads == 8


def test_cut_last_tile_leaves_a_lane_idle() -> None:
    """K = 3 on two lanes: K 2 in time, K 2 in space; the second lane rests in the second pass.

    C 2 (main), K 2, R 3, P 4 (buffer), K 2 along x: 48 steps, 72 multiply-accumulates.

    - W: the first register takes 2 x 2 x 3 = 12 weights, the second 6: 9 on average, 18 from main
      (5 words of 4). Their MACs read 48 and 24 of them, 36 on average: 9 words.
    - I: 12 from main; read once a step for both lanes: 48, 24 words.
    - O: 3 x 4 held; 48 + 24 updates, the last 12 finished (6 words); 60 read to go on.
    - Rows: main 2 W + 2 I + 2 O, buffer 24 + 60 reads, 6 fills, 66 updates, registers 9 and 3.
    """
    layer = Layer("cut", Op.CONV, ("x",), "y", LoopBounds(K=3, C=2, P=4, R=3))
    loops = (MAPPING.loops[0], Loop(D.K, 2, "buffer"), *MAPPING.loops[1:])
    target = machine(MAIN, replace(BUFFER, depth_words=15), REGISTER)
    cost = evaluate(replace(MAPPING, loops=loops), target, layer=layer)
    assert words(cost.accesses["main"][W]) == (5, 0, 0, 5, 1)
    assert words(cost.accesses["register"][W]) == (9, 3, 0, 1, 2)
    assert words(cost.accesses["buffer"][I]) == (24, 6, 0, 3, 1)
    assert words(cost.accesses["buffer"][O]) == (60, 0, 66, 12, 1)
    assert (cost.cycles, cost.bound) == (48, "compute")
    assert cost.energy_pj == pytest.approx(600 + 168 + 18 + 198 + 2 * (0.9 + 0.6) + 72)
    assert cost.utilization == 72 / 96


def test_cut_mapping_with_idle_steps_raises() -> None:
    layer = Layer("cut", Op.CONV, ("x",), "y", LoopBounds(K=2, C=2, P=4, R=3))
    loops = (Loop(D.K, 2, "main"), *MAPPING.loops)
    with pytest.raises(MappingError, match="extents of K multiply to 4; its bound is 2"):
        evaluate(replace(MAPPING, loops=loops), layer=layer)


def test_cut_windows_along_one_axis_raise() -> None:
    layer = Layer("cut", Op.CONV, ("x",), "y", LoopBounds(P=3, R=2))
    loops = (Loop(D.P, 2, "main"), Loop(D.P, 2, "buffer", "x"), Loop(D.R, 2, "buffer", "x"))
    target = machine(MAIN, replace(BUFFER, fanout_x=4), REGISTER)
    with pytest.raises(MappingError, match="at buffer: P and R both along x, one of them cut"):
        evaluate(replace(MAPPING, loops=loops), target, layer=layer)


def test_cut_with_a_network_raises() -> None:
    layer = Layer("cut", Op.CONV, ("x",), "y", LoopBounds(K=3, C=2, P=4, R=3))
    loops = (MAPPING.loops[0], Loop(D.K, 2, "buffer"), *MAPPING.loops[1:])
    wires = Network(Topology.MESH, 0.01, 0.0, 0.0, 0.0)
    target = machine(MAIN, replace(BUFFER, depth_words=15, network=wires), REGISTER)
    with pytest.raises(MappingError, match=r"at buffer: .* and a network; allowed"):
        evaluate(replace(MAPPING, loops=loops), target, layer=layer)
