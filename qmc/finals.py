"""Assignments of widths calibrated in full, as ``qmc compile`` does it, and what they get right.

Trials judge weights that every layer was fitted to alone (:mod:`qmc.trial`): hundreds can be made,
but narrow uniform widths look worse there than they compile. What is kept in the end, and what it
is compared with, is judged here. Schemes and scores are kept as they are finished.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from qmc import cache
from qmc.bit_front import Point
from qmc.bit_groups import Assignment, to_widths
from qmc.calibrate import Manner, calibrate_all
from qmc.data import Dataset
from qmc.errors import SchemeError
from qmc.network import Network
from qmc.observe import Observed
from qmc.progress import Tick, no_tick
from qmc.scheme import Scheme
from qmc.scheme_io import scheme_from_data, scheme_to_text
from qmc.trial import Images, Laboratory
from qmc.yaml_input import parse_yaml

#: Modules that decide what full calibration makes: entries are void when one of them changes.
_RULES = (
    *("calibrate", "reconstruct", "fitting_memory", "layer_statistics", "weight_rounding"),
    *("rounding_kernel", "patch_kernel", "format_rounding", "formats", "weight_scales"),
    *("channel_factors", "bias_correction", "tensor_ranges", "ranges", "simulate", "quantize"),
)
#: Schemes that are begun before time is looked at again.
_STEP = 6


@dataclass(frozen=True, slots=True, eq=False)
class Final:
    """A point and what full calibration makes of it.

    Attributes:
        point: with its scores, where there are labels.
        scheme: in full.
    """

    point: Point
    scheme: Scheme


@dataclass(frozen=True, slots=True, eq=False)
class Finals:
    """Where points are calibrated in full.

    Attributes:
        network: float layers.
        calib: images.
        seen: what calibration observes of them.
        how: the way ``qmc compile`` calibrates.
        jobs: threads; results do not depend on them.
        digest: hash of what decides a scheme besides its widths.
    """

    network: Network
    calib: Dataset | None
    seen: Observed | None
    how: Manner
    jobs: int
    digest: str

    def judge(
        self,
        points: Sequence[Point],
        laboratory: Laboratory | None,
        parts: Sequence[Images],
        tick: Tick = no_tick,
        deadline: float | None = None,
    ) -> Iterator[Final]:
        """The points in order; those that a deadline leaves out are dropped, but never all.

        Args:
            points: any.
            laboratory: scores them; None where there are no labels.
            parts: images to score on: those that were chosen by, and others.
            tick: called with points done and in all.
            deadline: of time.monotonic; nothing is begun after it.
        """
        done = 0
        for first in range(0, len(points), _STEP):
            chosen = points[first : first + _STEP]
            schemes = self.schemes([point.assignment for point in chosen])
            if laboratory is not None:
                chosen = self._scored(laboratory, chosen, schemes, parts)
            for point, scheme in zip(chosen, schemes, strict=True):
                done += 1
                tick(done, len(points))
                yield Final(point, scheme)
            if deadline is not None and time.monotonic() > deadline:
                return

    def schemes(self, assignments: Sequence[Assignment]) -> list[Scheme]:
        """A scheme for each assignment; those that are not kept yet in one walk."""
        keys = [self._key(assignment) for assignment in assignments]
        known = {key: self._read(cache.load(key)) for key in keys}
        missing = {
            key: to_widths(self.network, assignment)
            for key, assignment in zip(keys, assignments, strict=True)
            if known[key] is None
        }
        found = {key: scheme for key, scheme in known.items() if scheme is not None}
        asked = list(missing.values())
        made = calibrate_all(
            self.network, self.calib, asked, self.how, seen=self.seen, jobs=self.jobs
        )
        for key, scheme in zip(missing, made, strict=True):
            found[key] = scheme
            cache.store(key, scheme_to_text(scheme))
        return [found[key] for key in keys]

    def _scored(
        self,
        laboratory: Laboratory,
        points: Sequence[Point],
        schemes: Sequence[Scheme],
        parts: Sequence[Images],
    ) -> list[Point]:
        """The points with scores of their schemes' integer networks."""

        def score(point: Point, scheme: Scheme) -> Point:
            search, check = laboratory.scores(self._key(point.assignment), lambda: scheme, parts)
            return replace(point, score=search, check=check)

        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(score, points, schemes))

    def _key(self, assignment: Assignment) -> str:
        widths = dict(assignment.weights), dict(assignment.activations)
        return cache.cache_key("scheme", _rules(), self.digest, self.how, *widths)

    def _read(self, entry: object) -> Scheme | None:
        """A scheme as the cache has it; None when it is none."""
        if not isinstance(entry, str):
            return None
        place = Path("scheme.yaml")
        try:
            return scheme_from_data(parse_yaml(entry, place, SchemeError), place, self.network)
        except SchemeError:
            return None


@lru_cache(maxsize=1)
def _rules() -> str:
    """Hash of the sources of :data:`_RULES`."""
    state = hashlib.sha256()
    for name in _RULES:
        state.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return state.hexdigest()
