"""How each runtime or compiler is to be used on a device: the settings that are measured and shipped."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from edgekd.hardware.dialect import DialectSpec
from edgekd.resources import cores
from edgekd.settings import Settings

LatencyKind = Literal["measured", "estimated", "predicted", "emulated", "none"]
Numerics = Literal["device", "runtime", "simulator", "reference"]
TENSORRT = "TensorrtExecutionProvider"  # of ONNX Runtime
Affinity = Annotated[tuple[int, ...], Field(min_length=1)]  # the cores that a measuring process may use


class OnnxRuntimeSpec(Settings):
    name: Literal["onnxruntime"] = "onnxruntime"
    exporter: str = "onnxruntime"
    packages: tuple[str, ...] = ("onnxruntime",)  # whose versions a measurement belongs to
    provider: str = "CPUExecutionProvider"
    threads: int = Field(default=1, ge=1)
    graph_optimization: Literal["all", "extended", "basic", "disabled"] = "all"
    spinning: bool = False
    affinity: Affinity | None = None
    pack_zeros: bool = False  # weights with zeros are smaller in the file, and spread out as it is opened
    dialect: DialectSpec

    @model_validator(mode="after")
    def _can_spread_zeros(self) -> OnnxRuntimeSpec:
        if self.pack_zeros and self.graph_optimization == "disabled":
            raise ValueError("pack_zeros: without graph_optimization weights would be spread out in every run")
        return self

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".onnx", ".ort")

    @property
    def computes_on(self) -> str:
        """What the runtime calls the device that it is to compute on."""
        return self.provider

    @property
    def on_cpu(self) -> bool:
        """Else the time of the thread that calls says nothing: others compute."""
        return self.provider == "CPUExecutionProvider"

    @property
    def compiles(self) -> bool:
        """The provider makes layers into one of its own, and no graph is left to be read."""
        return self.provider == TENSORRT


class OpenVinoSpec(Settings):
    name: Literal["openvino"] = "openvino"
    exporter: str = "openvino"
    packages: tuple[str, ...] = ("openvino",)
    device: str = "CPU"
    threads: int = Field(default=1, ge=1)
    precision: Literal["f32", "bf16", "f16"] = "f32"  # of what is not int8; OpenVINO's own choice may be lower
    batch: int | None = Field(default=None, ge=1)  # fixed in the file; a free one costs up to a fifth of the time
    affinity: Affinity | None = None
    dialect: DialectSpec

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".xml", ".onnx")

    @property
    def computes_on(self) -> str:
        return self.device

    @property
    def on_cpu(self) -> bool:
        return self.device == "CPU"


class LiteRtSpec(Settings):
    name: Literal["litert"] = "litert"
    exporter: str = "litert"
    packages: tuple[str, ...] = ("ai-edge-litert",)
    threads: int = Field(default=1, ge=1)
    xnnpack: bool = True  # off: LiteRT's own kernels
    affinity: Affinity | None = None
    dialect: DialectSpec

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".tflite",)

    @property
    def computes_on(self) -> str:
        return "CPU"

    @property
    def on_cpu(self) -> bool:
        return True


class CompilerSpec(Settings):
    """A toolchain that compiles for a device elsewhere: what it says of latency is no measurement."""

    name: Literal["vela", "qnn", "tensorrt", "tensorrt-rtx", "tflite-micro", "rknn"]
    exporter: str
    packages: tuple[str, ...]
    options: dict[str, str] = {}
    latency: LatencyKind
    numerics: Numerics
    dialect: DialectSpec

    @property
    def suffixes(self) -> tuple[str, ...]:
        return ()


Runnable = Annotated[OnnxRuntimeSpec | OpenVinoSpec | LiteRtSpec, Field(discriminator="name")]
RuntimeSpec = Annotated[OnnxRuntimeSpec | OpenVinoSpec | LiteRtSpec | CompilerSpec, Field(discriminator="name")]


def plain_onnxruntime() -> OnnxRuntimeSpec:
    """ONNX Runtime as a calculator, wherever the model is to run in the end: what it makes is no device's figure."""
    return OnnxRuntimeSpec(threads=cores(), dialect=DialectSpec(activation="uint8-affine"))


_RUNNABLE: TypeAdapter[Runnable] = TypeAdapter(Runnable)
_RUNTIME: TypeAdapter[RuntimeSpec] = TypeAdapter(RuntimeSpec)


def read_runnable(text: str) -> Runnable:
    """A runtime's settings from the JSON that `model_dump_json` wrote."""
    return _RUNNABLE.validate_json(text)


def read_runtime(text: str) -> RuntimeSpec:
    """The same, also of what only compiles for a device elsewhere."""
    return _RUNTIME.validate_json(text)
