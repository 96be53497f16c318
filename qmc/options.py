"""What a user asks of ``qmc compile``; the fields' defaults are the only defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from qmc.arithmetic import Rounding
from qmc.ranges import Calibration
from qmc.scheme import WeightRounding
from qmc.search_result import Factors, Objective


class Mapper(StrEnum):
    """How mappings are searched."""

    EXACT = "exact"
    LEARNED = "learned"
    AUTO = "auto"
    RANDOM = "random"


class SensitivityChoice(StrEnum):
    """Where sensitivities come from; besides these, a CSV file."""

    AUTO = "auto"  # kl with images, weights without
    KL = "kl"
    LOSS = "loss"
    SECOND_ORDER = "second-order"
    WEIGHTS = "weights"


#: What ``--costs`` calls the learned cost model.
LEARNED = "learned"


def default_jobs() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Options:
    """One compilation.

    Attributes:
        model: trained ONNX network, float or QDQ.
        target: name of a known machine or path of its YAML file.
        output: folder to make; it appears whole or not at all.
        scheme: ``w8a8`` and the like, ``auto``, or a scheme file.
        sensitivity: of ``auto`` and averages: one of :class:`SensitivityChoice`, or a CSV file.
        calib, eval: images; see ``qmc.data``.
        preprocess: YAML file; None takes ``<model>.preprocess.yaml`` beside the model.
        limit: use only the first images of each set.
        calibration: range method; None takes the least squared error.
        optimize: what the mapper minimizes.
        factors: which extents loops may have: perfect ones, or those that leave short tiles.
        mapper: exact search, the learned one, what suits a layer, or the random baseline.
        cost_model: file written by ``qmc calibrate``; None is the analytical model as it is.
        tuning: file written by ``qmc tune``; None builds kernels by the defaults.
        variants: machines whose kernels the program holds, best first; empty is the target's alone.
        budget_seconds: of all searches of mappings together; None lets each take its steps.
        max_latency: ``1.5ms`` or ``20000cycles`` that the whole network may take.
        rounding: of requantizations.
        weight_rounding: how weights become integers.
        equalize: run cross-layer equalization.
        encodings: AIMET encodings that quantize the model as if it came with them.
        max_drop: largest loss of top-1 allowed, in points; needs ``eval``, or ``auto``.
        flash_bytes, ram_bytes: budgets that the build must meet.
        seed: of everything random.
        jobs: processes to use.
        dump_ir: folder for the module after each pass.
        golden: inputs whose vectors, of every layer, are kept in golden/ and verified.
        verify: build the emitted C and check it against the reference.
    """

    model: Path
    target: str
    output: Path
    scheme: str = "w8a8"
    sensitivity: str = SensitivityChoice.AUTO
    calib: Path | None = None
    eval: Path | None = None
    preprocess: Path | None = None
    limit: int | None = None
    calibration: Calibration | None = None
    optimize: Objective = Objective.EDP
    factors: Factors = Factors.PERFECT
    mapper: Mapper = Mapper.EXACT
    cost_model: Path | None = None
    tuning: Path | None = None
    variants: tuple[str, ...] = ()
    budget_seconds: float | None = None
    max_latency: str | None = None
    rounding: Rounding = Rounding.HALF_UP
    weight_rounding: WeightRounding = WeightRounding.OPTIMIZED
    equalize: bool = False
    encodings: Path | None = None
    max_drop: float | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    seed: int = 0
    jobs: int = field(default_factory=default_jobs)
    dump_ir: Path | None = None
    golden: int = 1
    verify: bool = True


@dataclass(frozen=True, slots=True)
class ExploreOptions:
    """One search for the front of widths.

    Attributes:
        model, target, output, calib, eval, preprocess, limit, calibration: as in :class:`Options`.
        sensitivity: one of :class:`SensitivityChoice`, or a CSV file.
        costs: a CSV file of measured costs that take the place of the mapper's, or ``learned``: the
            learned cost model prices the mapper's mappings.
        cost_model: file written by ``qmc calibrate``, which prices them instead.
        measure_seconds: of measuring latencies of layers here, which take the mapper's place.
        optimize: the cost of the front: energy, latency or edp.
        plans: so many points of the front become plans.
        generations: of the evolutionary search that follows where there are labels; 0 is none.
        budget_seconds: after which no further candidate is tried.
        flash_bytes, ram_bytes: limits that every plan keeps to.
        max_latency: ``1.5ms`` or ``20000cycles`` that every plan keeps to.
        seed: of everything random.
        jobs: processes to use.
    """

    model: Path
    target: str
    output: Path
    calib: Path | None = None
    eval: Path | None = None
    preprocess: Path | None = None
    limit: int | None = None
    calibration: Calibration | None = None
    sensitivity: str = SensitivityChoice.AUTO
    costs: str | None = None
    cost_model: Path | None = None
    measure_seconds: float | None = None
    optimize: Objective = Objective.ENERGY
    plans: int = 12
    generations: int = 0
    budget_seconds: float | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    max_latency: str | None = None
    seed: int = 0
    jobs: int = field(default_factory=default_jobs)

    @property
    def measured_costs(self) -> bool:
        """Whether measurements, somebody's or made here, take the place of the machine's costs."""
        given = self.costs is not None and self.costs != LEARNED
        return given or self.measure_seconds is not None
