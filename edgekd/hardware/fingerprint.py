"""Which CPU this is: part of the key of everything that was measured or computed by a runtime's kernels."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Literal

from edgekd.settings import Settings

ISA = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "asimdhp", "i8mm",
    "sve",
)  # fmt: skip
Half = Literal["bf16", "f16"]
HALVES: dict[str, Half] = {"avx512_bf16": "bf16", "amx_bf16": "bf16", "asimdhp": "f16"}


class Cpu(Settings):
    model: str
    architecture: str
    isa: tuple[str, ...]  # of those that decide which integer kernels a runtime has

    @property
    def has_int8_dot(self) -> bool:
        """Products of 8 bits added in 32: no overflow, and int8 pays."""
        return any(flag in self.isa for flag in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"))

    @property
    def halves(self) -> tuple[Half, ...]:
        """The 16-bit floats that it multiplies faster than 32-bit ones."""
        return tuple(sorted({HALVES[flag] for flag in self.isa if flag in HALVES}))


@cache
def cpu() -> Cpu:
    path = Path("/proc/cpuinfo")
    return parse_cpuinfo(path.read_text("utf-8", "replace") if path.is_file() else "", platform.machine())


def parse_cpuinfo(text: str, architecture: str) -> Cpu:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    numbers = "/".join(fields[name] for name in ("cpu family", "model", "stepping") if name in fields)
    name = fields.get("model name") or fields.get("CPU part") or platform.processor() or "unknown"
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return Cpu(
        model=f"{name} ({numbers})" if numbers else name,
        architecture=architecture,
        isa=tuple(flag for flag in ISA if flag in flags),
    )
