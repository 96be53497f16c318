"""Speed of the exact search: ``python benchmarks/search_speed.py [TARGET ...]``.

``TARGET-unconstrained`` is the machine with every loop allowed anywhere and every bypass. Bars:
0.1 s median, 1 s worst on eyeriss and simba; 0.2 s and 3 s on the same machines unconstrained.

Prints for all distinct layers of MobileNetV1, MobileNetV2 and ResNet-18 the time to the proof:
median, worst, and how many are proved. Process start and compilation are printed apart. Mappings
priced per second: ``mapping_rate.py``.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time

from qmc.cost_models.analytical import AnalyticalModel
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.search import compile_kernels, search
from qmc.targets import Target, load_target
from qmc.targets.unconstrained import unconstrained


def conv(size: int, channels: int, out: int, kernel: int = 1, stride: int = 1) -> Layer:
    bounds = LoopBounds(K=out, C=channels, P=size, Q=size, R=kernel, S=kernel)
    name = f"conv{kernel}x{kernel}_{channels}_{out}_{size}_s{stride}"
    return Layer(name, Op.CONV, ("x",), "y", bounds, strides=(stride, stride))


def depthwise(size: int, channels: int, stride: int) -> Layer:
    bounds = LoopBounds(G=channels, P=size, Q=size, R=3, S=3)
    name = f"depthwise_{channels}_{size}_s{stride}"
    return Layer(name, Op.CONV, ("x",), "y", bounds, strides=(stride, stride))


def mobilenet_v1() -> list[Layer]:
    layers, channels, size = [conv(112, 3, 32, 3, 2)], 32, 112
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    for out, stride in [*plan, (512, 1), (1024, 2), (1024, 1)]:
        size //= stride
        layers += [depthwise(size, channels, stride), conv(size, channels, out)]
        channels = out
    return [*layers, conv(1, 1024, 1000)]


def mobilenet_v2() -> list[Layer]:
    layers, channels, size = (
        [conv(112, 3, 32, 3, 2), depthwise(112, 32, 1), conv(112, 32, 16)],
        16,
        112,
    )
    plan = [(24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]
    for out, repeats, first_stride in plan:
        for index in range(repeats):
            stride, wide = first_stride if index == 0 else 1, 6 * channels
            layers.append(conv(size, channels, wide))
            size //= stride
            layers += [depthwise(size, wide, stride), conv(size, wide, out)]
            channels = out
    return [*layers, conv(7, 320, 1280), conv(1, 1280, 1000)]


def resnet_18() -> list[Layer]:
    layers, channels, size = [conv(112, 3, 64, 7, 2), conv(56, 64, 64, 3)], 64, 56
    for out in (128, 256, 512):
        size //= 2
        layers += [conv(size, channels, out, 3, 2), conv(size, channels, out, 1, 2)]
        layers.append(conv(size, out, out, 3))
        channels = out
    return [*layers, conv(1, 512, 1000)]


def distinct_layers() -> list[Layer]:
    layers = [*mobilenet_v1(), *mobilenet_v2(), *resnet_18()]
    return list({(layer.bounds, layer.strides): layer for layer in layers}.values())


def report(target: Target, layers: list[Layer]) -> None:
    wall, cpu, proved = [], [], 0
    for layer in layers:
        began = time.process_time()
        result = search(layer, Precision(), target, AnalyticalModel())
        cpu.append(time.process_time() - began)
        wall.append(result.certificate.seconds)
        proved += result.certificate.proved
    for clock, seconds in (("wall", wall), ("CPU", cpu)):
        slowest = layers[seconds.index(max(seconds))].name
        print(
            f"{target.name}: {len(layers)} layers, {clock} seconds: "
            f"median {statistics.median(seconds):.3f}, worst {max(seconds):.3f} ({slowest}), "
            f"sum {sum(seconds):.1f}; proved {proved}"
        )


def machine(name: str) -> Target:
    """A shipped machine or file, as it is or without its constraints."""
    plain = name.removesuffix("-unconstrained")
    return load_target(plain) if plain == name else unconstrained(load_target(plain))


def compile_all() -> None:
    """The kernels of a search, and of climbing, which only larger spaces need."""
    compile_kernels()
    search(conv(112, 32, 64), Precision(), load_target("eyeriss"), AnalyticalModel())


def main() -> None:
    began = time.perf_counter()
    compile_all()
    print(f"compilation, or loading what was compiled before: {time.perf_counter() - began:.1f} s")
    machines = ["eyeriss", "simba", "eyeriss-unconstrained", "simba-unconstrained"]
    for name in sys.argv[1:] or machines:
        report(machine(name), distinct_layers())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory of the process: {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
