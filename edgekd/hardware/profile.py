"""What a device profile says: device x runtimes x versions, and the source of every fact."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekd import resources
from edgekd.errors import ConfigError, UnavailableError
from edgekd.formats import upgraded
from edgekd.hardware.fingerprint import Cpu, cpu
from edgekd.hardware.specs import CompilerSpec, Runnable, RuntimeSpec
from edgekd.settings import Settings, read_yaml, validate

FACT = re.compile(r"hardware\.|runtimes\.\d+\.dialect\.")
NUMBERED = re.compile(r"runtimes\.(\d+)(.*)")


class Measuring(Settings):
    """How latencies are taken: fresh processes, and in each the models in random order, round by round."""

    processes: int = Field(default=8, ge=2)  # each has a bias of its own: they are the sample
    openings: int = Field(default=2, ge=2, multiple_of=2)  # of all models in each process, in turn in either order
    rounds: int = Field(default=120, ge=10)  # at most, in each process
    time_s: float = Field(default=1.0, gt=0)  # past it a process stops early, though never below 25 rounds
    warmup_runs: int = Field(default=10, ge=5)  # at least; it goes on until medians settle
    batch: int = Field(default=1, ge=1)


class Accelerator(Settings):
    name: str
    clock_mhz: float | None = Field(default=None, gt=0)
    macs_per_cycle: int | None = Field(default=None, ge=1)
    cores: int | None = Field(default=None, ge=1)
    sram_kib: float | None = Field(default=None, gt=0)


class Hardware(Settings):
    """What the device is. Nothing here is assumed: what is not known is left out."""

    processor: str | None = None
    architecture: str | None = None
    isa: tuple[str, ...] = ()  # all of these
    isa_any: tuple[str, ...] = ()  # and one of these
    cores: int | None = Field(default=None, ge=1)
    clock_mhz: float | None = Field(default=None, gt=0)
    l2_kib: float | None = Field(default=None, gt=0)  # of one core
    l3_kib: float | None = Field(default=None, gt=0)
    ram_mib: float | None = Field(default=None, gt=0)
    flash_kib: float | None = Field(default=None, gt=0)
    memory_gb_per_s: float | None = Field(default=None, gt=0)
    power_w: float | None = Field(default=None, gt=0)
    accelerator: Accelerator | None = None


class Limits(Settings):
    """What a device cannot hold or run; a search leaves out what breaks them."""

    width_multiple: int = Field(default=1, ge=1)  # that every layer's width is one of
    operators: tuple[str, ...] = ()  # ONNX's names, and DepthwiseConv; none: all
    weights_kib: float | None = Field(default=None, gt=0)  # left out: the hardware's flash
    activations_kib: float | None = Field(default=None, gt=0)  # left out: the accelerator's SRAM
    fixed_shapes: bool | None = (
        None  # batch and length of text are fixed in the file; left out: those of NPUs and compilers are
    )


class DeviceProfile(Settings):
    schema_version: int = Field(alias="schema", default=1)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")  # a folder of this name is made in dist/
    description: str
    kind: Literal["cpu", "gpu", "npu", "mcu"]
    connection: Literal["local", "remote"]  # remote: hardware elsewhere
    emulated: bool = False  # no hardware: its times are shown, and nothing is decided by them
    hardware: Hardware = Hardware()
    limits: Limits = Limits()
    runtimes: tuple[RuntimeSpec, ...] = Field(min_length=1)  # a build exports for the first
    measure: Measuring = Measuring()
    sources: dict[str, str] = {}  # the path of a fact, or of the group it is in -> where it is from

    @model_validator(mode="after")
    def _sources_are_of_something(self) -> DeviceProfile:
        known = set(_paths(self.model_dump(mode="json")))
        if strange := sorted(set(self.sources) - known):
            raise ValueError(f"{strange[0]!r} is no setting of this profile; its source is of nothing")
        return self

    @model_validator(mode="after")
    def _results_are_told_apart_by_runtime(self) -> DeviceProfile:
        names = [spec.name for spec in self.runtimes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"runtimes: {twice[0]!r} is there twice; other settings of it need a profile of their own")
        return self

    def unsourced(self) -> list[str]:
        """What is stated of the device or of its kernels without saying where it is from."""
        stated = self.model_dump(mode="json", exclude_defaults=True, include={"hardware", "runtimes"})
        facts = [path for path, value in _leaves(stated) if FACT.match(path) and value != "auto"]
        return [fact for fact in facts if not any(f"{fact}.".startswith(f"{source}.") for source in self.sources)]

    @property
    def fixes_shapes(self) -> bool:
        """Whether text is padded to one length, of a batch of one."""
        if self.limits.fixed_shapes is not None:
            return self.limits.fixed_shapes
        return self.kind == "npu" or self.compiler is not None

    @property
    def runnable(self) -> tuple[Runnable, ...]:
        """The runtimes that can run models here, without those that only compile for elsewhere."""
        return tuple(spec for spec in self.runtimes if not isinstance(spec, CompilerSpec))

    @property
    def compiler(self) -> CompilerSpec | None:
        """What makes its files here while it is elsewhere; None of a device that runs them itself."""
        first = self.runtimes[0]
        return first if self.connection == "remote" and isinstance(first, CompilerSpec) else None

    def runtime(self, name: str | None = None, suffix: str | None = None) -> Runnable:
        """The first runtime called `name` that opens files that end in `suffix`."""
        found = [s for s in self.runnable if name in (None, s.name) and (suffix is None or suffix in s.suffixes)]
        if found:
            return found[0]
        known = ", ".join(f"{spec.name} ({' '.join(spec.suffixes)})" for spec in self.runnable) or "none that runs here"
        wanted = f"runtime {name!r}" if name else "runtime"
        raise ConfigError(
            f"device {self.name}: no {wanted}{f' opens {suffix} files' if suffix else ''}; it has: {known}"
        )


def load_profile(name: str) -> DeviceProfile:
    """A shipped profile by name, or a person's own by a path that ends in .yaml."""
    return profile_of(read_yaml(resources.read("hw_profiles", name), name), name)


