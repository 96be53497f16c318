"""Networks that PyTorch exported, inside TVM: no ONNX file anywhere, the same integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax.frontend import detach_params

import qmc
from qmc.codegen import emit, golden_files
from qmc.codegen.build import compile_folder, run_codes, write_files
from qmc.verify import verify_build
from tests.test_tvm_partition import layers_left, noise
from tests.test_tvm_tutorial import run_blocks
from tests.torch_required import torch
from tests.tvm_run import codes_of, integer_networks, reference, run

nn, functional = torch.nn, torch.nn.functional

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch.export


def conv(inputs: int, outputs: int, activation: Any = None, **options: Any) -> Any:
    layers = [nn.Conv2d(inputs, outputs, bias=False, **options), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([activation] if activation else []))


class Bottleneck(nn.Module):  # type: ignore[misc, name-defined]
    """Of MobileNetV2: expanded, depthwise, projected, added where the shape allows."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: Any) -> None:
        super().__init__()
        wide = 3 * inputs
        depthwise = {"kernel_size": 3, "stride": stride, "padding": 1, "groups": wide}
        self.is_residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            conv(inputs, wide, act(), kernel_size=1),
            conv(wide, wide, act(), **depthwise),
            conv(wide, outputs, kernel_size=1),
        )

    def forward(self, x: Any) -> Any:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class Gate(nn.Module):  # type: ignore[misc, name-defined]
    """Squeeze and excite."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Any) -> Any:
        small = functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))
        return x * functional.hardsigmoid(self.up(small))


class Head(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool, self.drop = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(0.2)
        self.classes = nn.Linear(channels, 5)

    def forward(self, x: Any) -> Any:
        return self.classes(self.drop(torch.flatten(self.pool(x), 1)))


def mobile(act: Any) -> Any:
    stem = conv(3, 6, act(), kernel_size=3, stride=2, padding=1)
    body = [Bottleneck(6, 6, 1, act), nn.MaxPool2d(3, 2, 1), Gate(6), Bottleneck(6, 8, 2, act)]
    return nn.Sequential(stem, *body, Bottleneck(8, 8, 1, act), Head(8))


def exported(act: Any, **options: Any) -> Any:
    """A seeded network with statistics as training leaves them, as a Relax module."""
    from tvm.relax.frontend.torch import from_exported_program  # fails without torch

    torch.manual_seed(3)
    model = mobile(act).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
    program = torch.export.export(model, (torch.zeros(1, 3, 24, 20),))
    return model, from_exported_program(program, **options)


@pytest.mark.parametrize("act", [nn.ReLU6, nn.Hardswish, nn.SiLU])
def test_exported_network_gives_bytes_of_the_standalone_program(tmp_path: Path, act: Any) -> None:
    model, module = exported(act, unwrap_unit_return_tuple=True)
    data = noise(12, 3, 24, 20)
    annotated = qmc.partition_for_qmc(module, "host", calibration=data, codegen=False)
    assert layers_left(annotated) == []
    (network,) = integer_networks(annotated)
    found = run(relax.transform.RunCodegen()(annotated), data[:1])
    np.testing.assert_array_equal(found, reference(network, data[:1]).reshape(found.shape))

    source, target = (network.quantization[name] for name in (network.input, network.output))
    codes = source.quantize(data[:1])
    write_files(emit(network, {}) + golden_files(network, codes), tmp_path)
    assert verify_build(tmp_path).ok
    program = compile_folder(tmp_path, tmp_path / "run", ("-O1",))
    shape = network.tensors[network.output].shape
    standalone = run_codes(program, codes, source.bits, target.bits, shape)
    np.testing.assert_array_equal(codes_of(found, target), standalone.reshape(found.shape))

    real = model(torch.from_numpy(data[:1])).detach().numpy()
    assert np.abs(found - real).max() < 0.1 * np.abs(real).max()


def test_parameters_kept_as_inputs_and_the_tuple_that_export_returns() -> None:
    _, module = exported(nn.ReLU6, keep_params_as_input=True)
    module, parameters = detach_params(module)
    names = [str(variable.name) for variable in module["main"].params][1:]
    values = dict(zip(names, parameters["main"], strict=True))
    data = noise(4, 3, 24, 20)
    compiled = qmc.partition_for_qmc(module, "host", params=values, calibration=data)
    plain = qmc.partition_for_qmc(exported(nn.ReLU6)[1], "host", calibration=data)
    assert layers_left(compiled) == layers_left(plain) == []
    (found,), (expected,) = run(compiled, data[:1]), run(plain, data[:1])
    np.testing.assert_array_equal(found, expected)


def test_blocks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_blocks(tmp_path, monkeypatch, torch=True)
    assert np.isfinite(names["scores"]).all()
