"""Word counts are the sizes of really packed data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.cost_models.words import mixed_words, packed_words, rows
from qmc.targets.target import Packing
from tests.cost_models.machines import memory

Word = tuple[int, ...]


def pack(rule: Packing, elements: int, bits: int, word_bits: int) -> list[Word]:
    """Lay bits into words, one by one; a word is the tuple of its used bits."""
    if rule is Packing.DENSE:
        return chop(list(range(elements * bits)), word_bits)
    if rule is Packing.PLANES:
        return [word for _ in range(bits) for word in chop(list(range(elements)), word_bits)]
    words: list[Word] = []
    for _ in range(elements):
        pieces = chop(list(range(bits)), word_bits)
        fits = words and len(words[-1]) + bits <= word_bits
        if rule is Packing.WORDS and fits:
            words[-1] += pieces[0]
        else:
            words += pieces
    return words


def chop(stream: list[int], word_bits: int) -> list[Word]:
    return [tuple(stream[i : i + word_bits]) for i in range(0, len(stream), word_bits)]


@given(
    st.sampled_from(Packing),
    st.integers(0, 60),
    st.integers(1, 33),
    st.sampled_from((1, 8, 16, 24)),
)
def test_words_are_those_of_packed_bits(
    rule: Packing, elements: int, bits: int, word_bits: int
) -> None:
    level = memory("any", packing=rule, word_bits=word_bits)
    assert packed_words(elements, bits, level) == len(pack(rule, elements, bits, word_bits))


@pytest.mark.parametrize(("psum_bits", "words"), [(8, 4), (16, 3 + 2), (32, 6 + 2)])
def test_partial_and_final_are_rounded_together_only_at_one_width(
    psum_bits: int, words: int
) -> None:
    level = memory("any", packing=Packing.WORDS, word_bits=16)
    assert mixed_words(3, 4, psum_bits, 8, level) == words


def test_rows_are_rounded_up() -> None:
    assert [rows(count, memory("any", row_words=4)) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
