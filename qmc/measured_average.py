"""Widths of weights that keep an average and, by measurement, harm the network's output least.

Harm adds up over the layers (:mod:`qmc.sensitivity`), and so do bits: the choice is a knapsack with
one option per layer, and an integer linear program proves its answer the best.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qmc.bit_choice import Limits, Solution, Solver
from qmc.bit_problem import SENSITIVITY, BitProblem, Term, Variable
from qmc.data import Dataset
from qmc.errors import SchemeError
from qmc.find_sensitivities import find_sensitivities, fit_at_all_widths
from qmc.fitted_weights import NO_FITS
from qmc.network import Network
from qmc.observe import Observed
from qmc.options import SensitivityChoice
from qmc.progress import Tick, no_tick
from qmc.ranges import Calibration
from qmc.widths import Average, Widths, widths_of_weights

#: The metric that is limited: bits per weight of the network.
_BITS = "bits"


def measured_average(
    asked: Average,
    network: Network,
    calib: Dataset,
    labelled: Dataset | None,
    seen: Observed,
    sensitivity: str = SensitivityChoice.AUTO,
    *,
    method: Calibration | None = None,
    jobs: int = 1,
    tick: Tick = no_tick,
) -> Widths:
    """Measure what every width of every layer's weights costs, and choose.

    Args:
        asked: the average, and the activations' bits.
        network: float layers.
        calib: calibration images.
        labelled: images with labels, for ``loss``.
        seen: what calibration observed of the former.
        sensitivity: one of :class:`SensitivityChoice`, or a CSV file.
        method: of activation ranges.
        jobs: threads; the result does not depend on them.
        tick: called with layers done and in all, once for the fits and once for the measurements.

    Raises:
        QmcError: as :func:`find_sensitivities`.
        SchemeError: no widths keep the average.
    """
    is_file = sensitivity not in list(SensitivityChoice)
    fits = NO_FITS if is_file else fit_at_all_widths(network, calib, seen, method, jobs, tick)
    found = find_sensitivities(
        *(sensitivity, network, calib, labelled, seen, fits),
        method=method,
        jobs=jobs,
        weights_only=True,
        tick=tick,
    )
    return widths_of_weights(least_harm(network, asked.weight, found.weights), asked.activation)


def least_harm(
    network: Network, average: float, harm: Mapping[str, Mapping[int, float]]
) -> dict[str, int]:
    """Bits by layer name with the least sum of ``harm``; what came quantized keeps its width.

    Args:
        network: whose weights are meant.
        average: bits per weight over all layers, at most.
        harm: by layer name, then bits; other widths are not chosen.

    Raises:
        SchemeError: no widths keep the average.
    """
    total = sum(one.weights.size for one in network.parameters.values())
    variables, terms = [], []
    for number, (name, one) in enumerate(network.parameters.items()):
        row = {one.given.bits: 0.0} if one.given else dict(sorted(harm[name].items()))
        share = one.weights.size / total
        costs = {SENSITIVITY: np.array(list(row.values())), _BITS: share * np.array(list(row))}
        variables.append(Variable(name, tuple(row)))
        terms.append(Term(name, (number,), costs))
    problem = BitProblem(tuple(variables), tuple(terms))
    found: Solution | None = Solver(problem).best({SENSITIVITY: 1.0}, Limits({_BITS: average}))
    if found is None:
        least = sum(float(term.costs[_BITS].min()) for term in terms)
        raise SchemeError(
            f"scheme: found an average of {average:g} bits; allowed: at least {least:.3g}"
        )
    options = zip(variables, found.choice.options, strict=True)
    return {variable.name: variable.options[option] for variable, option in options}
