"""``--scheme auto``: the cheapest widths that lose no more accuracy than allowed.

Candidates are the points of the exact front. The cheapest that keeps to the limit on one half of
the labelled images is found by bisection, and has to keep to it on both halves together; if it
does not, the next safer point is tried. Without labels the float network's answers take their
place: top-1 cannot fall by more than the share of answers that change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qmc.bit_choice import Limits
from qmc.bit_front import Point
from qmc.bit_problem import FLASH
from qmc.data import Dataset
from qmc.errors import QmcError
from qmc.explore import Ground, exact_front, make_ground, make_laboratory, split_images
from qmc.network import Network
from qmc.options import ExploreOptions, Options
from qmc.plan_folder import FinishedPlan, finish_plan
from qmc.progress import Stages, Tick
from qmc.scheme import Scheme
from qmc.targets import Target
from qmc.trial import Images, Laboratory, Score
from qmc.verdicts import by_layer, verdicts

#: Points of top-1 that may be lost unless told otherwise.
DEFAULT_DROP = 1.0
#: Points of the front under limits: one integer program each.
_LIMITED_POINTS = 24
#: Attempts at limits on bytes, whose exact values only the whole program has.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class AutoScheme:
    """Widths that were chosen.

    Attributes:
        scheme: in full.
        verdicts: why each width was taken, by layer name.
        note: what was chosen and how that was proved, one sentence.
    """

    scheme: Scheme
    verdicts: Mapping[str, str]
    note: str


def auto_scheme(
    options: Options,
    network: Network,
    target: Target,
    calib: Dataset | None,
    labelled: Dataset | None,
    stages: Stages,
) -> AutoScheme:
    """Choose widths for ``qmc compile``.

    Raises:
        QmcError: there are no images to judge by, or nothing keeps to the limits.
    """
    if calib is None:
        raise QmcError("--scheme auto: needs calibration images; give --calib PATH")
    wanted = _explore_options(options)
    ground = make_ground(wanted, network, target, calib, labelled, stages)
    laboratory = make_laboratory(wanted, ground)
    with stages.stage("run the float network"):
        images = split_images(options.model, labelled or calib, options.jobs)
    allowed = DEFAULT_DROP if options.max_drop is None else options.max_drop
    plan = None
    for _ in range(_ATTEMPTS):
        with stages.stage("choose widths") as tick:
            front = exact_front(ground, _LIMITED_POINTS)
            point = cheapest_within(laboratory, ground, front, images, allowed, tick)
            plan = finish_plan(network, target, point.assignment, calib, options)
        tighter = _tighter(options, ground.limits, plan)
        if tighter is None:
            break
        ground = replace(ground, limits=tighter)
    assert plan is not None
    told = by_layer(ground.space, verdicts(ground.space, target, point, front))
    return AutoScheme(plan.scheme, told, _note(ground, point, allowed, labelled is None))


def _explore_options(options: Options) -> ExploreOptions:
    return ExploreOptions(
        model=options.model,
        target=options.target,
        output=options.output,
        calibration=options.calibration,
        sensitivity=options.sensitivity,
        optimize=options.optimize,
        flash_bytes=options.flash_bytes,
        ram_bytes=options.ram_bytes,
        max_latency=options.max_latency,
        seed=options.seed,
        jobs=options.jobs,
    )


def cheapest_within(
    laboratory: Laboratory,
    ground: Ground,
    front: Sequence[Point],
    images: tuple[Images, Images],
    allowed: float,
    tick: Tick,
) -> Point:
    """The cheapest point of a front that loses at most ``allowed`` points of top-1.

    Args:
        laboratory: makes the trials.
        ground: to tell which points are worth a trial.
        front: least sensitivity first.
        images: to choose by, and to check with.
        allowed: points of top-1.
        tick: called with trials done and in all.

    Raises:
        QmcError: even the first point loses more.
    """
    points = ground.space.useful(front)
    trials = 0

    def score(index: int, part: Images) -> Score:
        nonlocal trials
        trials += 1
        tick(trials, trials + 1)
        ((_, found),) = laboratory.try_all([points[index].assignment], part)
        return found

    safe, broken = -1, len(points)
    while broken - safe > 1:
        middle = (safe + broken) // 2
        if score(middle, images[0]).drop <= allowed:
            safe = middle
        else:
            broken = middle
    for index in range(max(safe, 0), -1, -1):
        search, check = (score(index, part) for part in images)
        both = search + check
        if both.drop <= allowed:
            return replace(points[index], score=search, check=check)
    raise QmcError(
        f"--scheme auto: found a drop of {both.drop:.2f} points at the widest point of the front; "
        f"--max-drop allows {allowed:g}"
    )


def _tighter(options: Options, limits: Limits, plan: FinishedPlan) -> Limits | None:
    """Limits lowered by what the whole program needs too much; None when it needs no more."""
    over_flash = plan.flash_bytes - (options.flash_bytes or plan.flash_bytes)
    over_ram = plan.ram_bytes - (options.ram_bytes or plan.ram_bytes)
    if over_flash <= 0 and over_ram <= 0:
        return None
    totals = dict(limits.totals)
    if over_flash > 0:
        totals[FLASH] -= over_flash
    peak = limits.peak
    if peak is not None and over_ram > 0:
        peak -= over_ram
    return Limits(totals, peak)


def _note(ground: Ground, point: Point, allowed: float, without_labels: bool) -> str:
    assert point.score is not None
    assert point.check is not None
    weights = point.assignment.weights.values()
    bits = f"weights of {min(weights)} to {max(weights)} bits"
    activations = point.assignment.activations.values()
    if activations:
        bits += f", activations of {min(activations)} to {max(activations)}"
    of = "answers changed" if without_labels else "points of top-1 lost"
    return (
        f"auto: {bits}; {point.score.drop:.2f} {of} on {point.score.images} images chosen by, "
        f"{point.check.drop:.2f} on {point.check.images} others, {allowed:g} allowed; no widths of "
        "less cost have as little sensitivity "
        f"({ground.space.sensitivities.source}, {point.choice.totals['sensitivity']:.3g})"
    )
