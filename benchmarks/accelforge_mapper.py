"""AccelForge's mapper, run by the interpreter that has ``accelforge``; reads and writes JSON.

Input (stdin): ``arch`` and ``layers``, texts of AccelForge's YAML. Output (stdout): for each layer
its seconds and the mappings on its front of energy and latency: totals as AccelForge counts them,
and the nodes of the nest from the outside, each the tensors that a memory holds or a loop.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def front(arch: Path, layer: Path) -> list[Json]:
    """What the mapper keeps for one layer."""
    import accelforge
    from accelforge.mapper import Metrics

    spec = accelforge.Spec.from_yaml(str(arch), str(layer))
    spec.mapper.metrics = Metrics.ENERGY | Metrics.LATENCY
    spec.mapper._timeloop_style_even = True  # tiles end at loops of levels, as in Timeloop
    table = spec.map_workload_to_arch(print_progress=False).data
    return [_plain(row) for _, row in table.iterrows()]


def _plain(row: Any) -> Json:
    mapping = row["Total<SEP>mapping"]
    nodes = []
    for node in (mapping() if callable(mapping) else mapping).nodes:
        kind = type(node).__name__
        if kind == "Storage":
            nodes.append({"memory": str(node.component), "tensors": [str(t) for t in node.tensors]})
        elif kind in ("Temporal", "Spatial"):
            axis = str(node.name) if kind == "Spatial" else None
            tile = int(node.tile_shape)
            nodes.append({"loop": str(node.rank_variable), "tile": tile, "axis": axis})
    energy, cycles = float(row["Total<SEP>energy"]), float(row["Total<SEP>latency"])
    return {"energy_pj": energy, "cycles": cycles, "nodes": nodes}


def main() -> None:
    request = json.load(sys.stdin)
    answers = []
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        arch = Path(folder) / "arch.yaml"
        arch.write_text(request["arch"])
        for text in request["layers"]:
            layer = Path(folder) / "layer.yaml"
            layer.write_text(text)
            began = time.perf_counter()
            mappings = front(arch, layer)
            seconds = time.perf_counter() - began
            answers.append({"seconds": seconds, "mappings": mappings})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
