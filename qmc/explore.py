"""The front of widths of a network on a machine: costs, sensitivities, exact front, trials, plans.

The stages, each a function of what came before:

1. what every layer costs at every width: the machine's own mapper, or a file of measurements;
2. what every width of every tensor costs in accuracy;
3. the exact front of the two, or the best under limits;
4. if asked for: an evolutionary search from there on, with accuracy measured by trials;
5. points and uniform widths calibrated in full, and measured where there are labels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qmc import cache
from qmc.bit_choice import Limits
from qmc.bit_costs import LayerCosts, machine_costs, machine_tables
from qmc.bit_front import Point, best_uniform, pareto, spread
from qmc.bit_problem import CYCLES, FLASH
from qmc.bit_space import BitSpace, make_space
from qmc.calibrate import Manner
from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.calibrated_model import load_calibration
from qmc.cost_models.xgboost_model import shipped_model
from qmc.data import Dataset
from qmc.errors import QmcError
from qmc.evaluation_store import EvaluationStore
from qmc.evolution import Evolution, evolve
from qmc.finals import Final, Finals
from qmc.find_sensitivities import find_sensitivities, fit_at_all_widths
from qmc.fitted_weights import NO_FITS, Fits
from qmc.frontend import load_network
from qmc.layer_text import parse_latency
from qmc.model_costs import predicted_costs, told_error
from qmc.network import Network
from qmc.observe import Observed, observe
from qmc.open_images import load_data
from qmc.options import LEARNED, ExploreOptions
from qmc.plan import file_sha256
from qmc.progress import Stages, Tick
from qmc.ranges import Calibration
from qmc.sensitivity_csv import read_costs
from qmc.targets import Target, load_target
from qmc.trial import Images, Laboratory, halves, load_images
from qmc.tuning.explore_latency import measured_costs

#: Images that a search chooses by, and that its end is checked with, at most.
_SEARCH_IMAGES = 256
_CHECK_IMAGES = 1000
#: Points of the exact front that an evolutionary search begins with.
SEEDS = 36


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Everything that is known before widths are chosen.

    Attributes:
        network, target: what is compiled, for what.
        calib, eval: images.
        seen: what calibration observed of the former.
        fits: weights fitted at every width.
        space: all assignments.
        limits: that every plan keeps to.
        notes: what looked wrong in files of the user.
    """

    network: Network
    target: Target
    calib: Dataset | None
    eval: Dataset | None
    seen: Observed | None
    fits: Fits
    space: BitSpace
    limits: Limits
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Exploration:
    """What an exploration found.

    Attributes:
        ground: what it stands on.
        exact: the exact front, or as many points of it under limits.
        finals: those that become plans.
        uniforms: uniform assignments, judged as the plans are.
    """

    ground: Ground
    exact: tuple[Point, ...]
    finals: tuple[Final, ...]
    uniforms: tuple[Point, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """Those of the plans."""
        return tuple(final.point for final in self.finals)

    @property
    def measured(self) -> bool:
        """Whether accuracy was measured."""
        return self.ground.eval is not None


def prepare(options: ExploreOptions, stages: Stages) -> Ground:
    """Stages 1 and 2.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    target = load_target(options.target)
    with stages.stage("read the model"):
        _, network = load_network(options.model, False, None)
    data = load_data(options, network)
    return make_ground(options, network, target, data.calib, data.eval, stages)


def make_ground(
    options: ExploreOptions,
    network: Network,
    target: Target,
    calib: Dataset | None,
    labelled: Dataset | None,
    stages: Stages,
) -> Ground:
    """Costs and sensitivities of a network that is loaded already.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    limits = _limits(options, target)
    with stages.stage("search mappings at all widths") as tick:
        costs, notes = _costs(options, network, target, tick)
    seen = None
    if calib is not None:
        with stages.stage("observe activations") as tick:
            seen = observe(network, calib, tick)
    fits = NO_FITS
    if calib is not None and seen is not None:
        with stages.stage("fit weights at all widths") as tick:
            method, jobs = options.calibration, options.jobs
            fits = fit_at_all_widths(network, calib, seen, method, jobs, tick)
    with stages.stage("measure sensitivities") as tick:
        sensitivities = find_sensitivities(
            *(options.sensitivity, network, calib, labelled, seen, fits),
            method=options.calibration,
            jobs=options.jobs,
            tick=tick,
        )
    objective = None if options.measured_costs else options.optimize
    space = make_space(network, target, costs, sensitivities, objective)
    return Ground(network, target, calib, labelled, seen, fits, space, limits, notes)


def _costs(
    options: ExploreOptions, network: Network, target: Target, tick: Tick
) -> tuple[Mapping[str, LayerCosts], tuple[str, ...]]:
    """Costs of the layers with weights, and what has to be said of them."""
    if options.measure_seconds is not None:
        return measured_costs(network, target, options, tick)
    if options.measured_costs and options.cost_model is not None:
        raise QmcError(
            f"--costs: found '{options.costs}' beside --cost-model; allowed: one of both"
        )
    search = (network, target, AnalyticalModel(), options.optimize)
    if options.costs == LEARNED or options.cost_model is not None:
        model = load_calibration(options.cost_model) if options.cost_model else shipped_model()
        tables = machine_tables(*search, jobs=options.jobs, tick=tick)
        costs = predicted_costs(network, target, tables, model)
        return costs, (told_error(model, target),)
    if options.costs is None:
        return machine_costs(*search, jobs=options.jobs, tick=tick), ()
    measured = read_costs(Path(options.costs), network)
    rows = measured.costs.items()
    told = {name: {triple: (cost, 0) for triple, cost in row.items()} for name, row in rows}
    return told, measured.notes


def _limits(options: ExploreOptions, target: Target) -> Limits:
    totals = {}
    if options.flash_bytes is not None:
        totals[FLASH] = float(options.flash_bytes)
    if options.max_latency is not None:
        totals[CYCLES] = float(parse_latency(options.max_latency, target.clock_hz))
    peak = None if options.ram_bytes is None else float(options.ram_bytes)
    return Limits(totals, peak)


def explore(options: ExploreOptions, stages: Stages) -> Exploration:
    """All stages: find the front, calibrate its points, and measure them where there are labels.

    Raises:
        QmcError: one of its classes, for anything wrong with the input.
    """
    began = time.monotonic()
    if options.calib is None:
        raise QmcError("explore: needs calibration images; give --calib PATH")
    if options.generations and options.eval is None:
        raise QmcError("--generations: needs labelled images; give --eval PATH")
    ground = prepare(options, stages)
    left = None if options.budget_seconds is None else began + options.budget_seconds
    with stages.stage("choose widths exactly"):
        exact = exact_front(ground, options.plans)
        uniforms = ground.space.uniforms()
        chosen = spread(ground.space.useful(exact), options.plans)
    laboratory: Laboratory | None = None
    parts: tuple[Images, ...] = ()
    if ground.eval is not None:
        with stages.stage("run the float network"):
            parts = split_images(options.model, ground.eval, options.jobs)
        laboratory = make_laboratory(options, ground)
    if laboratory is not None and options.generations:
        start = spread(ground.space.useful(exact), max(options.plans, SEEDS))
        with stages.stage("evolve the front") as tick:
            chosen = _evolved(options, ground, laboratory, parts[0], start, left, tick)
    finals = make_finals(options, ground)
    with stages.stage("calibrate the front in full") as tick:
        judged = tuple(finals.judge(chosen, laboratory, parts, tick, left))
    if laboratory is not None:
        beside = worth_measuring(ground.space, chosen, uniforms)
        with stages.stage("calibrate uniform widths in full") as tick:
            uniforms = [one.point for one in finals.judge(beside, laboratory, parts, tick, left)]
    return Exploration(ground, tuple(exact), judged, tuple(uniforms))


def _evolved(
    options: ExploreOptions,
    ground: Ground,
    laboratory: Laboratory,
    images: Images,
    start: Sequence[Point],
    deadline: float | None,
    tick: Tick,
) -> list[Point]:
    """Points of the front that an evolutionary search finds by trials."""
    evolution = Evolution(options.generations, options.seed, deadline)
    space, limits = ground.space, ground.limits
    tried = evolve(space, laboratory, images, start, evolution, limits, tick)
    found = spread(pareto(tried), options.plans)
    return [replace(point, score=None, trial=point.score) for point in found]


def exact_front(ground: Ground, plans: int) -> list[Point]:
    """Stage 3.

    Raises:
        QmcError: nothing meets the limits, or no width fits the machine.
    """
    points = ground.space.front()
    if not points:
        raise QmcError(f"target '{ground.target.name}': no widths from 2 to 8 fit the network")
    if not ground.limits.totals and ground.limits.peak is None:
        return points
    return ground.space.limited_front(ground.limits, spread(points, 2 * plans))


def split_images(
    model: Path, data: Dataset, jobs: int, every: bool = False
) -> tuple[Images, Images]:
    """Images to choose by, and others to check with; ``every`` leaves none out.

    Raises:
        DataError: there are fewer than two.
    """
    search, check = halves(len(data))
    kept = _thinned(search, _SEARCH_IMAGES)
    rest = sorted({*search, *check} - {*kept}) if every else _thinned(check, _CHECK_IMAGES)
    parts = (kept, rest)
    first, second = (load_images(model, data, part, jobs) for part in parts)
    return first, second


def _thinned(indices: Sequence[int], count: int) -> list[int]:
    if len(indices) <= count:
        return list(indices)
    return [indices[int(i)] for i in np.arange(count) * len(indices) // count]


def make_laboratory(options: ExploreOptions, ground: Ground) -> Laboratory:
    """Where trials are made and kept: in the cache, so that a killed run goes on."""
    assert ground.seen is not None
    folder = cache.cache_folder() or options.output.parent
    store = EvaluationStore(folder / "trials.sqlite")
    digest = _digest(options, ground)
    method: Calibration | None = options.calibration
    return Laboratory(ground.network, ground.seen, method, ground.fits, store, options.jobs, digest)


def make_finals(options: ExploreOptions, ground: Ground, how: Manner | None = None) -> Finals:
    """Where points are calibrated in full; ``how`` is the way of ``qmc compile`` by default."""
    manner = how or Manner(options.calibration, seed=options.seed)
    digest = _digest(options, ground)
    return Finals(ground.network, ground.calib, ground.seen, manner, options.jobs, digest)


def _digest(options: ExploreOptions, ground: Ground) -> str:
    """Hash of the network and of what calibration sees."""
    assert ground.seen is not None
    assert ground.calib is not None
    parts = (file_sha256(options.model), str(ground.calib.path), len(ground.calib))
    ranges = [(h.low, h.high) for h in ground.seen.histograms.values()]
    return cache.cache_key(*parts, options.calibration, *ranges)


def worth_measuring(
    space: BitSpace, chosen: Iterable[Point], uniforms: Sequence[Point]
) -> list[Point]:
    """Uniform assignments of equal widths, and those that stand beside a chosen point."""
    equal = {f"w{b}a{b}" for b in range(2, 9)} | {f"w{b}a8" for b in range(2, 9)}
    beside = [best_uniform(point, uniforms) for point in chosen]
    names = equal | {point.name for point in beside if point is not None}
    return [point for point in space.useful(uniforms) if point.name in names]
