"""``--scheme auto``: the cheapest widths that lose no more accuracy than allowed.

Candidates are the points of the exact front. The cheapest that keeps to the limit on some of the
labelled images is found by bisection with quick trials; calibrated in full, it and cheaper ones
have to keep to the limit on all of them, or safer points are tried. Without labels the float
network's answers take their place: top-1 cannot fall by more than the share of answers that change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qmc.bit_choice import Limits
from qmc.bit_front import Point
from qmc.bit_problem import FLASH
from qmc.calibrate import Manner
from qmc.data import Dataset
from qmc.errors import QmcError
from qmc.explore import (
    Ground,
    exact_front,
    make_finals,
    make_ground,
    make_laboratory,
    split_images,
)
from qmc.finals import Final, Finals
from qmc.network import Network
from qmc.options import ExploreOptions, Options
from qmc.plan_folder import FinishedPlan, finish_plan
from qmc.progress import Stages, Tick
from qmc.scheme import Scheme
from qmc.targets import Target
from qmc.trial import Images, Laboratory
from qmc.verdicts import by_layer, verdicts

#: Points of top-1 that may be lost unless told otherwise.
DEFAULT_DROP = 1.0
#: Points of the front under limits: one integer program each.
_LIMITED_POINTS = 24
#: Attempts at limits on bytes, whose exact values only the whole program has.
_ATTEMPTS = 5
#: Points that are calibrated in full, towards the cheap or the safe end; about so many.
_STEPS = 5


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
    how = Manner(options.calibration, options.rounding, options.weight_rounding, options.seed)
    finals = make_finals(wanted, ground, how)
    with stages.stage("run the float network"):
        images = split_images(options.model, labelled or calib, options.jobs, every=True)
    allowed = DEFAULT_DROP if options.max_drop is None else options.max_drop
    for _ in range(_ATTEMPTS):
        with stages.stage("choose widths") as tick:
            front = ground.space.useful(exact_front(ground, _LIMITED_POINTS))
            last = cheapest_within(laboratory, front, images[0], allowed, tick)
            final = _confirmed(laboratory, finals, front, last, images, allowed)
            plan = finish_plan(network, target, final.scheme, options)
        tighter = _tighter(options, ground.limits, plan)
        if tighter is None:
            break
        ground = replace(ground, limits=tighter)
    told = by_layer(ground.space, verdicts(ground.space, target, final.point, front))
    return AutoScheme(plan.scheme, told, _note(ground, final.point, allowed, labelled is None))


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
    laboratory: Laboratory, points: Sequence[Point], images: Images, allowed: float, tick: Tick
) -> int:
    """The number of the cheapest point that loses at most ``allowed`` points of top-1; at least 0.

    Args:
        laboratory: makes the trials.
        points: a front, least sensitivity first.
        images: to choose by.
        allowed: points of top-1.
        tick: called with trials done and in all.
    """
    safe, broken = 0, len(points)
    most = len(points).bit_length()
    for trial in range(1, most + 1):
        if broken - safe <= 1:
            break
        middle = (safe + broken) // 2
        ((score,),) = laboratory.try_all([points[middle].assignment], images)
        if score.drop <= allowed:
            safe = middle
        else:
            broken = middle
        tick(trial, most)
    return safe


def _confirmed(
    laboratory: Laboratory,
    finals: Finals,
    points: Sequence[Point],
    last: int,
    images: tuple[Images, Images],
    allowed: float,
) -> Final:
    """The cheapest point found that, calibrated in full, loses no more than allowed on all images.

    Trials are too hard on narrow widths: from the point ``last`` that they allow, growing steps go
    towards the cheap end as long as nothing is lost, or else even ones towards the safe end.

    Raises:
        QmcError: even the first point loses more.
    """

    def judged(index: int) -> tuple[Final, float]:
        (final,) = finals.judge([points[index]], laboratory, images)
        return final, final.point.loss

    best, lost = judged(last)
    if lost <= allowed:
        step = max(1, len(points) >> _STEPS)
        while (last := last + step) < len(points):
            final, lost = judged(last)
            if lost > allowed:
                break
            best, step = final, 2 * step
        return best
    steps = [last - k * (last + 1) // _STEPS for k in range(1, _STEPS)]
    for index in dict.fromkeys([*(max(0, step) for step in steps), 0]):
        best, lost = judged(index)
        if lost <= allowed:
            return best
    raise QmcError(
        f"--scheme auto: found a drop of {lost:.2f} points with the widths of "
        f"least sensitivity; --max-drop allows {allowed:g}"
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
