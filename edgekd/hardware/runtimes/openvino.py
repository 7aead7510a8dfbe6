"""OpenVINO on CPUs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# importing openvino sends facts of the machine through this package, and does without where it is not installed
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov
from openvino.frontend import GeneralFailure, OpConversionFailure

from edgekd.errors import ConfigError, EdgekdError, UnavailableError
from edgekd.hardware.runtime import Array, Described, Tensor, cannot_run
from edgekd.hardware.specs import OpenVinoSpec

__all__ = [
    "GeneralFailure",
    "OpConversionFailure",
    "OpenVinoSession",
    "explained",
    "ov",
]  # exporters take openvino from here, so that its telemetry is off


class OpenVinoSession:
    def __init__(self, model: Path, spec: OpenVinoSpec) -> None:
        core = ov.Core()
        if spec.device not in core.available_devices:
            raise UnavailableError(
                f"openvino {ov.__version__} has no {spec.device} here, only {', '.join(core.available_devices)}"
            )
        wanted = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": spec.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": spec.precision,
        }
        try:
            self._compiled = core.compile_model(core.read_model(str(model)), spec.device, wanted)
        except RuntimeError as error:
            raise explained(model, error) from error
        self._request = self._compiled.create_infer_request()
        self._model = model

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        try:
            answers = self._request.infer(dict(feeds), share_inputs=True)
        except RuntimeError as error:
            raise cannot_run(self._model, feeds, error) from error
        return [np.array(answers[output]) for output in self._compiled.outputs]

    def describe(self) -> Described:
        return Described(
            tuple(_tensor(port) for port in self._compiled.inputs),
            tuple(_tensor(port) for port in self._compiled.outputs),
            {"version": ov.__version__, "precision": str(self._compiled.get_property("INFERENCE_PRECISION_HINT"))},
        )

    def executed(self) -> list[tuple[str, str, str]]:
        """Name, type and precision of what runs, in its order."""
        found = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            told = node.get_rt_info()
            kind, precision = (str(told[key].value) for key in ("layerType", "runtimePrecision"))
            found.append((node.get_friendly_name(), kind, precision))
        return found

    def close(self) -> None:
        del self._request, self._compiled


def explained(model: Path, error: Exception) -> EdgekdError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lacks = [line for line in lines if line.startswith("-- No conversion rule")]
    if lacks:
        return UnavailableError(
            f"{model}: openvino {ov.__version__} lacks an operator: {lacks[0].removeprefix('-- ')}; export without "
            "it, or choose another runtime"
        )
    unread = [line for line in lines if line.startswith("Unable to read")]
    reason = "its format is not known" if unread else lines[-1]
    return ConfigError(f"{model}: not a model that openvino {ov.__version__} can read: {reason}")


def _tensor(port: ov.ConstOutput) -> Tensor:
    shape = tuple(axis.get_length() if axis.is_static else "?" for axis in port.partial_shape)
    return Tensor(port.get_any_name(), np.dtype(port.element_type.to_dtype()).name, shape)
