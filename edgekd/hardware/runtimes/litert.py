"""LiteRT (TensorFlow Lite) on CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.runtime import Array, Described, Tensor, cannot_run
from edgekd.hardware.specs import LiteRtSpec

_STDERR = Lock()
VERSION = version("ai-edge-litert")


class LiteRtSession:
    def __init__(self, model: Path, spec: LiteRtSpec) -> None:
        resolver = OpResolverType.AUTO if spec.xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            with _quiet():
                self._interpreter = Interpreter(
                    str(model), num_threads=spec.threads, experimental_op_resolver_type=resolver
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            told = str(error).strip().splitlines()[0]
            if ("op" in told.lower() and "resolve" in told.lower()) or "custom op" in told.lower():
                raise UnavailableError(f"{model}: litert {VERSION} lacks an operator: {told}") from error
            raise ConfigError(f"{model}: not a model that litert {VERSION} can read: {told}") from error
        self._model = model
        self._inputs = self._interpreter.get_input_details()  # asked for once: they take microseconds a call
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self._shapes = {detail["index"]: tuple(detail["shape"]) for detail in self._inputs}

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        try:
            self._feed(feeds)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise cannot_run(self._model, feeds, error) from error
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def _feed(self, feeds: Mapping[str, Array]) -> None:
        """Into the tensors of the inputs, resized first where a shape is another than before."""
        resized = [detail for detail in self._inputs if feeds[detail["name"]].shape != self._shapes[detail["index"]]]
        for detail in resized:
            shape = feeds[detail["name"]].shape
            self._interpreter.resize_tensor_input(detail["index"], shape)
            self._shapes[detail["index"]] = shape
        if resized:
            self._interpreter.allocate_tensors()
        for detail in self._inputs:
            self._interpreter.set_tensor(detail["index"], feeds[detail["name"]])

    def describe(self) -> Described:
        return Described(
            tuple(_tensor(detail) for detail in self._interpreter.get_input_details()),
            tuple(_tensor(detail) for detail in self._interpreter.get_output_details()),
            {"version": VERSION},
        )

    def close(self) -> None:
        del self._interpreter


@contextmanager
def _quiet() -> Iterator[None]:
    """It tells the standard error stream that it has a delegate, from C++; what goes wrong is raised."""
    with _STDERR:
        kept = os.dup(2)
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    signature = detail["shape_signature"]
    shape = signature if len(signature) == len(detail["shape"]) else detail["shape"]
    return Tensor(
        detail["name"], np.dtype(detail["dtype"]).name, tuple("?" if axis < 0 else int(axis) for axis in shape)
    )
