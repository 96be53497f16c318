"""HAWQ-V3's numbers of ResNet-18 as a choice of widths.

Source: Zhen-Dong/HAWQ, ILP.ipynb: Hessian traces, rounding errors, parameters, operations and
latencies measured on a T4, of the 19 layers between the first and the last. Where a branch is added
the downsampling layer has the width of the main one (4 = 6, 9 = 11, 14 = 16).
"""

from __future__ import annotations

import numpy as np

from qmc.bit_problem import BitProblem, Term, Variable

TRACE = (
    *(0.06857826, 0.03162379, 0.03298575, 0.01205663, 0.02222431, 0.00596336, 0.06931772),
    *(0.00807129, 0.00372905, 0.00530698, 0.00209011, 0.00737569, 0.00210454, 0.00151197),
    *(0.00158041, 0.00078146, 0.00451841, 0.00098745, 0.00072944),
)
ERROR_8 = (
    *(0.0235, 0.0125, 0.0102, 0.0082, 0.0145, 0.0344, 0.0023, 0.0287, 0.0148, 0.0333),
    *(0.0682, 0.0027, 0.0448, 0.0336, 0.0576, 0.1130, 0.0102, 0.0947, 0.0532),
)
ERROR_4 = (
    *(6.7430, 3.9691, 3.3281, 2.6796, 4.7277, 10.5966, 0.6827, 9.0942, 4.8857, 10.7599),
    *(21.7546, 0.8603, 14.5324, 10.9651, 18.7706, 36.4044, 3.1572, 29.6994, 17.4016),
)
PARAMETERS = (
    *(36864, 36864, 36864, 36864, 73728, 147456, 8192, 147456, 147456, 294912),
    *(589824, 32768, 589824, 589824, 1179648, 2359296, 131072, 2359296, 2359296),
)
MACS = (
    *(115605504, 115605504, 115605504, 115605504, 57802752, 115605504, 6422528, 115605504),
    *(115605504, 57802752, 115605504, 6422528, 115605504, 115605504, 57802752, 115605504),
    *(6422528, 115605504, 115605504),
)
LATENCY_4 = (
    *(0.21094404, 0.21092674, 0.21104113, 0.21086851, 0.13642465, 0.19167506, 0.02532183),
    *(0.19148203, 0.19142914, 0.11395316, 0.20556011, 0.01917474, 0.20566918, 0.20566509),
    *(0.13185102, 0.22287786, 0.01790088, 0.22304611, 0.22286099),
)
LATENCY_8 = (
    *(0.36189111, 0.36211718, 0.31141909, 0.30454471, 0.19184896, 0.38948934, 0.0334169),
    *(0.38904905, 0.3892859, 0.19134735, 0.34307431, 0.02802354, 0.34313329, 0.34310756),
    *(0.21117103, 0.37376585, 0.02896843, 0.37398187, 0.37405185),
)
SHARED = {6: 4, 11: 9, 16: 14}


def hawq_problem() -> tuple[BitProblem, list[int]]:
    """Options (8, 4) of every layer, and the number of the variable that each layer follows."""
    layers = range(len(TRACE))
    names = [i for i in layers if i not in SHARED]
    variables = tuple(Variable(f"layer{i}", (8, 4)) for i in names)
    numbers = [names.index(SHARED.get(i, i)) for i in layers]
    terms = []
    for i in layers:
        size, macs = PARAMETERS[i] / 1024**2, MACS[i] / 1e6
        costs = {
            "sensitivity": [TRACE[i] * (ERROR_8[i] - ERROR_4[i]), 0.0],
            "size": [size, size / 2],
            "bops": [macs / 16, macs / 64],
            "latency": [LATENCY_8[i], LATENCY_4[i]],
        }
        tables = {metric: np.array(values) for metric, values in costs.items()}
        terms.append(Term(f"layer{i}", (numbers[i],), tables))
    return BitProblem(variables, tuple(terms)), numbers
