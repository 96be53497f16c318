"""``qmc compile --explain``: what each stage decided for this network, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from qmc.console import printable, proof, short, times
from qmc.integer import IntegerLayer
from qmc.mapping_text import size_text
from qmc.network import Network
from qmc.ranges import Calibration

if TYPE_CHECKING:
    from qmc.compiler import Plan
    from qmc.options import Options

Json = dict[str, Any]

#: Layers named where the worst of something are told.
_WORST = 3
_OBJECTIVES = {"edp": "EDP", "energy": "energy", "latency": "cycles"}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it is, and its decisions, a sentence each."""

    title: str
    decisions: tuple[str, ...]


def explain(plan: Plan, options: Options) -> tuple[Stage, ...]:
    """The decisions of a finished compilation, stage by stage."""
    return (
        Stage("read the model", tuple(_model(plan.network, options))),
        Stage("choose widths and scales", tuple(_scheme(plan, options))),
        Stage("make everything integer", tuple(_integer(plan))),
        Stage("search mappings", tuple(_mappings(plan, options))),
        Stage("emit the C", tuple(_program(plan, options))),
        Stage("verify and measure", tuple(_checks(plan, options))),
    )


def print_explanation(stages: Sequence[Stage], console: Console) -> None:
    """Print all stages for people."""
    for number, stage in enumerate(stages, start=1):
        console.print(Text(f"\n{number}. {stage.title}", style="bold"))
        for decision in stage.decisions:
            console.print(Text(f"   {printable(decision)}"), soft_wrap=True)


def _model(network: Network, options: Options) -> Iterable[str]:
    ops = Counter(layer.op.value for layer in network.layers)
    listed = ", ".join(f"{count} {op}" for op, count in sorted(ops.items()))
    yield f"{options.model.name} became {len(network.layers)} layers: {listed}"
    shape = "x".join(map(str, network.tensors[network.input].shape))
    yield f"input {shape}; batch norms, padding and constant scales went into weights and layers"
    clamped = sum(layer.clamp is not None for layer in network.layers)
    if clamped:
        yield f"{clamped} layers end in ReLU or a clip: it became the clamp of their output codes"
    if network.given_ranges:
        yield f"{len(network.given_ranges)} tensors came quantized: their scales are kept as given"
    asked = "as --equalize asks" if options.equalize else "not asked for (--equalize)"
    yield f"ranges equalized across layers: {'yes' if options.equalize else 'no'}, {asked}"


def _scheme(plan: Plan, options: Options) -> Iterable[str]:
    scheme, given = plan.scheme, options.scheme
    yield f"--scheme {given}: weights {_widths(w.bits for w in scheme.weights.values())}"
    yield f"activations {_widths(t.bits for t in scheme.tensors.values())}"
    wide = [name for name, tensor in scheme.tensors.items() if tensor.bits > 8]
    if wide:
        yield f"more than 8 bits for {_names(wide)}: outputs that nothing follows keep their detail"
    if options.calibration is not None:
        yield f"activation ranges by {options.calibration.value}, as --calibration asks"
    elif options.calib is not None:
        yield f"activation ranges by {Calibration.MSE.value}: the least squared error of the codes"
    fitted = sum(weights.codes is not None for weights in scheme.weights.values())
    if fitted:
        yield f"weights and biases of {fitted} layers fitted to what the layers give in float"
    corrected = sum(w.bias is not None and w.codes is None for w in scheme.weights.values())
    if corrected:
        yield f"biases of {corrected} layers corrected for the mean error of their weights"
    yield from plan.report["notes"]


def _widths(bits: Iterable[int]) -> str:
    """``4 bits (9 times), 8 bits (once)``."""
    counts = sorted(Counter(bits).items())
    return ", ".join(
        f"{width} bits ({'once' if count == 1 else f'{count} times'})" for width, count in counts
    )


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _WORST} more" if len(names) > _WORST else ""
    return ", ".join(names[:_WORST]) + more


