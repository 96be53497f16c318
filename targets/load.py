"""From a machine's name or file to a :class:`~qmc.targets.target.Target`."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qmc.errors import TargetError
from qmc.formats import EnergyClass
from qmc.layer import LoopDim, Operand
from qmc.targets.load_kernels import choose_kernels, load_family
from qmc.targets.schema import (
    CONSTRAINED_DIMS,
    ConstraintSpec,
    MacSpec,
    MemorySpec,
    NetworkSpec,
    TargetSpec,
    dim_of,
)
from qmc.targets.schema_errors import all_errors
from qmc.targets.system_caches import fill_caches
from qmc.targets.target import (
    ALL_REMAINING,
    ClassCost,
    LoopConstraint,
    MacArray,
    MemoryLevel,
    Network,
    Packing,
    Target,
    Topology,
    WidthCycles,
    WidthEnergy,
)
from qmc.targets.yaml_file import read_yaml

_FOLDER = Path(__file__).parent
_MAX_EXTENDS = 8


def list_targets() -> tuple[str, ...]:
    """Names of the machines that come with qmc, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_target(name_or_path: str | Path) -> Target:
    """The machine of that name, or the one described in that file.

    Raises:
        TargetError: unknown name, unreadable file, or a description that breaks the schema.
    """
    path = find_target(name_or_path)
    data, digest = _read_description(path)
    try:
        spec = TargetSpec.model_validate(data)
    except ValidationError as error:
        key, value, allowed = all_errors(error, TargetSpec)[0]
        raise TargetError(path, key, value, allowed) from error
    return build_target(spec, digest, path.parent)


def check_target(name_or_path: str | Path) -> tuple[str, ...]:
    """Every mistake in a description, one line each; nothing where it is fine.

    Raises:
        TargetError: there is no such file, or it is no plain YAML, so that nothing can be checked.
    """
    path = find_target(name_or_path)
    data, _ = _read_description(path)
    try:
        TargetSpec.model_validate(data)
    except ValidationError as error:
        return tuple(str(TargetError(path, *mistake)) for mistake in all_errors(error, TargetSpec))
    return ()


def find_target(name_or_path: str | Path) -> Path:
    """The file of a machine; anything with a folder or a YAML suffix is a path.

    Raises:
        TargetError: no such name or file.
    """
    text = str(name_or_path)
    path = Path(text)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if not path.is_file():
            raise TargetError(text, "target", text, "an existing file")
        return path
    known = list_targets()
    if text in known:
        return _FOLDER / f"{text}.yaml"
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.0)
    hint = f"; nearest: {near[0]}" if near else ""
    raise TargetError("--target", "name", text, f"{', '.join(known)}, or a YAML file{hint}")


def _read_description(path: Path) -> tuple[dict[str, Any], str]:
    """A whole description, and the sha256 of all that it was read from."""
    data, digest = _read_extended(path, ())
    data, found = fill_caches(path, data)
    data, unit = _fill_kernels(path, data)
    if found or unit:
        digest = hashlib.sha256(f"{digest} {found}{unit}".encode()).hexdigest()
    return data, digest


