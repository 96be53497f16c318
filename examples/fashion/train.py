"""Train the example network and write every file of this folder.

The network is a small MobileNetV1 with two residual additions: 38 thousand parameters for 28 x 28
grey images of clothes. Needs what qmc does not: ``pip install torch==2.13.0`` and Debian's package
``dataset-fashion-mnist``. Takes a few minutes on one core::

    python examples/fashion/train.py --epochs 10

The network has the form that training leaves behind and that qmc expects: BatchNormalization not
folded, ReLU6 written as Clip, a symbolic batch, logits without softmax. The ONNX file is written
node by node, so that every node has a name a person can read.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn
from torch.nn import functional

DATASET = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
).split(", ")
#: Grey value 0..255 to network input: (x - MEAN) / STD, about the statistics of the training set.
MEAN, STD = 73.0, 90.0
#: Output channels and stride of each depthwise-separable block; equal channels at stride 1 add up.
BLOCKS = ((32, 2), (32, 1), (64, 2), (64, 1), (128, 1), (128, 1))
STEM_CHANNELS = 16
CALIBRATION_IMAGES, EVALUATION_IMAGES, SAMPLE_CLASSES = 200, 1000, (9, 3, 8)


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, out, H / stride, W / stride)."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Depthwise 3x3, pointwise 1x1, and the input added where the shapes agree."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.dw = ConvNorm(channels, channels, 3, stride, groups=channels)
        self.pw = ConvNorm(channels, out, 1)
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, out, H / stride, W / stride)."""
        y = self.pw(functional.relu6(self.dw(x)))
        return functional.relu6(x + y if self.residual else y)


class FashionNet(nn.Module):
    """Stem, blocks, global average pool, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, STEM_CHANNELS, 3)
        channels = [STEM_CHANNELS, *(out for out, _ in BLOCKS)]
        self.blocks = nn.Sequential(
            *(Block(c, out, stride) for c, (out, stride) in zip(channels, BLOCKS, strict=False))
        )
        self.fc = nn.Linear(channels[-1], len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 28, 28) float to (N, 10) logits."""
        return self.fc(self.blocks(functional.relu6(self.stem(x))).mean((2, 3)))


@dataclass
class OnnxWriter:
    """Collects the nodes and initializers of an ONNX graph."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, values: torch.Tensor) -> str:
        """Add an initializer; returns its name."""
        self.initializers.append(numpy_helper.from_array(values.detach().numpy(), name))
        return name

    def node(self, op: str, name: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Add a node; returns the name of its output."""
        output = output or f"{name}.out"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def conv_norm(self, name: str, layer: ConvNorm, x: str) -> str:
        """Add Conv and BatchNormalization."""
        conv, norm = layer.conv, layer.norm
        weight = self.constant(f"{name}.conv.weight", conv.weight)
        pad = int(conv.padding[0])
        x = self.node(
            "Conv", f"{name}.conv", x, weight,
            kernel_shape=conv.kernel_size, strides=conv.stride, pads=[pad] * 4, group=conv.groups,
        )  # fmt: skip
        statistics = ("weight", "bias", "running_mean", "running_var")
        names = [self.constant(f"{name}.norm.{s}", getattr(norm, s)) for s in statistics]
        return self.node("BatchNormalization", f"{name}.norm", x, *names, epsilon=norm.eps)

    def relu6(self, name: str, x: str) -> str:
        """Add Clip(0, 6)."""
        return self.node("Clip", f"{name}.relu6", x, "zero", "six")


