"""How many words a memory spends on elements: its declared packing rule. Design section 4."""

from __future__ import annotations

from qmc.targets.target import MemoryLevel, Packing


def packed_words(elements: int, bits: int, level: MemoryLevel) -> int:
    """Words of ``level`` that ``elements`` of ``bits`` bits take, rounded up once for the total.

    - ``words``: floor(word_bits / bits) per word, none straddles; wider elements take
      ceil(bits / word_bits) words each.
    - ``single``: one element per word, wider ones as above.
    - ``dense``: a bit stream.
    - ``planes``: ``bits`` planes of one bit per element, each padded to a word.
    """
    word = level.word_bits
    match level.packing:
        case Packing.DENSE:
            return _ceil(elements * bits, word)
        case Packing.PLANES:
            return bits * _ceil(elements, word)
        case Packing.SINGLE:
            return elements * _ceil(bits, word)
        case Packing.WORDS:
            if bits > word:
                return elements * _ceil(bits, word)
            return _ceil(elements, word // bits)


def mixed_words(partial: int, final: int, psum_bits: int, bits: int, level: MemoryLevel) -> int:
    """Words of a traffic of ``partial`` partial sums and ``final`` finished outputs.

    Equal widths are rounded up together, as any single operand.
    """
    if psum_bits == bits:
        return packed_words(partial + final, bits, level)
    return packed_words(partial, psum_bits, level) + packed_words(final, bits, level)


def rows(words: int, level: MemoryLevel) -> int:
    """Row accesses that move ``words``."""
    return _ceil(words, level.row_words)


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
