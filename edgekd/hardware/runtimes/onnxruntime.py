"""ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgekd.errors import ConfigError, EdgekdError, UnavailableError
from edgekd.hardware.runtime import Array, Described, Tensor, cannot_run
from edgekd.hardware.specs import TENSORRT, OnnxRuntimeSpec

LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
DTYPES = {"float": "float32", "double": "float64"}  # the others have numpy's names
NOISE = r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )?(Fatal error[.:]\s*|This is an invalid model[.:]\s*)?"
LACKS = ("NOT_IMPLEMENTED", "No Op registered", "is not a registered function/op")


class OnnxRuntimeSession:
    """A model in ONNX Runtime. `optimized` is where the graph goes that the runtime made of it, to be read."""

    def __init__(self, model: Path, spec: OnnxRuntimeSpec, optimized: Path | None = None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = LEVELS[spec.graph_optimization]
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spec.spinning else "0")
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        if spec.provider not in ort.get_available_providers():  # it would take another one, with a line in its log
            raise UnavailableError(
                f"onnxruntime {ort.__version__} has no {spec.provider} here, only "
                f"{', '.join(ort.get_available_providers())}; install the package that brings it"
            )
        try:
            self._session = ort.InferenceSession(
                str(model), options, providers=[spec.provider], provider_options=[provider_options(model, spec)]
            )
        except Exception as error:
            raise explained(model, spec, error) from error
        if self._session.get_providers()[0] != spec.provider:
            raise UnavailableError(f"{model}: {spec.provider} did not take it, {self._session.get_providers()[0]} did")
        self._model = model
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        try:
            return [np.asarray(output) for output in self._session.run(self._outputs, dict(feeds))]
        except Exception as error:
            raise cannot_run(self._model, feeds, error) from error

    def describe(self) -> Described:
        return Described(
            tuple(_tensor(i) for i in self._session.get_inputs()),
            tuple(_tensor(o) for o in self._session.get_outputs()),
            {"version": ort.__version__},
        )

    def close(self) -> None:
        del self._session


def provider_options(model: Path, spec: OnnxRuntimeSpec) -> dict[str, str]:
    """TensorRT builds a quantised graph where int8 is allowed; a float one, which has no scales, where it is not."""
    quantised = spec.provider == TENSORRT and b"QuantizeLinear" in model.read_bytes()
    return {"trt_int8_enable": "1"} if quantised else {}


def explained(model: Path, spec: OnnxRuntimeSpec, error: Exception) -> EdgekdError:
    """One sentence of what ONNX Runtime says in many."""
    text = str(error)
    if found := re.search(r"Opset (\d+) is under development.*?till opset (\d+)", text, re.DOTALL):
        return UnavailableError(
            f"{model}: opset {found[1]}, and onnxruntime {ort.__version__} reads up to {found[2]}; export it with a "
            "lower opset, or install a newer onnxruntime"
        )
    if found := re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", text):
        return UnavailableError(
            f"{model}: ONNX IR version {found[1]}, and onnxruntime {ort.__version__} reads up to {found[2]}; "
            "save it with a lower one, or install a newer onnxruntime"
        )
    told = re.sub(r"^.*?failed:\s*", "", text, flags=re.DOTALL).strip().splitlines()
    reason = re.sub(NOISE, "", told[0] if told else text)
    if any(mark in text for mark in LACKS):
        return UnavailableError(
            f"{model}: {spec.provider} of onnxruntime {ort.__version__} lacks an operator: {reason}; export without "
            "it, or choose another runtime"
        )
    return ConfigError(f"{model}: not a model that onnxruntime {ort.__version__} can read: {reason}")


def _tensor(value: ort.NodeArg) -> Tensor:
    kind = re.fullmatch(r"tensor\((\w+)\)", value.type)
    name = kind[1] if kind else value.type
    shape = tuple(axis if isinstance(axis, int) else (axis or "?") for axis in value.shape or ())
    return Tensor(value.name, DTYPES.get(name, name), shape)