def to_onnx(network: FashionNet) -> onnx.ModelProto:
    """The network as ONNX opset 13: input ``input`` (batch, 1, 28, 28), output ``logits``."""
    writer = OnnxWriter()
    writer.constant("zero", torch.tensor(0.0))
    writer.constant("six", torch.tensor(6.0))
    x = writer.relu6("stem", writer.conv_norm("stem", network.stem, "input"))
    for index, block in enumerate(network.blocks):
        name = f"blocks.{index}"
        y = writer.relu6(f"{name}.dw", writer.conv_norm(f"{name}.dw", block.dw, x))
        y = writer.conv_norm(f"{name}.pw", block.pw, y)
        y = writer.node("Add", f"{name}.add", x, y) if block.residual else y
        x = writer.relu6(name, y)
    x = writer.node("Flatten", "flatten", writer.node("GlobalAveragePool", "pool", x), axis=1)
    weight = writer.constant("fc.weight", network.fc.weight)
    bias = writer.constant("fc.bias", network.fc.bias)
    writer.node("Gemm", "fc", x, weight, bias, output="logits", transB=1)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        writer.nodes,
        "fashion",
        [value("input", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [value("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        writer.initializers,
    )
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="train.py")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def load(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 28, 28) and labels (N,) of ``train`` or ``t10k``.

    Source: the IDX format, http://yann.lecun.com/exdb/mnist: headers of 16 and 8 bytes.
    """
    images = gzip.decompress((DATASET / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((DATASET / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(images, np.uint8).reshape(-1, 28, 28)
    return pixels, np.frombuffer(labels, np.uint8).astype(np.int64)


def to_input(images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, 28, 28) grey values to the network's (N, 1, 28, 28) input."""
    return ((torch.from_numpy(images.copy()).float() - MEAN) / STD).unsqueeze(1)


def batches(x: torch.Tensor, y: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """One epoch in random order, each batch mirrored or not and moved by up to two pixels."""
    for rows in torch.randperm(len(x)).split(size):
        batch = x[rows].flip(3) if torch.rand(()) < 0.5 else x[rows]
        down, right = (int(v) for v in torch.randint(0, 5, (2,)))
        padded = functional.pad(batch, (2, 2, 2, 2), value=-MEAN / STD)
        yield padded[:, :, down : down + 28, right : right + 28], y[rows]


def train(epochs: int, batch_size: int) -> FashionNet:
    """Train with AdamW and a one-cycle learning rate."""
    images, labels = load("train")
    x, y = to_input(images), torch.from_numpy(labels)
    network = FashionNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = epochs * -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        for batch, target in batches(x, y, batch_size):
            loss = functional.cross_entropy(network(batch), target, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: {100 * accuracy(network):.2f} % of the test images", flush=True)
    return network


@torch.no_grad()
def accuracy(network: FashionNet) -> float:
    """Share of the 10,000 test images that the network gets right."""
    network.eval()
    images, labels = load("t10k")
    right = [
        int((network(to_input(images[i : i + 500])).argmax(1).numpy() == labels[i : i + 500]).sum())
        for i in range(0, len(images), 500)
    ]
    return sum(right) / len(images)


def write_images(folder: Path) -> None:
    """Write images.npz (calibration: training set; evaluation: test set) and the samples."""
    calib, calib_labels = (array[:CALIBRATION_IMAGES] for array in load("train"))
    images, labels = load("t10k")
    part = ["calib"] * CALIBRATION_IMAGES + ["eval"] * EVALUATION_IMAGES
    np.savez_compressed(
        folder / "images.npz",
        images=np.concatenate([calib, images[:EVALUATION_IMAGES]]),
        labels=np.concatenate([calib_labels, labels[:EVALUATION_IMAGES]]),
        part=np.array(part),
    )
    for label in SAMPLE_CLASSES:
        row = EVALUATION_IMAGES + int(np.argmax(labels[EVALUATION_IMAGES:] == label))
        name = CLASSES[label].lower().replace(" ", "-")
        Image.fromarray(images[row]).save(folder / f"{name}.png")


def main() -> None:
    """Train, then write the model, its labels and the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=108)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the order of sums, and with it every bit, depends on the threads
    torch.use_deterministic_algorithms(True)
    network = train(arguments.epochs, arguments.batch_size)
    onnx.save(to_onnx(network), arguments.output / "fashion.onnx")
    names = "".join(f"{name}\n" for name in CLASSES)
    (arguments.output / "fashion.labels.txt").write_text(names)
    write_images(arguments.output)


if __name__ == "__main__":
    main()
