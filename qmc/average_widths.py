"""Widths of weights that differ by layer and keep an average, without data.

Rounding at b bits makes an error in a layer's output of about 4^-b of its power. If what counts is
the sum over all layers, and all weights together have a limit, a bit is worth most where it is
cheapest: b = c - log2(weights of the layer) / 2, in whole bits. With images
:mod:`qmc.measured_average` knows better.
"""

from __future__ import annotations

from qmc.network import Network

#: Widths allowed: no layer gets more than this many bits below the average.
_BELOW = 1
_MOST, _LEAST = 8, 2


def average_widths(network: Network, average: float) -> dict[str, int]:
    """Bits of the weights of every layer that has some.

    Bits are given one by one to the layer in which one more saves most error per bit of storage,
    while the total stays within the limit. What came quantized keeps its width.

    Args:
        network: whose layers are meant.
        average: bits per weight over all layers, at most; 2 to 8.

    Returns:
        Bits by layer name; their average is at most ``average``.
    """
    sizes = {name: one.weights.size for name, one in network.parameters.items()}
    given = {name: one.given.bits for name, one in network.parameters.items() if one.given}
    least = max(_LEAST, int(average) - _BELOW)
    bits = {name: given.get(name, least) for name in sizes}
    open_layers = [name for name in sizes if name not in given]
    left = average * sum(sizes.values()) - sum(bits[name] * sizes[name] for name in sizes)
    while open_layers:
        name = max(open_layers, key=lambda name: (4.0 ** -bits[name] / sizes[name], name))
        if bits[name] == _MOST or sizes[name] > left:
            open_layers.remove(name)
            continue
        bits[name] += 1
        left -= sizes[name]
    return bits
