"""A pretended GPU: TensorRT's runtime as its documentation has it, and CUDA's runtime library on the host's memory."""

from __future__ import annotations

import ctypes
import enum
from typing import Any

import numpy as np

LAYERS = '{"Layers": ["Conv_c1 + Relu", "Gemm"]}'
ENGINE_MS = 0.25  # what the events say; each later run takes as much more


class Library:
    """cudart: its streams do at once what they are asked for."""

    def __init__(self) -> None:
        self.rooms: dict[int, Any] = {}
        self.called: list[str] = []
        self.runs = 0

    def __getattr__(self, name: str) -> Any:
        def done(*arguments: Any) -> int:
            self.called.append(name)
            return 0

        return done

    def cudaMalloc(self, pointer: Any, size: ctypes.c_size_t) -> int:  # noqa: N802
        room = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(room)
        self.rooms[pointer._obj.value] = room
        return 0

    def cudaMemcpyAsync(self, to: Any, source: Any, size: Any, kind: int, stream: Any) -> int:  # noqa: N802
        self.called.append(f"copy {kind}")
        ctypes.memmove(to, source, size.value)
        return 0

    def cudaEventElapsedTime(self, told: Any, start: Any, end: Any) -> int:  # noqa: N802
        self.runs += 1
        told._obj.value = self.runs * ENGINE_MS
        return 0


class Mode(enum.Enum):
    INPUT = 0
    OUTPUT = 1


class Context:
    def __init__(self, library: Library) -> None:
        self._library = library
        self._shape: tuple[int, ...] = ()
        self._rooms: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: list[int]) -> bool:
        self._shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape if name == "pixels" else (self._shape[0], 10)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self._library.rooms
        self._rooms[name] = address
        return True

    def execute_async_v3(self, stream: int | None) -> bool:
        self._library.called.append("execute")
        assert set(self._rooms) == {"pixels", "logits"}
        return True


class Inspector:
    execution_context: Context | None = None

    def get_engine_information(self, form: str) -> str:
        assert form == "json"
        return LAYERS if self.execution_context is not None else "{}"


class Engine:
    num_io_tensors = 2

    def __init__(self, library: Library) -> None:
        self._library = library

    def get_tensor_name(self, place: int) -> str:
        return ("logits", "pixels")[place]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == "pixels" else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return "float"

    def create_execution_context(self) -> Context:
        return Context(self._library)

    def create_engine_inspector(self) -> Inspector:
        return Inspector()


class Trt:
    """What `build_engine.measure` asks of the module tensorrt."""

    TensorIOMode = Mode

    class Logger:
        ERROR = 1

        def __init__(self, _: int) -> None:
            pass

    class LayerInformationFormat:
        JSON = "json"

    def __init__(self, library: Library) -> None:
        self._library = library

    def Runtime(self, _: Any) -> Any:  # noqa: N802
        return self

    def deserialize_cuda_engine(self, engine: bytes) -> Engine:
        return Engine(self._library)

    def nptype(self, _: str) -> type:
        return np.float32
