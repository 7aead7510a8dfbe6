"""What a script calls: build, rebuild from a lock, plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from edgekd.data.stages import SPLITS, CodeSource, loading
from edgekd.deploy.bundle import Built
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.lock import drift
from edgekd.engine.lock import read as read_lock
from edgekd.engine.plan import Planner, Step, artifact
from edgekd.engine.prune import prune
from edgekd.engine.store import Store
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, size_cap_bytes, temporary_files_in
from edgekd.errors import ConfigError, SomeTargetsFailedError
from edgekd.hardware.here import narrowed
from edgekd.hardware.profile import load_profile, profile_of
from edgekd.hardware.where import cpu_of
from edgekd.order import Order, built, chained, each, lead
from edgekd.pipeline import Pipeline
from edgekd.report import targets_page
from edgekd.sources import given_teacher
from edgekd.tasks import AnyPipeline, load, of_tree

LADDER = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1)  # shares of a pipeline that a time budget may buy


def build(
    pipeline: AnyPipeline | str,
    *,
    targets: Sequence[str] = (),
    workspace: Path | None = None,
    out: Path = Path("dist"),
    listener: Listener | None = None,
    include_samples: int = 0,
    allow_code: bool = False,
    device: str | None = None,
    runtime: str | None = None,
) -> list[Built]:
    """
    Run a pipeline for each of its targets and leave one bundle each in `out`/<pipeline>/<target>.

    Whatever finished before is read from the workspace. Raises EdgekdError; a missed budget is no exception:
    it stands in the verdicts. Of several targets, those that can be built are, with a page that compares them
    (targets.md); SomeTargetsFailedError says which could not. Targets that are CPUs are measured on `device`
    (ssh://user@host:port), and asked for their answers there, where one is given; of their runtimes, `runtime` alone
    is taken where it is given. Files of code that the pipeline names run only where `allow_code`.
    """
    pipeline = load(pipeline) if isinstance(pipeline, str) else pipeline
    check_code(pipeline.code, allow_code)
    profiles = [narrowed(load_profile(name), runtime) for name in dict.fromkeys(targets or pipeline.targets)]
    if len({profile.name for profile in profiles}) < len(profiles):
        raise ConfigError(f"targets: two of {', '.join(targets or pipeline.targets)} have one name; rename one")
    store = Store(workspace or default_workspace())
    cap = size_cap_bytes()
    order = Order(pipeline, store, out, listener or Silent(), include_samples, device)
    done, failed = each(order, profiles)
    with suppress(OSError):  # the bundles are there; a store that cannot be tidied now will be next time
        prune(store, keep=[out], max_bytes=cap)
    if len(profiles) > 1:
        targets_page.publish(out / pipeline.name, pipeline.name, done, failed)
    if failed:
        raise SomeTargetsFailedError(failed, done)
    return done


def rebuild(
    locked: Path,
    *,
    workspace: Path | None = None,
    out: Path = Path("dist"),
    listener: Listener | None = None,
    include_samples: int = 0,
    allow_code: bool = False,
    device: str | None = None,
) -> Built:
    """
    Build again what an edgekd.lock says: its settings and its decisions, with measurements taken anew.

    What is not as it was (libraries, CPU, data) is said before anything runs; the report says where today would
    have decided otherwise.
    """
    listener = listener or Silent()
    lock = read_lock(locked)
    if lock.pipeline.get("command") == "export":
        raise ConfigError(f"{locked}: is of an export; use edgekd export --locked {locked}")
    pipeline = of_tree(lock.pipeline, f"{locked}: pipeline")
    profile = profile_of(lock.profile, f"{locked}: profile")
    led_by = profile_of(lock.lead, f"{locked}: lead") if lock.lead else None
    check_code(pipeline.code, allow_code)
    changed = drift(lock, cpu_of(led_by or profile, device).model_dump(mode="json"))
    now = pipeline.data.model_dump()
    for name in ("sha256", "digest"):
        if (then := lock.pipeline["data"].get(name)) != now.get(name):
            changed.append(f"data {str(then)[:12]} -> {str(now.get(name))[:12]}")
    for sentence in changed:
        listener.said(f"not as it was when {locked.name} was written: {sentence}")
    store = Store(workspace or default_workspace())
    return built(Order(pipeline, store, out, listener, include_samples, device), profile, led_by, replay=lock)


def validate(name: str) -> AnyPipeline:
    """A pipeline whose settings, files, devices and teacher fit together, as far as can be seen before it runs."""
    pipeline = load(name)
    for target in pipeline.targets:
        load_profile(target)
    if isinstance(pipeline, Pipeline):
        given_teacher(pipeline)
    else:
        _ = pipeline.teacher.folder
    return pipeline


def inspect_data(
    pipeline: Pipeline, *, workspace: Path | None = None, listener: Listener | None = None, allow_code: bool = False
) -> dict[str, Any]:
    """The data as a build reads it: splits, counts by class, and what was found on the way."""
    import numpy as np

    from edgekd.data.dataset import Dataset

    check_code([pipeline.data.path] if isinstance(pipeline.data, CodeSource) else [], allow_code)
    store = Store(workspace or default_workspace())
    with explained("workspace", store.root), temporary_files_in(store.root), Usage(store.root).registered() as need:
        builder = Builder(store, listener or Silent(), pipeline=pipeline.name, need=need)
        stage, source = loading(pipeline.data, pipeline.preprocess)
        data = Dataset(artifact(builder.call(stage, source, {})))
    about = data.about
    counts = {split: np.bincount(data.split(split).labels, minlength=len(data.labels)) for split in SPLITS}
    by_class = {
        name: {split: int(counts[split][number]) for split in SPLITS} for number, name in enumerate(data.labels)
    }
    return {**about, "classes": by_class}


def check_code(files: Sequence[str], allowed: bool) -> None:
    """Raises ConfigError where there is code to run and nobody has said that it may."""
    if files and not allowed:
        raise ConfigError(
            f"{', '.join(files)}: is code, which edgekd runs only with --allow-code; read it first: it can do "
            "whatever you can"
        )


def plan(
    pipeline: AnyPipeline | str,
    *,
    targets: Sequence[str] = (),
    only: str | None = None,
    workspace: Path | None = None,
    device: str | None = None,
    runtime: str | None = None,
) -> dict[str, list[Step]]:
    """For each target, or for one `only` of them, every call of the build: cached, or to be run and why."""
    pipeline = load(pipeline) if isinstance(pipeline, str) else pipeline
    store = Store(workspace or default_workspace())
    names = targets or pipeline.targets
    profiles = [narrowed(load_profile(name), runtime) for name in names]
    found = {}
    for name, profile in zip(names, profiles, strict=True):
        if only not in (None, name):
            continue
        planner = Planner(store)
        chained(planner, pipeline, profile, lead(profile, profiles), device=device)
        found[name] = planner.steps
    return found


class Scalable(Protocol):
    """A pipeline of any task."""

    def scaled(self, share: float, *, teacher: bool = True) -> Self: ...


P = TypeVar("P", bound=Scalable)


def within(pipeline: P, seconds: float, estimate: Callable[[P], float], *, teacher: bool = True) -> tuple[P, float]:
    """
    The largest share of the pipeline whose estimate keeps to `seconds`, else the smallest; and its estimate (s).

    Without `teacher`, its training stays as it is.
    """
    shares = (pipeline.scaled(share, teacher=teacher) for share in LADDER)
    tried = ((smaller, estimate(smaller)) for smaller in shares)
    smallest = (pipeline, 0.0)
    for smallest in tried:
        if smallest[1] <= seconds:
            break
    return smallest
