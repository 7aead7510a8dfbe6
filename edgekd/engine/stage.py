"""What a stage is: settings that never import torch, and the name of the code that runs with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from edgekd.engine.digest import digest_of
from edgekd.engine.events import Progress
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError, UnavailableError
from edgekd.settings import Settings

S = TypeVar("S", bound=Settings)
S_contra = TypeVar("S_contra", bound=Settings, contravariant=True)
Nature = Literal["pure", "observation", "decision"]


@dataclass(frozen=True)
class Work:
    """Where a running stage may write. `out` becomes the artifact; `scratch` outlives a crash."""

    out: Path
    scratch: Path
    progress: Progress


class Run(Protocol[S_contra]):
    def __call__(self, settings: S_contra, inputs: Mapping[str, Artifact], work: Work) -> None: ...


@dataclass(frozen=True)
class Stage(Generic[S]):
    """
    A memoised function from settings and artifacts to one artifact.

    * pure: the same key gives the same bytes on this machine.
    * observation: a measurement; its key holds the device's identity, its result is appended, never compared.
    * decision: a small JSON made from observations; later keys take its digest, locks replay it.
    """

    name: str
    run: str  # "module:function"; imported when the stage runs and not before
    gives: str  # the kind of its artifact
    takes: Mapping[str, str] = field(default_factory=dict)  # input name, or pattern like "model.*", to kind
    may_lack: tuple[str, ...] = ()  # names and patterns of `takes` that nothing has to be given for
    nature: Nature = "pure"
    version: int = 1  # raise it when the same settings come to mean something else
    uses: tuple[str, ...] = ()  # distributions whose version changes the result
    extra: str | None = None  # the extra of edgekd that installs them, where the core doesn't
    cost: Callable[[S], float] | None = None  # expected work in units of the stage's own choosing
    memory: str | None = None  # the setting to lower where memory runs out
    typical_s: float = 0.5  # of one unit, or one call, on two cores: an estimate for who has never run it

    def load(self) -> Run[S]:
        module, _, function = self.run.partition(":")
        try:
            return getattr(import_module(module), function)  # type: ignore[no-any-return]
        except ImportError as error:
            raise UnavailableError(f"{self.name}: needs {error.name}, which does not import: {error}") from error

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """`inputs` maps names to kinds; a stage gets what it takes, all of it, and nothing else."""
        for name, kind in inputs.items():
            wanted = [k for pattern, k in self.takes.items() if fnmatchcase(name, pattern)]
            if kind not in wanted:
                raise EdgekdError(f"{self.name}: input {name!r} is a {kind}; it takes {dict(self.takes)}")
        for pattern in self.takes:
            if pattern not in self.may_lack and not any(fnmatchcase(name, pattern) for name in inputs):
                raise EdgekdError(f"{self.name}: input {pattern!r} ({self.takes[pattern]}) was not given")


@dataclass(frozen=True)
class Coordinates:
    """Where in a build a call stands: shown in progress and reports, no part of the key."""

    target: str | None = None
    student: str | None = None
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.target, self.student, self.variant) if part)


def recipe(stage: Stage[S], settings: S, digests: Mapping[str, str]) -> dict[str, Any]:
    """All that a result depends on. Its digest is the key; kept whole, so that a change can be explained."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": settings.model_dump(mode="json"),
        "inputs": dict(sorted(digests.items())),
        "uses": {name: _installed(name, stage) for name in stage.uses},
    }


def key_of(recipe: Mapping[str, Any]) -> str:
    return digest_of(recipe)


def _installed(distribution: str, stage: Stage[S]) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        what = f"'edgekd[{stage.extra}]'" if stage.extra else distribution
        raise UnavailableError(f"{stage.name}: {distribution} is not installed; pip install {what}") from None
