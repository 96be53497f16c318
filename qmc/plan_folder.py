"""One point of a front as a plan: mapped and written down.

``qmc compile MODEL --target T --scheme plans/NNN/plan.yaml`` with the options in it makes a build
whose plan.yaml and scheme.yaml have the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qmc.codegen import make_program
from qmc.cost_models.analytical import AnalyticalModel
from qmc.integer import IntegerNetwork
from qmc.network import Network
from qmc.options import ExploreOptions, Options
from qmc.plan import plan_text
from qmc.pricing import layer_precision
from qmc.quantize import quantize
from qmc.schedule import schedule_network
from qmc.scheme import Scheme
from qmc.scheme_io import scheme_to_text
from qmc.search_result import Objective, SearchResult
from qmc.targets import Target


@dataclass(frozen=True, slots=True, eq=False)
class FinishedPlan:
    """Everything that is chosen with an assignment.

    Attributes:
        scheme: in full.
        integer: the integer network.
        mappings: of the layers with weights.
        flash_bytes, ram_bytes: of the emitted program, exact.
    """

    scheme: Scheme
    integer: IntegerNetwork
    mappings: Mapping[str, SearchResult]
    flash_bytes: int
    ram_bytes: int

    @property
    def proved(self) -> bool:
        """Whether every mapping is proved best."""
        return all(found.certificate.proved for found in self.mappings.values())


def compile_options(options: ExploreOptions) -> Options:
    """The options with which ``qmc compile`` makes the same of a plan's scheme."""
    return Options(
        model=options.model,
        target=options.target,
        output=options.output,
        calibration=options.calibration,
        optimize=options.optimize,
        seed=options.seed,
        jobs=options.jobs,
    )


def finish_plan(network: Network, target: Target, scheme: Scheme, options: Options) -> FinishedPlan:
    """Search every layer's mapping at the widths of a scheme.

    Args:
        network: what is compiled.
        target: for which machine.
        scheme: in full.
        options: of the compilation.

    Raises:
        QmcError: one of its classes.
    """
    integer = quantize(network, scheme)
    work = [
        (layer, layer_precision(layer, scheme, target))
        for layer in network.layers
        if layer.has_weights
    ]
    found = schedule_network(
        work, target, AnalyticalModel(), Objective(options.optimize), jobs=options.jobs
    )
    loops = {name: one.mapping for name, one in found.items()}
    program = make_program(integer, loops, target.kernels)
    return FinishedPlan(scheme, integer, found, program.flash_bytes, program.ram_peak_bytes)


def write_plan(folder: Path, plan: FinishedPlan, target: Target, options: Options) -> None:
    """Write plan.yaml and scheme.yaml."""
    folder.mkdir(parents=True)
    text = plan_text(options, target, plan.integer, plan.mappings)
    (folder / "plan.yaml").write_text(text, encoding="utf-8")
    (folder / "scheme.yaml").write_text(scheme_to_text(plan.scheme), encoding="utf-8")
