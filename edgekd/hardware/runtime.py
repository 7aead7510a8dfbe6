"""Running a model file: one protocol for every runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.specs import Runnable

Array = NDArray[Any]
CLASSES = {
    "onnxruntime": ("edgekd.hardware.runtimes.onnxruntime", "OnnxRuntimeSession"),
    "openvino": ("edgekd.hardware.runtimes.openvino", "OpenVinoSession"),
    "litert": ("edgekd.hardware.runtimes.litert", "LiteRtSession"),
}


@dataclass(frozen=True)
class Tensor:
    """An input or output as the runtime knows it; an axis that stays free is its name, or "?"."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Described:
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    details: Mapping[str, Any] = field(default_factory=dict)  # what only this runtime has to say


class Session(Protocol):
    """A model that is open in a runtime. With one thread it runs in the thread that calls it."""

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs in the order of `describe`, for one array an input, of the described dtype and shape."""

    def describe(self) -> Described: ...

    def close(self) -> None: ...


def open_session(model: Path, spec: Runnable) -> Session:
    """
    `model` in the runtime that `spec` names, with its settings.

    Raises ConfigError where the file is no model of that runtime, UnavailableError where the runtime is not
    installed or lacks what the model asks for.
    """
    if not model.is_file():
        raise ConfigError(f"{model}: no such file")
    module, name = CLASSES[spec.name]
    try:
        made = getattr(import_module(module), name)
    except ImportError as error:
        package = spec.packages[0] if spec.name == "onnxruntime" else f"edgekd[{spec.name}]"
        raise UnavailableError(f"runtime {spec.name} is not installed ({error}); pip install '{package}'") from error
    return made(model, spec)  # type: ignore[no-any-return]


def cannot_run(model: Path, feeds: Mapping[str, Array], error: Exception) -> ConfigError:
    """What a runtime said while it ran, with what it was given."""
    given = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in feeds.items())
    told = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ConfigError(f"{model}: cannot run on {given}: {told}; its graph may fix a shape that its inputs leave free")


def check_feeds(model: str, described: Described, feeds: Mapping[str, Array]) -> None:
    """Refuse what a runtime might take and answer with nonsense: OpenVINO gives an empty result for a wrong shape."""
    if missing := [tensor.name for tensor in described.inputs if tensor.name not in feeds]:
        raise ConfigError(f"{model}: input {missing[0]!r} gets nothing; given: {', '.join(feeds) or 'nothing'}")
    names = {tensor.name for tensor in described.inputs}
    if strange := [name for name in feeds if name not in names]:
        raise ConfigError(f"{model}: has no input {strange[0]!r}; its inputs: {', '.join(map(str, described.inputs))}")
    for tensor in described.inputs:
        check_shape(model, tensor, feeds[tensor.name].shape)
        if feeds[tensor.name].dtype != numeric(tensor):
            raise ConfigError(f"{model}: {tensor} is given {feeds[tensor.name].dtype}; convert the data")


def numeric(tensor: Tensor) -> np.dtype[Any]:
    """The dtype as numpy knows it. Raises ConfigError for strings, sequences and number formats that numpy lacks."""
    try:
        dtype = np.dtype(tensor.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise ConfigError(f"{tensor}: edgekd feeds numbers that numpy knows, and {tensor.dtype} is none of them")
    return dtype


def check_shape(model: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    fits = len(shape) == len(tensor.shape) and all(
        isinstance(axis, str) or axis == given for axis, given in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise ConfigError(f"{model}: {tensor} is given the shape {list(shape)}; the fixed axes must be as they are")
