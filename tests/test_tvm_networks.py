"""A trained network inside TVM and as a standalone program: the same scheme, the same bytes."""

from __future__ import annotations

from pathlib import Path

import tvm
from tvm import relax

import qmc
from qmc.codegen.build import compile_folder, run_program
from qmc.data import Use, load_dataset, load_preprocess
from qmc.packing import pack_activation
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.region_module import region_module, regions
from tests.tvm_run import codes_of

IMAGES, CALIBRATION = 3, 8


def test_network_in_tvm_gives_bytes_of_its_program(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "models" / "resnet8_cifar10jpg.onnx"
    calib = shared / "data" / "datasets" / "cifar10jpg-train-calib.npz"
    options = {"scheme": "w8a8", "calib": calib, "limit": CALIBRATION, "verify": False, "jobs": 1}
    plan = qmc.compile(path, "host", tmp_path / "build", **options)
    program = compile_folder(plan.output, tmp_path / "run", ("-O1",))

    shape = plan.network.tensors[plan.network.input].shape
    data = load_dataset(calib, Use.CALIB, shape, load_preprocess(path), CALIBRATION)
    inputs = data.inputs(range(len(data)))
    annotated = qmc.partition_for_qmc(
        qmc.from_onnx(path), "host", scheme="w8a8", calibration=inputs, codegen=False
    )
    (function,) = regions(annotated).values()
    found = annotated_scheme(region_module(function))
    assert (found.tensors, found.weights) == (plan.scheme.tensors, plan.scheme.weights)

    finished = relax.transform.RunCodegen()(annotated)
    library = tmp_path / "net.so"
    relax.build(finished, "llvm").export_library(str(library))
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    quant = plan.integer.quantization[plan.integer.output]
    for image in inputs[:IMAGES]:
        result = machine["main"](tvm.runtime.tensor(image[None])).numpy()
        packed = pack_activation(codes_of(result, quant), quant.bits).tobytes()
        assert packed == run_program(program, image.tobytes(), tmp_path)
