"""Every rule of the cost model by itself, small enough to follow with a pencil.

The layer and machine are those worked in docs/cost-model.md: K=2, C=2, P=4, R=3; main memory,
buffer, two registers with one multiplier each; 16-bit words; weights of 4 bits, inputs and outputs
of 8, partial sums of 16. Each test changes one thing of it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from qmc.targets.target import Packing
from tests.cost_models.machines import machine
from tests.cost_models.test_analytical import (
    BITS,
    BUFFER,
    MAIN,
    REGISTER,
    I,
    O,
    W,
    evaluate,
    words,
)


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
