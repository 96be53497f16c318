"""``qmc finetune``: a model and a scheme in; the model with trained weights, and its scheme."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.console import Console
from rich.text import Text

from qmc.compiler import choose_scheme
from qmc.data import Dataset, Use, load_dataset
from qmc.errors import DataError, QmcError, SchemeError
from qmc.export_command import write_whole
from qmc.frontend import load_network
from qmc.integer_runner import IntegerRunner
from qmc.network import Network
from qmc.open_images import Data
from qmc.options import Options
from qmc.preprocess import load_preprocess
from qmc.progress import Stages
from qmc.quantize import quantize
from qmc.scheme import Scheme
from qmc.scheme_io import scheme_to_text
from qmc.train.fake_quantized import FakeQuantized
from qmc.train.learn import Course, train
from qmc.train.write_back import check_written, write_back


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """One fine-tuning.

    Attributes:
        model: float ONNX file.
        output: ONNX file to write; its scheme lies beside it as ``<stem>.scheme.yaml``.
        scheme: widths, a scheme or a plan, as for ``qmc compile``.
        calib: images to calibrate on; where ``train`` is None, also to learn from.
        train: images to learn from, with labels if there are any.
        eval: labelled images to measure accuracy on, before and after.
        preprocess: of images; None finds it beside the model.
        limit: only the first images of each set.
        course: how long, how fast, from which seed.
    """

    model: Path
    output: Path
    scheme: str = "w8a8"
    calib: Path | None = None
    train: Path | None = None
    eval: Path | None = None
    preprocess: Path | None = None
    limit: int | None = None
    course: Course = field(default_factory=Course)


def finetune(options: FinetuneOptions, stages: Stages) -> dict[str, Any]:
    """Train and write both files.

    Returns:
        ``files``, ``images``, ``labels`` (whether there were any), and with ``eval`` ``top1``:
        ``images``, ``float``, ``before`` and ``after`` in percent.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    if options.output.suffix != ".onnx":
        raise QmcError(f"--output: found '{options.output}'; allowed: a name that ends in .onnx")
    with stages.stage("read the model"):
        network = load_network(options.model)[1]
        _check(options, network)
    sets = {
        use: _load(options, network, path, use)
        for use, path in (
            (Use.CALIB, options.calib),
            (Use.TRAIN, options.train),
            (Use.EVAL, options.eval),
        )
    }
    images = sets[Use.TRAIN] or sets[Use.CALIB]
    if images is None:
        raise DataError("--train: not given, nor --calib; allowed: images to learn from")
    with stages.stage("calibrate and quantize") as tick:
        common = Options(
            options.model, "", options.output, options.scheme, seed=options.course.seed
        )
        known = Data(None, sets[Use.CALIB] or images, sets[Use.EVAL])
        scheme = choose_scheme(common, network, known, tick)
        _check_formats(scheme)
    model = FakeQuantized(network, scheme)
    with stages.stage("train") as tick:
        train(model, network, images, options.course, tick)
    parameters, learned = model.trained()
    written = write_back(options.model, network, parameters)
    tuned = _read_back(options, written)
    check_written(options.model, tuned, parameters)
    data: dict[str, Any] = {"images": len(images), "labels": images.labels is not None}
    judges = sets[Use.EVAL]
    if judges is not None:
        with stages.stage("measure accuracy"):
            data["top1"] = _accuracies(network, scheme, tuned, learned, judges)
    return {"files": _write(options, written, learned), **data}


def _check(options: FinetuneOptions, network: Network) -> None:
    given = [name for name, one in network.parameters.items() if one.given is not None]
    if given:
        raise QmcError(
            f"{options.model}: layer '{given[0]}' has integer weights; allowed: a float model"
        )


def _check_formats(scheme: Scheme) -> None:
    for name, weights in scheme.weights.items():
        if weights.format is not None or weights.bits < 2:
            found = weights.format or f"{weights.bits} bits"
            raise SchemeError(f"layer '{name}': found weights of {found}; allowed: 2 to 8 bits")


def _load(
    options: FinetuneOptions, network: Network, path: Path | None, use: Use
) -> Dataset | None:
    if path is None:
        return None
    shape = network.tensors[network.input].shape
    preprocess = load_preprocess(options.model, options.preprocess)
    return load_dataset(path, use, shape, preprocess, options.limit)


def _read_back(options: FinetuneOptions, written: onnx.ModelProto) -> Network:
    with tempfile.TemporaryDirectory(prefix="qmc-finetune-") as folder:
        path = Path(folder) / options.output.name
        path.write_bytes(written.SerializeToString(deterministic=True))
        return load_network(path)[1]


def _accuracies(
    network: Network, scheme: Scheme, tuned: Network, learned: Scheme, images: Dataset
) -> dict[str, Any]:
    """Top-1 of the float network and of the integer networks, which are those of the C."""
    from qmc.float_model import FloatModel

    real = FloatModel(network)
    runners = [IntegerRunner(quantize(network, scheme)), IntegerRunner(quantize(tuned, learned))]
    hits = np.zeros(3, dtype=np.int64)
    first = 0
    for batch in images.batches():
        assert images.labels is not None
        labels = images.labels[first : first + len(batch)]
        first += len(batch)
        answers = real.run(batch)[network.output].reshape(len(batch), -1).argmax(axis=1)
        found = [answers, *(runner.classify(batch) for runner in runners)]
        hits += [int((one == labels).sum()) for one in found]
    shares = dict(zip(("float", "before", "after"), (100.0 * hits / first).tolist(), strict=True))
    return {"images": first, **shares}


def _write(options: FinetuneOptions, model: onnx.ModelProto, scheme: Scheme) -> list[str]:
    files = {
        options.output: model.SerializeToString(deterministic=True),
        options.output.with_suffix(".scheme.yaml"): scheme_to_text(scheme).encode(),
    }
    for suffix in (".preprocess.yaml", ".labels.txt"):
        own = options.model.with_suffix(suffix)
        if own.is_file() and own.resolve() != options.output.with_suffix(suffix).resolve():
            files[options.output.with_suffix(suffix)] = own.read_bytes()
    return [str(write_whole(path, content)) for path, content in files.items()]


def print_finetune(data: dict[str, Any], console: Console) -> None:
    """Files and accuracies."""
    for file in data["files"]:
        console.print(Text(file), soft_wrap=True)
    kind = "labels and the float network" if data["labels"] else "the float network"
    console.print(Text(f"  learned from {data['images']} images and {kind}"))
    if "top1" in data:
        top1 = data["top1"]
        console.print(
            Text(
                f"  top-1 of {top1['images']} images: float {top1['float']:.1f} %, integers "
                f"{top1['before']:.1f} % before, {top1['after']:.1f} % after"
            )
        )
