"""What a device may answer: every field named, bounded, and of one kind."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from edgekd.errors import UnavailableError
from edgekd.hardware.measure.result import Look
from edgekd.settings import Settings

T = TypeVar("T")
Name = Annotated[str, Field(max_length=200, pattern=r"^[\w.+() -]*$")]
Nanoseconds = Annotated[int, Field(ge=0, le=10**13)]
Count = Annotated[int, Field(ge=0, le=2**63)]
Opening = Annotated[list[Nanoseconds], Field(min_length=1, max_length=1_000_000)]
Openings = Annotated[list[Opening], Field(min_length=1, max_length=100)]


Amount = Annotated[float, Field(gt=0, le=1e12)]


class Facts(Settings):
    """Of the hardware; None for what its kernel does not say."""

    board: Name | None
    clock_mhz: Amount | None
    l2_kib: Amount | None
    l3_kib: Amount | None
    ram_mib: Amount | None


class About(Settings):
    python: Name
    architecture: Name
    cpuinfo: Annotated[str, Field(max_length=4096)]
    cores: Annotated[int, Field(ge=1, le=100_000)]
    packages: dict[Name, Name | None]
    jiffies: tuple[Count, Count] | None
    look: Look
    facts: Facts


class Timed(Settings):
    """Of one model in one process."""

    wall: Openings
    cpu: Openings
    load_ns: Nanoseconds
    first_ns: Nanoseconds
    warmup_runs: Count
    instructions: Count | None
    looks: Annotated[list[Look], Field(max_length=1000)]


class AloneAnswer(Settings):
    peak_memory_bytes: Count | None
    process_peak_bytes: Count | None
    energy_uj: Annotated[float, Field(ge=0)] | None
    runs_per_s: Annotated[list[Annotated[float, Field(gt=0)]], Field(max_length=1000)]


class Answers(Settings):
    """What a model answered, as bytes of an array."""

    dtype: Literal["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool"]
    shape: Annotated[list[Annotated[int, Field(ge=0, le=10**9)]], Field(min_length=1, max_length=8)]
    data: Annotated[str, Field(max_length=2**26)]

    @model_validator(mode="after")
    def _has_as_many_bytes_as_it_says(self) -> Answers:
        try:
            found = len(base64.b64decode(self.data, validate=True))
        except binascii.Error as error:
            raise ValueError("no base64") from error
        if found != math.prod(self.shape) * np.dtype(self.dtype).itemsize:
            raise ValueError("not as many bytes as its shape says")
        return self

    @property
    def array(self) -> Any:
        return np.frombuffer(base64.b64decode(self.data), self.dtype).reshape(self.shape)


class Refused(Settings):
    error: Annotated[str, Field(max_length=10_000)]
    kind: Name


ABOUT = TypeAdapter(About | Refused)
WORKER: TypeAdapter[Refused | dict[str, Timed]] = TypeAdapter(Refused | dict[str, Timed])
ALONE = TypeAdapter(AloneAnswer | Refused)
ANSWERS = TypeAdapter(Answers | Refused)


def read_answer(adapter: TypeAdapter[T], where: str, text: bytes) -> T:
    """Raises UnavailableError for what is not JSON, or not of this schema; nothing of it is shown or used."""
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        raise UnavailableError(
            f"{where}: its answer is not what edgekd's runner writes ({first['type']}); nothing of it is used"
        ) from None