def profile_of(tree: Any, where: str) -> DeviceProfile:
    """A profile from a tree of any schema."""
    return validate(DeviceProfile, upgraded("device", tree, where) if isinstance(tree, dict) else tree, where)


def only(profile: DeviceProfile, runtimes: Collection[str]) -> DeviceProfile:
    """The profile with these of its runtimes, and with the sources of what is left of them."""
    kept = [number for number, spec in enumerate(profile.runtimes) if spec.name in runtimes]
    sources = {}
    for path, source in profile.sources.items():
        if not (found := NUMBERED.fullmatch(path)):
            continue  # of other hardware
        if int(found[1]) in kept:
            sources[f"runtimes.{kept.index(int(found[1]))}{found[2]}"] = source
    left = tuple(profile.runtimes[number] for number in kept)
    return profile.model_copy(update={"runtimes": left, "sources": sources})


def with_runtime(profile: DeviceProfile, runtime: str | None) -> DeviceProfile:
    """
    With that runtime alone, where one is asked for and the device runs its models itself.

    Raises ConfigError for one that it does not have.
    """
    return profile if runtime is None or profile.compiler else only(profile, [profile.runtime(runtime).name])


def emulator(what: str) -> str:
    return (
        f"{what}: is an emulator, whose times say nothing of a device: budgets, gates and search refuse them; edgekd "
        "profile shows them, and edgekd check holds the answers against each other with --max-latency-regression none "
        "--max-memory-growth none"
    )


def refuse_emulator(profile: DeviceProfile) -> None:
    """Raises UnavailableError where the profile says that it is one."""
    if profile.emulated:
        raise UnavailableError(emulator(f"device {profile.name}"))


def this_cpu(profile: DeviceProfile) -> Cpu:
    """
    The CPU at hand, for what is decided by its times.

    Raises UnavailableError where the profile describes another, or an emulator.
    """
    refuse_emulator(profile)
    return cpu_beside(profile)


def cpu_beside(profile: DeviceProfile) -> Cpu:
    """The CPU at hand, where it is one that the profile describes, or one beside the accelerator that it describes."""
    if profile.connection != "local":
        takes = "edgekd build compiles for it; " if profile.compiler else ""
        raise UnavailableError(
            f"device {profile.name}: hardware elsewhere, whose latency cannot be measured here; {takes}"
            "run edgekd on the device itself, or say with --device ssh://... where it is"
        )
    if why := mismatch(profile.hardware, cpu()):
        raise UnavailableError(f"device {profile.name}: {why}; local-cpu takes whatever CPU there is")
    return cpu()


def is_here(profile: DeviceProfile) -> bool:
    """Whether `this_cpu` has an answer."""
    return profile.connection == "local" and mismatch(profile.hardware, cpu()) is None


def mismatch(hardware: Hardware, found: Cpu) -> str | None:
    """Why `found` is not the CPU that is described, or None."""
    if hardware.architecture not in (None, found.architecture):
        return f"is {hardware.architecture}, this CPU is {found.architecture}"
    has = ", ".join(found.isa) or "none of those that matter"
    if missing := [flag for flag in hardware.isa if flag not in found.isa]:
        return f"needs {', '.join(missing)}, this CPU has {has}"
    if hardware.isa_any and not set(hardware.isa_any) & set(found.isa):
        return f"needs {' or '.join(hardware.isa_any)}, this CPU has {has}"
    return None


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{path}.{number}")
    else:
        yield path, tree


def _paths(tree: Any) -> Iterator[str]:
    """Every leaf, and every group on the way to it."""
    for leaf, _ in _leaves(tree):
        parts = leaf.split(".")
        for depth in range(len(parts)):
            yield ".".join(parts[: depth + 1])