def _fill_kernels(path: Path, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A description with the kernels of the first of ``kernels_like`` that run here, and whose."""
    names = data.pop("kernels_like", None)
    if names is None or "kernels" in data:
        return data, ""
    if not isinstance(names, list):
        raise TargetError(path, "kernels_like", names, "a list of machines that have kernels")
    chosen = choose_kernels([(name, _kernels_of(path, name)) for name in names])
    if chosen is None:
        return data, " no kernels"
    return {**data, "kernels": chosen[1]}, f" kernels of {chosen[0]}: {chosen[1]}"


def _kernels_of(path: Path, name: object) -> dict[str, Any]:
    kernels = read_yaml(_base_path(path, name))[0].get("kernels")
    if not isinstance(kernels, dict):
        raise TargetError(path, "kernels_like", name, "machines that have kernels")
    return kernels


def _read_extended(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], str]:
    """A description with what it ``extends`` filled in, and the sha256 of all files read."""
    data, raw = read_yaml(path)
    digest = hashlib.sha256(raw)
    if "extends" not in data:
        return data, digest.hexdigest()
    base_name = data.pop("extends")
    seen = (*seen, path.resolve())
    base = _base_path(path, base_name)
    if base.resolve() in seen or len(seen) > _MAX_EXTENDS:
        raise TargetError(path, "extends", base_name, "a machine that does not extend this one")
    base_data, base_digest = _read_extended(base, seen)
    digest.update(base_digest.encode())
    return _merge(path, base_data, data), digest.hexdigest()


def _base_path(path: Path, name: object) -> Path:
    if not isinstance(name, str):
        raise TargetError(path, "extends", name, "a machine's name or file")
    beside = path.parent / name
    return beside if beside.suffix and beside.is_file() else find_target(name)


def _merge(
    path: Path, base: dict[str, Any], change: dict[str, Any], where: str = ""
) -> dict[str, Any]:
    """``base`` with ``change`` laid over it; memories are matched by name."""
    merged = dict(base)
    for key, value in change.items():
        old = base.get(key)
        if key == "memories" and not where and isinstance(value, list):
            merged[key] = _merge_memories(path, base.get(key, []), value)
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(path, old, value, f"{where}{key}.")
        else:
            merged[key] = value
    return merged


def _merge_memories(path: Path, base: list[Any], changes: list[Any]) -> list[Any]:
    names = [memory["name"] for memory in base]
    merged = list(base)
    for index, change in enumerate(changes):
        name = change.get("name") if isinstance(change, dict) else None
        if name not in names:
            known = ", ".join(names)
            raise TargetError(
                path, f"memories[{index}].name", name, f"a memory of the base: {known}"
            )
        position = names.index(name)
        merged[position] = _merge(path, merged[position], change, f"memories[{index}].")
    return merged


def build_target(spec: TargetSpec, sha256: str, folder: Path = _FOLDER) -> Target:
    """A target from a checked description; instances are the product of the fan-outs outside.

    Args:
        spec: the description.
        sha256: of the files it was read from.
        folder: where the headers of its kernels lie.

    Raises:
        TargetError: a header is missing.
    """
    memories: list[MemoryLevel] = []
    instances = 1
    for memory in spec.memories:
        memories.append(_memory(memory, instances))
        instances *= memory.fanout.x.size * memory.fanout.y.size
    return Target(
        name=spec.name,
        description=spec.description,
        memories=tuple(memories),
        mac=_mac(spec.mac, instances),
        clock_hz=spec.clock_mhz * 1e6,
        psum_bits=spec.psum_bits,
        groups_follow=dim_of(spec.groups_follow),
        sources=_sources(spec),
        sha256=sha256,
        kernels=None if spec.kernels is None else load_family(folder, spec.kernels),
    )


def _memory(spec: MemorySpec, instances: int) -> MemoryLevel:
    return MemoryLevel(
        name=spec.name,
        instances=instances,
        word_bits=spec.word_bits,
        row_words=spec.row_words,
        depth_words=(
            None if spec.depth_words == "unlimited" else spec.depth_words // spec.buffering
        ),
        fanout_x=spec.fanout.x.size,
        fanout_y=spec.fanout.y.size,
        keep=frozenset(map(Operand, spec.keep)),
        bypass=frozenset(map(Operand, spec.bypass)),
        packing=Packing(spec.packing),
        read_pj=spec.energy_pj.read,
        fill_pj=spec.energy_pj.fill,
        update_pj=spec.energy_pj.update,
        leakage_pj=spec.leakage_pj,
        read_bandwidth=None if spec.bandwidth.read == "unlimited" else spec.bandwidth.read,
        write_bandwidth=None if spec.bandwidth.write == "unlimited" else spec.bandwidth.write,
        cluster=spec.cluster,
        temporal=_constraint(spec.temporal),
        spatial_x=_constraint(spec.fanout.x),
        spatial_y=_constraint(spec.fanout.y),
        buffering=spec.buffering,
        store_bits={Operand(name): bits for name, bits in spec.store_bits.items()},
        network=None if spec.network is None else _network(spec.network),
    )


def _network(spec: NetworkSpec) -> Network:
    return Network(
        topology=Topology(spec.topology),
        hop_x_pj=spec.hop_pj_per_bit.x,
        hop_y_pj=spec.hop_pj_per_bit.y,
        receiver_pj=spec.receiver_pj_per_bit,
        add_pj=spec.add_pj,
    )


def _mac(spec: MacSpec, instances: int) -> MacArray:
    return MacArray(
        name=spec.name,
        instances=instances,
        energy_pj=spec.energy_pj,
        leakage_pj=spec.leakage_pj,
        weight_bits=spec.weight_bits,
        input_bits=spec.input_bits,
        energy_by_width=tuple(
            WidthEnergy(entry.weight_bits, entry.input_bits, entry.energy_pj)
            for entry in spec.energy_by_width
        ),
        cycles=spec.cycles,
        cycles_by_width=tuple(
            WidthCycles(entry.weight_bits, entry.input_bits, entry.cycles)
            for entry in spec.cycles_by_width
        ),
        by_class={
            EnergyClass(name): ClassCost(entry.energy_pj, entry.cycles)
            for name, entry in spec.by_class.items()
        },
    )


def _constraint(spec: ConstraintSpec) -> LoopConstraint:
    factors: dict[LoopDim, int] = {}
    for dim in CONSTRAINED_DIMS:
        factor = spec.factors.get(dim)
        if factor == "all":
            factors[dim_of(dim)] = ALL_REMAINING
        elif factor is not None:
            factors[dim_of(dim)] = factor
        elif spec.only is not None and dim not in spec.only:
            factors[dim_of(dim)] = 1
    maximum = {dim_of(dim): limit for dim, limit in spec.maximum.items()}
    return LoopConstraint(factors, maximum, tuple(dim_of(dim) for dim in spec.order))


def _sources(spec: TargetSpec) -> dict[str, str]:
    """Sources by topic, with those given beside single memories under the memory's name."""
    sources = dict(spec.sources)
    parts: tuple[MemorySpec | MacSpec, ...] = (*spec.memories, spec.mac)
    for part in parts:
        if part.source is not None:
            sources[part.name] = part.source
    return sources
