"""Pass: every layer of a region function gets its part of a quantization scheme."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from qmc.calibrate import calibrate
from qmc.data import Dataset
from qmc.errors import DataError
from qmc.network import Network
from qmc.passes.annotate_quantization import AnnotateQuantization
from qmc.passes.region_module import region_function, region_module, regions
from qmc.passes.relax_expr import static_shape
from qmc.passes.user_errors import register_user_errors
from qmc.scheme import Scheme
from qmc.tensor_ranges import tensors_to_observe
from qmc.tvm.float_values import region_inputs
from qmc.tvm.generate import region_network
from qmc.widths import Widths, parse_widths

Array = NDArray[Any]
FloatArray = NDArray[np.float32]
Calibration = Array | Sequence[Array]

#: Inputs that are made up where the user gives none.
_RANDOM_INPUTS = 16
_log = logging.getLogger("qmc")


@tvm.transform.module_pass(opt_level=0, name="QuantizeRegions")
@dataclass(frozen=True, eq=False)
class QuantizeRegions:
    """Calibrate every region, and annotate its layers as ``AnnotateQuantization`` does.

    ::

        Composite="qmc.conv"  ->  Composite="qmc.conv", qmc.scheme='{"tensors": {...}, ...}'

    A region that begins inside the network sees the values that the float network has there.
    Requires: ``FormRegions``. Ensures: every layer of a region has the attribute.

    Attributes:
        scheme: ``w8a8`` and the like, a scheme file, or a complete scheme.
        calibration: inputs of ``main``: (n, C, H, W), or one such array for each. None takes
            random numbers where ranges are needed, and says so.
        seed: of everything random.
    """

    scheme: str | Scheme = "w8a8"
    calibration: Calibration | None = None
    seed: int = 0

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM.

        Raises:
            SchemeError: the scheme does not fit the layers.
            DataError: the inputs do not fit ``main``, or have values that are not finite.
        """
        register_user_errors()
        functions = regions(module)
        networks = {g: region_network(function) for g, function in functions.items()}
        if not networks:
            _log.warning(
                "no layer is taken; allowed: static shapes, batch 1, NCHW, and weights that are "
                "constants or given as params"
            )
            return module
        asked = self._asked(list(networks.values()))
        schemes: dict[Any, Scheme] = {}
        if isinstance(asked, Scheme):
            schemes = dict.fromkeys(networks, asked)
        else:
            inputs = self._inputs(module, networks)
            schemes = {
                g: calibrate(network, inputs.get(g), asked, seed=self.seed)
                for g, network in networks.items()
            }
        updated = tvm.IRModule(module.functions, attrs=module.attrs)
        for variable, function in functions.items():
            transform: Any = AnnotateQuantization(schemes[variable])
            annotated = transform(region_module(function))
            updated[variable] = region_function(annotated, str(function.attrs["global_symbol"]))
        return updated

    def _asked(self, networks: list[Network]) -> Widths | Scheme:
        if isinstance(self.scheme, Scheme):
            return self.scheme
        return parse_widths(self.scheme, _union(networks))

    def _inputs(self, module: Any, networks: dict[Any, Network]) -> dict[Any, Dataset]:
        """Data sets of the regions whose tensors do not all come with a range."""
        needed = [g for g, network in networks.items() if tensors_to_observe(network)]
        if self.calibration is None and not needed:
            return {}
        given = self._given(module)
        values = region_inputs(module, list(networks), given)
        shapes = {g: network.tensors[network.input].shape for g, network in networks.items()}
        return {g: _dataset(array, shapes[g]) for g, array in values.items()}

    def _given(self, module: Any) -> list[Array]:
        """One array (n, ...) for each input of ``main``."""
        wanted = [_Input.of(parameter) for parameter in module["main"].params]
        if self.calibration is None:
            _log.warning(
                "no calibration data: ranges are those of %d inputs of random numbers; accuracy "
                "will suffer (give calibration=)",
                _RANDOM_INPUTS,
            )
            generator = np.random.default_rng(self.seed)
            return [one.random(generator) for one in wanted]
        is_one = isinstance(self.calibration, np.ndarray)
        arrays = [np.asarray(a) for a in ([self.calibration] if is_one else self.calibration)]
        if len(arrays) != len(wanted):
            raise DataError(
                f"calibration: found {len(arrays)} arrays; 'main' has {len(wanted)} inputs"
            )
        if len({len(array) for array in arrays}) > 1:
            counts = ", ".join(str(len(array)) for array in arrays)
            raise DataError(f"calibration: found {counts} values; allowed: as many of every input")
        return [one.checked(array) for one, array in zip(wanted, arrays, strict=True)]


@dataclass(frozen=True, slots=True)
class _Input:
    """An input of ``main``: its type, and its shape without the batch."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, parameter: Any) -> _Input:
        shape = static_shape(parameter)
        return cls(np.dtype(str(parameter.ty.dtype)), shape[1:] if shape[:1] == (1,) else shape)

    def random(self, generator: np.random.Generator) -> Array:
        """Normal numbers; zeros where the input is not float."""
        shape = (_RANDOM_INPUTS, *self.shape)
        values = generator.standard_normal(shape) if self.dtype.kind == "f" else np.zeros(shape)
        return values.astype(self.dtype)

    def checked(self, array: Array) -> Array:
        """``array`` as it can be given to TVM.

        Raises:
            DataError: it is not for this input.
        """
        if array.dtype.kind != self.dtype.kind or array.shape[1:] != self.shape or not len(array):
            wanted = " x ".join(["n", *map(str, self.shape)])
            raise DataError(
                f"calibration: found {array.dtype} {array.shape}; 'main' takes {self.dtype} "
                f"{wanted}"
            )
        if not np.isfinite(array).all():
            raise DataError("calibration: some values are not finite")
        return np.ascontiguousarray(array, dtype=self.dtype)


def _dataset(values: FloatArray, shape: tuple[int, ...]) -> Dataset:
    values = values.reshape(len(values), *shape[1:])
    return Dataset(Path("calibration"), shape[1:], len(values), None, partial(_row, values))


def _row(values: FloatArray, index: int) -> FloatArray:
    return np.asarray(values[index])


def _union(networks: Sequence[Network]) -> Network:
    """All layers of all regions, to look up names in."""
    first = networks[0]
    return Network(
        name=first.name,
        tensors={name: t for network in networks for name, t in network.tensors.items()},
        layers=tuple(layer for network in networks for layer in network.layers),
        parameters={name: p for network in networks for name, p in network.parameters.items()},
        input=first.input,
        output=networks[-1].output,
        given_ranges={n: r for network in networks for n, r in network.given_ranges.items()},
    )
