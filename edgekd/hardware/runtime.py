"""Running a model file: one protocol for every runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.hardware.profile import RuntimeSpec

Array = NDArray[Any]


class Session(Protocol):
    """A model that is open in a runtime."""

    def run(self, feeds: Mapping[str, Array]) -> list[Array]: ...

    def describe(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


def open_session(model: Path, spec: RuntimeSpec) -> Session:
    """`model` in the runtime that `spec` names, with its settings."""
    return OnnxRuntimeSession(model, spec)


class OnnxRuntimeSession:
    """A model in ONNX Runtime. `optimized` is where the graph goes that the runtime made of it, to be read."""

    def __init__(self, model: Path, spec: RuntimeSpec, optimized: Path | None = None) -> None:
        import onnxruntime as ort

        levels = {
            "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
            "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
            "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
            "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        }
        options = ort.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = levels[spec.graph_optimization]
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spec.spinning else "0")
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        self._session = ort.InferenceSession(str(model), options, providers=[spec.provider])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        return [np.asarray(output) for output in self._session.run(self._outputs, dict(feeds))]

    def describe(self) -> dict[str, Any]:
        return {
            "inputs": {i.name: [i.type, i.shape] for i in self._session.get_inputs()},
            "outputs": {o.name: [o.type, o.shape] for o in self._session.get_outputs()},
            "providers": self._session.get_providers(),
        }

    def close(self) -> None:
        del self._session
