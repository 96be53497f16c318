"""ZigZag's own mapper, run by the interpreter that has ``zigzag-dse``; reads and writes JSON.

Input (stdin): ``hardware``, the path of a ZigZag hardware file; ``layers``, workload entries of
ZigZag; ``prime_factors``, the limit on loops that are ordered; ``spatial``, how many spatial
mappings are tried; ``tiling``, even or uneven. Output (stdout): for each layer its seconds and
every mapping that was priced, best EDP first, with energy (pJ) and latency (cycles) as ZigZag
counts them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def all_mappings(request: Json, layer: Json) -> list[Json]:
    """Every mapping that the mapper prices, best EDP first."""
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.main import MainStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import (
        TemporalMappingGeneratorStage,
    )
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.workload_parser import WorkloadParserStage
    from zigzag.stages.workload_iterator import WorkloadStage

    stages = [WorkloadParserStage, AcceleratorParserStage, WorkloadStage]
    stages += [SpatialMappingGeneratorStage, TemporalMappingGeneratorStage, CostModelStage]
    sizes = dict(zip(layer["loop_dims"], layer["loop_sizes"], strict=True))
    dims = [dim for dim, size in sizes.items() if size > 1]
    hint = {axis: dims for axis in ("D1", "D2")}
    with tempfile.TemporaryDirectory() as folder:
        mapping = Path(folder) / "mapping.yaml"
        mapping.write_text(json.dumps([{"name": "default", "spatial_mapping_hint": hint}]))
        workload = Path(folder) / "workload.yaml"
        workload.write_text(json.dumps([layer]))
        priced = MainStage(
            stages,
            accelerator=request["hardware"],
            workload=str(workload),
            mapping=str(mapping),
            loma_lpf_limit=request["prime_factors"],
            loma_show_progress_bar=False,
            nb_mappings_generated=request["spatial"],
            enable_mix_spatial_mapping_generation=False,
            access_same_data_considered_as_no_access=True,
            temporal_mapping_type=TemporalMappingType(request["tiling"]),
        ).run()
    found = [_plain(cost) for cost, _ in priced]
    return sorted(found, key=lambda entry: entry["energy_pj"] * entry["cycles"])


def _plain(cost: Any) -> Json:
    temporal = cost.mapping.temporal_mapping.mapping_dic_origin
    return {
        "energy_pj": float(cost.energy_total),
        "cycles": float(cost.latency_total2),
        "spatial": {
            str(axis): [[str(dim), int(size)] for dim, size in loops.items()]
            for axis, loops in cost.layer.spatial_mapping.items()
        },
        "temporal": {
            str(operand): [[[str(dim), int(size)] for dim, size in level] for level in levels]
            for operand, levels in temporal.items()
        },
    }


def main() -> None:
    logging.disable(logging.CRITICAL)
    request = json.load(sys.stdin)
    answer = []
    for layer in request["layers"]:
        began = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            mappings = all_mappings(request, layer)
        answer.append({"seconds": time.perf_counter() - began, "mappings": mappings})
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
