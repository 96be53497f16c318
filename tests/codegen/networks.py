"""Small hand-made integer networks with random constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qmc.arithmetic import QuantParams, Rescale, Rounding, make_requant, make_rescale
from qmc.formats import WEIGHT_FORMATS, number_format
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import Tensor


class Builder:
    """Chains layers; every method returns the name of the tensor it makes."""

    def __init__(self, shape: tuple[int, ...], bits: int, seed: int = 0, name: str = "net") -> None:
        self.rng = np.random.default_rng(seed)
        self.name = name
        self.tensors: dict[str, Tensor] = {}
        self.quantization: dict[str, QuantParams] = {}
        self.layers: list[IntegerLayer] = []
        self.input = self.tensor("input", shape, bits)

    def tensor(self, name: str, shape: tuple[int, ...], bits: int, scale: float = 0.0) -> str:
        zero = int(self.rng.integers(0, min(1 << bits, 200)))
        self.tensors[name] = Tensor(name, shape)
        scale = scale or float(self.rng.uniform(0.02, 0.1))
        self.quantization[name] = QuantParams(bits, scale, zero)
        return name

    def _add(self, layer: Layer, shape: tuple[int, ...], bits: int, scale: float = 0.0) -> dict:
        self.tensor(layer.output, shape, bits, scale)
        quant = self.quantization[layer.output]
        clip = int(self.rng.integers(0, 2)) if bits > 3 else 0
        return {
            "layer": layer,
            "inputs": tuple(self.quantization[name] for name in layer.inputs),
            "output": quant,
            "low": clip,
            "high": quant.high - clip,
        }

    def conv(
        self,
        source: str,
        k: int,
        window: tuple[int, int] = (1, 1),
        bits: tuple[int, int] = (8, 8),
        groups: int = 1,
        strides: tuple[int, int] = (1, 1),
        dilations: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        rounding: Rounding = Rounding.HALF_UP,
        name: str | None = None,
        op: Op = Op.CONV,
    ) -> str:
        """``bits`` are those of weights and output."""
        shape = self.tensors[source].shape
        height, width = (shape[2], shape[3]) if len(shape) == 4 else (1, 1)
        p = (height + pads[0] + pads[2] - (window[0] - 1) * dilations[0] - 1) // strides[0] + 1
        q = (width + pads[1] + pads[3] - (window[1] - 1) * dilations[1] - 1) // strides[1] + 1
        bounds = LoopBounds(
            G=groups, K=k // groups, C=shape[1] // groups, P=p, Q=q, R=window[0], S=window[1]
        )
        name = name or f"layer{len(self.layers)}"
        output = f"{name}:out"
        layer = Layer(name, op, (source,), output, bounds, strides, dilations, pads)
        common = self._add(layer, (1, k, p, q) if op is Op.CONV else (1, k), bits[1])
        limit = 1 << (bits[0] - 1)
        weights = self.rng.integers(-limit, limit, (k, bounds.C, *window), dtype=np.int64).astype(
            np.int8
        )
        bias = self.rng.integers(-500, 500, k)
        largest = np.abs(weights.astype(np.int64)).reshape(k, -1).sum(axis=1)
        bound = largest * common["inputs"][0].high + 500
        scale = self.rng.uniform(0.5, 2.0, k) * (1 << bits[1]) / np.maximum(bound, 1)
        requant = make_requant(
            name, np.minimum(scale, 0.9), bias, bound, common["output"], rounding
        )
        self.layers.append(
            IntegerLayer(
                **common,
                weights=weights,
                weight_bits=bits[0],
                requant=requant,
                accumulator_bound=int(bound.max()),
            )
        )
        return output

    def dense(self, source: str, k: int, bits: tuple[int, int] = (8, 8)) -> str:
        return self.conv(source, k, bits=bits, op=Op.DENSE)

    def _channelwise(
        self, op: Op, sources: tuple[str, ...], channels: int, **fields: object
    ) -> tuple[Layer, tuple[int, ...]]:
        shape = self.tensors[sources[0]].shape
        p, q = (shape[2], shape[3]) if len(shape) == 4 else (1, 1)
        name = f"layer{len(self.layers)}"
        bounds = LoopBounds(G=channels, P=p, Q=q)
        layer = Layer(name, op, sources, f"{name}:out", bounds, **fields)  # type: ignore[arg-type]
        return layer, (1, channels, *shape[2:])

    def add(self, a: str, b: str, bits: int = 8, shift: int = 26) -> str:
        layer, shape = self._channelwise(Op.ADD, (a, b), self.tensors[a].channels)
        common = self._add(layer, shape, bits)
        rescales = tuple(
            Rescale(
                int(self.rng.uniform(0.4, 0.7) * common["output"].high / q.high * (1 << shift)),
                shift,
                int(self.rng.integers(-(1 << 27), 1 << 27)),
            )
            for q in common["inputs"]
        )
        self.layers.append(IntegerLayer(**common, rescales=rescales))
        return layer.output

    def mul(self, a: str, b: str, bits: int = 8) -> str:
        layer, shape = self._channelwise(Op.MUL, (a, b), self.tensors[a].channels)
        common = self._add(layer, shape, bits)
        out = common["output"]
        rescale = make_rescale(out.high / 20000, 0, out.zero_point)
        self.layers.append(IntegerLayer(**common, rescales=(rescale,)))
        return layer.output

    def concat(self, sources: tuple[str, ...], bits: int = 8) -> str:
        channels = sum(self.tensors[name].channels for name in sources)
        layer, shape = self._channelwise(Op.CONCAT, sources, channels)
        common = self._add(layer, shape, bits)
        out = common["output"]
        rescales = tuple(
            make_rescale(float(self.rng.uniform(0.3, 1.5)), q.zero_point, out.zero_point)
            for q in common["inputs"]
        )
        self.layers.append(IntegerLayer(**common, rescales=rescales))
        return layer.output

    def pool(
        self,
        source: str,
        op: Op,
        window: tuple[int, int],
        strides: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        bits: int = 8,
        include_pad: bool = False,
    ) -> str:
        from qmc.reference import window_counts

        _, channels, height, width = self.tensors[source].shape
        p = (height + pads[0] + pads[2] - window[0]) // strides[0] + 1
        q = (width + pads[1] + pads[3] - window[1]) // strides[1] + 1
        name = f"layer{len(self.layers)}"
        bounds = LoopBounds(G=channels, P=p, Q=q, R=window[0], S=window[1])
        layer = Layer(
            name,
            op,
            (source,),
            f"{name}:out",
            bounds,
            strides,
            pads=pads,
            count_include_pad=include_pad,
        )
        common = self._add(layer, (1, channels, p, q), bits)
        counts: tuple[int, ...] = ()
        rescales: tuple[Rescale, ...] = ()
        if op is Op.AVERAGE_POOL:
            counts = tuple(sorted({int(n) for n in window_counts(layer, height, width).flat}))
            zero, out = common["inputs"][0].zero_point, common["output"]
            rescales = tuple(make_rescale(0.7 / n, n * zero, out.zero_point) for n in counts)
        self.layers.append(IntegerLayer(**common, counts=counts, rescales=rescales))
        return layer.output

    def lookup(self, source: str, bits: int = 8) -> str:
        layer, shape = self._channelwise(Op.LOOKUP, (source,), self.tensors[source].channels)
        common = self._add(layer, shape, bits)
        size = 1 << common["inputs"][0].bits
        table = self.rng.integers(common["low"], common["high"] + 1, size).astype(np.uint32)
        self.layers.append(IntegerLayer(**common, table=table))
        return layer.output

    def softmax(self, source: str, bits: int = 8) -> str:
        layer, shape = self._channelwise(Op.SOFTMAX, (source,), self.tensors[source].channels)
        common = self._add(layer, shape, bits, scale=1.0 / (1 << bits))
        size = 1 << common["inputs"][0].bits
        table = np.round((1 << 20) * np.exp(-0.05 * np.arange(size))).astype(np.uint32)
        self.layers.append(IntegerLayer(**common, table=table))
        return layer.output

    def reshape(
        self, source: str, shape: tuple[int, ...], perm: tuple[int, ...] | None = None
    ) -> str:
        name = f"layer{len(self.layers)}"
        p, q = (shape[2], shape[3]) if len(shape) == 4 else (1, 1)
        bounds = LoopBounds(G=shape[1], P=p, Q=q)
        layer = Layer(name, Op.RESHAPE, (source,), f"{name}:out", bounds, perm=perm)
        quant = self.quantization[source]
        self.tensors[layer.output] = Tensor(layer.output, shape)
        self.quantization[layer.output] = quant
        self.layers.append(IntegerLayer(layer, (quant,), quant, 0, quant.high))
        return layer.output

    def slice(
        self,
        source: str,
        starts: tuple[int, int, int],
        size: tuple[int, int, int],
        step: int = 1,
        groups: int = 1,
    ) -> str:
        """``size`` channels (of ``groups`` in turn), rows and columns, these ``step`` apart."""
        rank = len(self.tensors[source].shape)
        name = f"layer{len(self.layers)}"
        bounds = LoopBounds(G=size[0], P=size[1], Q=size[2])
        layer = Layer(
            name,
            Op.SLICE,
            (source,),
            f"{name}:out",
            bounds,
            (step, step),
            starts=starts,
            interleave=groups,
        )
        quant = self.quantization[source]
        self.tensors[layer.output] = Tensor(layer.output, (1, *size)[:rank])
        self.quantization[layer.output] = quant
        self.layers.append(IntegerLayer(layer, (quant,), quant, 0, quant.high))
        return layer.output

    def network(self) -> IntegerNetwork:
        return IntegerNetwork(
            self.name,
            self.tensors,
            self.quantization,
            tuple(self.layers),
            self.input,
            self.layers[-1].layer.output,
        )

    def codes(self, count: int = 1) -> np.ndarray:
        shape = self.tensors[self.input].shape
        high = self.quantization[self.input].high
        return self.rng.integers(0, high + 1, (count, *shape[1:])).astype(np.int32)


def every_format(seed: int) -> Builder:
    """A layer of each number format of weights, plain, grouped or depthwise."""
    net = Builder((1, 6, 5, 3), 8, seed)
    source = "input"
    for name in WEIGHT_FORMATS:
        form, groups = number_format(name), int(net.rng.choice([1, 2, 6]))
        source = net.conv(source, 6, (3, 2), (form.bits, 8), groups, pads=(1, 0, 1, 1))
        numerators = form.decode(net.rng.integers(0, 1 << form.bits, (6, 6 // groups, 3, 2)))
        net.layers[-1] = replace(
            net.layers[-1], weights=numerators.astype(np.int8), weight_format=form
        )
    return net


def every_op(seed: int = 1) -> Builder:
    """A network with every op, odd shapes and widths."""
    net = Builder((1, 5, 11, 7), 5, seed)
    a = net.conv("input", 12, (3, 2), (4, 6), strides=(2, 1), pads=(1, 0, 0, 1))
    b = net.conv(a, 12, (3, 3), (3, 7), groups=12, pads=(1, 1, 1, 1))
    c = net.conv(b, 12, (1, 3), (8, 8), groups=3, pads=(0, 2, 0, 2), dilations=(1, 2))
    d = net.add(a, c, 5)
    e = net.pool(d, Op.MAX_POOL, (2, 3), (1, 2), (1, 0, 0, 1), bits=5)
    f = net.pool(d, Op.AVERAGE_POOL, (2, 3), (1, 2), (1, 0, 0, 1), bits=6)
    g = net.concat((e, f), 7)
    h = net.lookup(g, 3)
    i = net.pool(h, Op.AVERAGE_POOL, net.tensors[h].shape[2:], bits=6)
    j = net.conv(i, 24, (1, 1), (2, 4))
    k = net.mul(h, j, 6)
    m = net.pool(k, Op.AVERAGE_POOL, (2, 2), (1, 1), (0, 1, 1, 0), bits=4, include_pad=True)
    shape = net.tensors[m].shape
    n = net.reshape(m, (1, shape[3], shape[1], shape[2]), (0, 3, 1, 2))
    _, channels, height, width = net.tensors[n].shape
    n = net.slice(n, (1, 0, 1), (channels - 1, (height + 1) // 2, width // 2), 2)
    o = net.reshape(n, (1, net.tensors[n].size))
    o = net.slice(o, (3, 0, 0), (net.tensors[o].size - 4, 1, 1))
    p = net.dense(o, 9, (5, 8))
    net.softmax(p, 8)
    return net
