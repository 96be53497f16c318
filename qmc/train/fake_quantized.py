"""A network that computes with quantized values and can be trained: fake quantization.

Weights and activations are rounded to the codes of a scheme and back. Gradients pass the rounding
as if it were not there (straight-through estimator), and the scales are learned: LSQ, Esser et al.,
ICLR 2020, section 2. Three things differ from the paper: a step size is trained by its logarithm,
so that it stays positive; the optimizer is Adam, whose steps do not depend on the size of a
gradient, so that the paper's gradient scale has no effect; zero points stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qmc.arithmetic import QuantParams
from qmc.layer import Layer, Op
from qmc.network import Network, Parameters
from qmc.quantize import weight_codes
from qmc.scheme import Scheme, WeightScheme
from qmc.train.layers import compute
from qmc.widths import TRANSPARENT

Value = Any  # torch.Tensor
#: A scale may change by this factor at most, e^1.5: limits of the integer contract stay kept.
_LOG_RANGE = 1.5
#: How far from its code's edge a weight begins, in steps: its code is that of the scheme.
_MARGIN = 0.0


def _straight_through(values: Value, rounded: Value) -> Value:
    """``rounded``, with the gradient of ``values``."""
    return values + (rounded - values).detach()


def _limited(logarithm: Value) -> Value:
    return torch.clamp(logarithm, -_LOG_RANGE, _LOG_RANGE)


class _Activation:
    """The learned scale of tensors that share one quantization."""

    def __init__(self, params: QuantParams, learned: bool) -> None:
        self.params = params
        self.logarithm = torch.zeros((), requires_grad=learned)

    def scale(self) -> Value:
        return self.params.scale * torch.exp(_limited(self.logarithm))

    def quantize(self, values: Value) -> Value:
        """Rounded halves up, as the contract does, and saturated."""
        scale = self.scale()
        low, high = -self.params.zero_point, self.params.high - self.params.zero_point
        steps = torch.clamp(values / scale, low, high)
        return scale * _straight_through(steps, torch.floor(steps + 0.5))

    def trained(self) -> QuantParams:
        factor = float(torch.exp(_limited(self.logarithm.detach()).double()))
        return QuantParams(self.params.bits, self.params.scale * factor, self.params.zero_point)


class _Weights:
    """Weights, in units of their first scales, the logarithms of scales, and biases."""

    def __init__(self, parameters: Parameters, scheme: WeightScheme, source: QuantParams) -> None:
        self.scheme = scheme
        codes = weight_codes(parameters, scheme)
        first = np.array(scheme.scales).reshape(-1, 1, 1, 1)
        bias = parameters.bias if scheme.bias is None else np.array(scheme.bias)
        self._first = torch.from_numpy(first.astype(np.float32))
        self._first_bias = torch.from_numpy(bias.astype(np.float32))
        # The unit of a bias: one step of a weight, times the largest input.
        self._unit = self._first.flatten() * float(source.scale * source.high)
        # In the middle of its code a weight moves only if its gradient keeps a direction.
        self.steps = torch.from_numpy(codes.astype(np.float32)).requires_grad_()
        self.logarithms = torch.zeros_like(self._first).requires_grad_()
        self.offset = torch.zeros_like(self._first_bias).requires_grad_()

    def _codes(self) -> tuple[Value, Value]:
        """Codes with their gradient, and the scales of this moment."""
        growth = torch.exp(_limited(self.logarithms))
        top = 1 << (self.scheme.bits - 1)
        steps = torch.clamp(self.steps / growth, -top, top - 1)
        return _straight_through(steps, torch.round(steps)), self._first * growth

    def quantized(self) -> Value:
        codes, scales = self._codes()
        return codes * scales

    def bias(self) -> Value:
        return self._first_bias + self._unit * self.offset

    def quantized_bias(self, source: Value) -> Value:
        """A whole number of steps of the accumulator; at few bits these are not small.

        Args:
            source: scale of the layer's input.
        """
        step = (self._codes()[1].flatten() * source).detach()
        return step * _straight_through(self.bias() / step, torch.round(self.bias() / step))

    def trained(self) -> tuple[Parameters, WeightScheme]:
        """Real weights and biases, and the scheme with the very codes that training ended with."""
        with torch.no_grad():
            codes, scales = self._codes()
            weights, bias = self.steps * self._first, self.bias()
        numbers = tuple(float(scale) for scale in scales.flatten().double())
        integers = codes.round().to(torch.int8).numpy().tobytes()
        scheme = WeightScheme(self.scheme.bits, numbers, codes=integers)
        return Parameters(weights.numpy(), bias.numpy()), scheme


class FakeQuantized:
    """A network under a scheme; ``forward`` gives logits, ``trained`` what was learned."""

    def __init__(self, network: Network, scheme: Scheme) -> None:
        """Begin with the codes and scales of ``scheme``."""
        self._network, self._scheme = network, scheme
        self._layers = _up_to_logits(network)
        fixed = {network.input} | {n.output for n in network.layers if n.op is Op.SOFTMAX}
        groups = _shared(network)
        first = {name: name for name in network.tensors if groups[name] == name}
        learned = {g: all(groups[f] != g for f in fixed) for g in first}
        kinds = {g: _Activation(scheme.tensors[g], learned[g]) for g in first}
        self._tensors = {name: kinds[groups[name]] for name in network.tensors}
        self._weights = {
            layer.name: _Weights(
                network.parameters[layer.name],
                scheme.weights[layer.name],
                scheme.tensors[layer.inputs[0]],
            )
            for layer in network.layers
            if layer.has_weights
        }
        self.scales = [kind.logarithm for g, kind in kinds.items() if learned[g]]
        self.scales += [one.logarithms for one in self._weights.values()]
        self.weights = [one.steps for one in self._weights.values()]
        self.weights += [one.offset for one in self._weights.values()]

    @property
    def logits(self) -> str:
        """The tensor that :meth:`forward` gives: the output, or what a last softmax reads."""
        return self._layers[-1].output

    def forward(self, inputs: Value) -> Value:
        """Quantized logits of real inputs (n, ...)."""
        network = self._network
        values = {network.input: self._tensors[network.input].quantize(inputs)}
        for layer in self._layers:
            parameters = self._parameters(layer)
            result = compute(network, layer, [values[n] for n in layer.inputs], *parameters)
            values[layer.output] = self._tensors[layer.output].quantize(result)
        return values[self.logits]

    def _parameters(self, layer: Layer) -> tuple[Value, Value]:
        own = self._weights.get(layer.name)
        if own is None:
            return None, None
        return own.quantized(), own.quantized_bias(self._tensors[layer.inputs[0]].scale())

    def trained(self) -> tuple[dict[str, Parameters], Scheme]:
        """Float parameters by layer, and the scheme."""
        results = {name: one.trained() for name, one in self._weights.items()}
        tensors = {name: one.trained() for name, one in self._tensors.items()}
        weights = {name: scheme for name, (_, scheme) in results.items()}
        scheme = Scheme(tensors, weights, self._scheme.rounding)
        return {name: parameters for name, (parameters, _) in results.items()}, scheme


def _up_to_logits(network: Network) -> tuple[Layer, ...]:
    last = network.layers[-1]
    ends = last.op is Op.SOFTMAX and last.output == network.output and len(network.layers) > 1
    return network.layers[:-1] if ends else network.layers


def _shared(network: Network) -> dict[str, str]:
    """By tensor the first one with the same quantization: those that only move share it."""
    groups = {name: name for name in network.tensors}
    for layer in network.layers:
        if layer.op in TRANSPARENT:
            groups[layer.output] = groups[layer.inputs[0]]
    return groups