def _integer(plan: Plan) -> Iterable[str]:
    layers = [layer for layer in plan.integer.layers if layer.weights is not None]
    if layers:
        worst = max(layers, key=lambda layer: layer.accumulator_bound)
        yield (
            f"accumulators proved from the weights: at most {worst.accumulator_bound:,} "
            f"({_signed_bits(worst)} bits, layer {worst.layer.name}); int32 holds every layer"
        )
    yield f"requantization rounds {plan.scheme.rounding.value}; zero points are in the constants"
    tables = sum(layer.table is not None for layer in plan.integer.layers)
    if tables:
        yield f"{tables} functions became tables of all their codes"


def _signed_bits(layer: IntegerLayer) -> int:
    return layer.accumulator_bound.bit_length() + 1


def _mappings(plan: Plan, options: Options) -> Iterable[str]:
    layers = plan.report["layers"]
    network = plan.report["network"]
    searched = [layer for layer in layers if layer["certificate"]]
    target = plan.report["target"]
    objective = _OBJECTIVES[options.optimize.value]
    yield (
        f"target {target['name']}, least {objective}, mapper {options.mapper.value}: "
        f"{sum(one['certificate']['proved'] for one in searched)} of {len(searched)} mappings "
        "proved best"
    )
    for layer in searched:
        yield _mapping(layer, layer["energy_pj"] / (1e6 * network["energy_uj"]))
    if len(searched) < len(layers):
        yield f"{len(layers) - len(searched)} layers without weights are streamed: nothing to map"
    for flow, total in (network.get("baselines") or {}).items():
        yield f"all layers {flow} instead: {times(total).strip()} the {objective}"


def _mapping(layer: Json, part: float) -> str:
    certificate = layer["certificate"]
    memory, energy = max(layer["energy_by_memory_pj"].items(), key=lambda item: item[1])
    share = energy / layer["energy_pj"] if layer["energy_pj"] else 0.0
    return (
        f"{layer['name']}: {proof(certificate)} in a space of {short(certificate['space'])}; "
        f"{100 * part:.1f} % of the energy, {100 * share:.0f} % of it {memory}; "
        f"{layer['bound']} sets its {short(layer['cycles'])} cycles"
    )


def _program(plan: Plan, options: Options) -> Iterable[str]:
    program = plan.program
    kind = "plain C99" if program.family is None else "C with vector units where they gain"
    yield f"{len(program.kernels)} functions of {kind}, one for each layer"
    yield (
        f"{size_text(program.flash_bytes)} of constants, {size_text(program.weight_bytes)} of "
        "them packed weights"
    )
    largest = max(program.kernels, key=lambda one: one.scratch_bytes, default=None)
    scratch = ""
    if largest is not None and largest.scratch_bytes:
        name = largest.integer.layer.name
        scratch = f"; the most scratch, {size_text(largest.scratch_bytes)}, is that of {name}"
    peak = size_text(program.ram_peak_bytes)
    yield f"arena of {peak}: buffers that are not alive at once share bytes{scratch}"
    for flag, limit in (("--flash", options.flash_bytes), ("--ram", options.ram_bytes)):
        if limit is not None:
            yield f"{flag} allows {size_text(limit)}: kept"


def _checks(plan: Plan, options: Options) -> Iterable[str]:
    network = plan.report["network"]
    verified = network.get("verified")
    if verified is None:
        yield "the C was not compared with the reference, as --no-verify asks"
    else:
        yield (
            f"the C equals the reference in all {verified['layers']} layers on "
            f"{verified['cases']} inputs, {verified['bytes_compared']:,} bytes"
        )
    damaged = sorted(
        (layer for layer in plan.report["layers"] if layer.get("own_sqnr_db") is not None),
        key=lambda layer: layer["own_sqnr_db"],
    )
    if damaged:
        told = ", ".join(f"{one['name']} {one['own_sqnr_db']:.1f} dB" for one in damaged[:_WORST])
        yield f"quantization harms most, of their own: {told} (SQNR on {network['sqnr_inputs']})"
    if plan.accuracy is None:
        yield "accuracy was not measured: no labelled images (--eval)"
    else:
        found = plan.accuracy
        yield (
            f"top-1 {found.top1:.2f} % on {found.images} images, float {found.top1_float:.2f} %: "
            f"{found.drop:+.2f} points lost"
        )
    if options.max_drop is not None:
        yield f"--max-drop {options.max_drop:g} is kept"
