"""What a device profile says: device x runtimes x versions, and the source of every fact."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from edgekd import resources
from edgekd.errors import UnavailableError
from edgekd.formats import upgraded
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu, cpu
from edgekd.settings import Settings, read_yaml, validate


class DialectSpec(Settings):
    """A dialect as a profile states it; `auto` is settled by the CPU at hand."""

    activation: Literal["uint8-affine", "int8-symmetric"]
    reduced_range: bool | Literal["auto"] = "auto"

    def on(self, device: Cpu) -> Dialect:
        reduced = not device.has_int8_dot if self.reduced_range == "auto" else self.reduced_range
        return Dialect(activation=self.activation, reduced_range=reduced)


class RuntimeSpec(Settings):
    """One way to run models on the device, with the settings that are measured and shipped."""

    name: Literal["onnxruntime"]
    exporter: str
    packages: tuple[str, ...]  # whose versions a measurement belongs to
    provider: str
    threads: int = Field(default=1, ge=1)
    graph_optimization: Literal["all", "extended", "basic", "disabled"] = "all"
    spinning: bool = False
    dialect: DialectSpec


class Measuring(Settings):
    processes: int = Field(default=7, ge=2)  # fresh ones: each has a bias of its own
    rounds: int = Field(default=120, ge=10)  # of all models in random order, in each process
    warmup_runs: int = Field(default=20, ge=1)
    batch: int = Field(default=1, ge=1)


class DeviceProfile(Settings):
    schema_version: int = Field(alias="schema", default=1)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")  # a folder of this name is made in dist/
    description: str
    kind: Literal["cpu", "gpu", "npu", "mcu"]
    connection: Literal["local"]
    runtimes: tuple[RuntimeSpec, ...]
    measure: Measuring = Measuring()
    sources: dict[str, str] = {}  # fact -> where it is from

    @model_validator(mode="after")
    def _one_runtime(self) -> DeviceProfile:
        if len(self.runtimes) != 1:
            raise ValueError(f"{len(self.runtimes)} runtimes are named; exactly one is used so far")
        return self


def load_profile(name: str) -> DeviceProfile:
    """A shipped profile by name, or a person's own by a path that ends in .yaml."""
    return profile_of(read_yaml(resources.read("hw_profiles", name), name), name)


def profile_of(tree: Any, where: str) -> DeviceProfile:
    """A profile from a tree of any schema."""
    return validate(DeviceProfile, upgraded("device", tree, where) if isinstance(tree, dict) else tree, where)


def this_cpu(profile: DeviceProfile) -> Cpu:
    if profile.kind != "cpu":
        raise UnavailableError(f"device {profile.name}: only local CPUs can be measured so far")
    return cpu()
