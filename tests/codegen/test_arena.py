"""The memory plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmc.codegen.arena import ALIGNMENT, Buffer, live_bytes, plan_memory

lives = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted)
buffers = st.lists(st.tuples(st.integers(1, 100), lives), max_size=12).map(
    lambda items: [
        Buffer(f"b{i}", size, first, last) for i, (size, (first, last)) in enumerate(items)
    ]
)


@given(buffers)
def test_plan_buffers_alive_together_never_overlap(items: list[Buffer]) -> None:
    plan = plan_memory(items)
    for step in range(9):
        used: set[int] = set()
        for buffer in items:
            if buffer.first <= step <= buffer.last:
                start = plan.offsets[buffer.name]
                own = set(range(start, start + buffer.size_bytes))
                assert not used & own
                used |= own


@given(buffers)
def test_plan_peak_is_the_exact_end_and_offsets_are_aligned(items: list[Buffer]) -> None:
    plan = plan_memory(items)
    ends = [plan.offsets[buffer.name] + buffer.size_bytes for buffer in items]
    assert plan.peak_bytes == max(ends, default=0)
    assert plan.peak_bytes >= live_bytes(items)
    assert all(offset % ALIGNMENT == 0 for offset in plan.offsets.values())


def test_plan_chain_of_equal_tensors_needs_two_places() -> None:
    chain = [Buffer(f"t{i}", 64, i, i + 1) for i in range(10)]
    assert plan_memory(chain).peak_bytes == 128


def test_plan_is_independent_of_the_order_given() -> None:
    items = [Buffer(f"t{i}", 8 * (i % 3 + 1), i, i + 2) for i in range(8)]
    assert plan_memory(items).offsets == plan_memory(items[::-1]).offsets
