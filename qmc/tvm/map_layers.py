"""Pass: every layer of a region function gets its mapping on a machine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import tvm

from qmc.codegen.vector.kernel import make_vector_kernel
from qmc.cost_models.analytical import AnalyticalModel
from qmc.integer import IntegerNetwork
from qmc.mappers import Request, find_mappings
from qmc.mapping_text import mapping_to_data
from qmc.network import Network
from qmc.options import Mapper, default_jobs
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.grouping import layer_of
from qmc.passes.region_module import region_function, region_module, regions
from qmc.passes.user_errors import register_user_errors
from qmc.pricing import layer_precision
from qmc.quantize import quantize
from qmc.schedule import Task, mapped
from qmc.scheme import Scheme
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.tvm.generate import MAPPING, TARGET, region_network


@tvm.transform.module_pass(opt_level=0, name="MapLayers")
@dataclass(frozen=True)
class MapLayers:
    """Search the best mapping of every convolution and dense layer: the loops of its C function.

    ::

        Composite="qmc.conv"  ->  Composite="qmc.conv", qmc.mapping='[{"level": "DRAM", ...}]'

    Region functions get the attribute ``qmc.target``.
    Requires: ``QuantizeRegions``.
    Does not fire when: the machine's vector unit has its own form for the layer.

    Attributes:
        target: name of a known machine, or path of its YAML file.
        optimize: what the mapper minimizes.
        mapper: how mappings are searched.
        seed: of what is random.
        jobs: threads.
    """

    target: str = "host"
    optimize: Objective = Objective.EDP
    mapper: Mapper = Mapper.EXACT
    seed: int = 0
    jobs: int = field(default_factory=default_jobs)

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM.

        Raises:
            TargetError: there is no such machine, or its description is wrong.
            NoMappingError: a layer does not fit the machine.
        """
        register_user_errors()
        target = load_target(self.target)
        updated = tvm.IRModule(module.functions, attrs=module.attrs)
        for variable, function in regions(module).items():
            annotated = region_module(function)
            texts = self._mappings(region_network(function), annotated_scheme(annotated), target)
            for composite, inner in annotated.functions_items():
                text = texts.get(layer_of(inner))
                if text is not None:
                    annotated[composite] = inner.with_attr(MAPPING, text)
            annotated = annotated.with_attr(TARGET, self.target)
            updated[variable] = region_function(annotated, str(function.attrs["global_symbol"]))
        return updated

    def _mappings(self, network: Network, scheme: Scheme, target: Target) -> dict[str, str]:
        """JSON by layer name."""
        loops = _loop_layers(quantize(network, scheme), target)
        model = AnalyticalModel()
        tasks = [
            Task(layer, layer_precision(layer, scheme, target), target, model, self.optimize)
            for layer in network.layers
            if layer.name in loops
        ]
        request = Request(self.mapper, self.seed, self.jobs)
        found = [mapped(one).mapping for one in find_mappings(tasks, len(tasks), request)]
        names = [task.layer.name for task in tasks]
        return {
            name: json.dumps(mapping_to_data(mapping))
            for name, mapping in zip(names, found, strict=True)
        }


def _loop_layers(network: IntegerNetwork, target: Target) -> set[str]:
    """Layers with weights whose C follows a mapping."""
    family = target.kernels
    return {
        integer.layer.name
        for index, integer in enumerate(network.layers)
        if integer.layer.has_weights
        and (family is None or make_vector_kernel(network, index, "layer", family) is None)
    }
