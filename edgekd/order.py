"""What was ordered, and each of its targets built from it: the chain that fits, a lock, a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.budget import Verdict
from edgekd.chain import Chain, chain
from edgekd.deploy import bundle
from edgekd.deploy.bundle import Built
from edgekd.elsewhere import elsewhere, lead_of
from edgekd.engine.events import Listener
from edgekd.engine.executor import Builder, Engine
from edgekd.engine.faults import explained
from edgekd.engine.lock import Lock
from edgekd.engine.plan import artifact
from edgekd.engine.store import Artifact, Store
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import temporary_files_in
from edgekd.errors import EdgekdError
from edgekd.hardware.profile import DeviceProfile, load_profile
from edgekd.hardware.where import cpu_of
from edgekd.pipeline import Pipeline
from edgekd.tasks import AnyPipeline
from edgekd.text_chain import TextChain, text_chain
from edgekd.text_elsewhere import text_elsewhere
from edgekd.text_parts import text_parts


@dataclass(frozen=True)
class Order:
    """What is the same for all targets of a build."""

    pipeline: AnyPipeline
    store: Store
    out: Path
    listener: Listener
    samples: int = 0  # images of the test split that go with a bundle
    device: str | None = None  # where targets that are CPUs are measured, over ssh; None: here


def each(order: Order, profiles: Sequence[DeviceProfile]) -> tuple[list[Built], dict[str, EdgekdError]]:
    """One after the other; of several, one's failure leaves the others as they are."""
    done: list[Built] = []
    failed: dict[str, EdgekdError] = {}
    for profile in profiles:
        try:
            done.append(built(order, profile, lead(profile, profiles)))
        except EdgekdError as error:
            if len(profiles) == 1:
                raise
            failed[profile.name] = error
            order.listener.said(f"failed: {profile.name}: {error}")
    return done, failed


def lead(profile: DeviceProfile, profiles: Sequence[DeviceProfile]) -> DeviceProfile | None:
    """Of a device elsewhere: the target whose student it takes."""
    return lead_of(profiles, load_profile("local-cpu")) if profile.compiler else None


def chained(
    engine: Engine,
    pipeline: AnyPipeline,
    profile: DeviceProfile,
    led_by: DeviceProfile | None,
    differences: Sequence[str] | None = None,
    device: str | None = None,
) -> Chain | TextChain:
    """The chain of one target, which an engine runs or plans."""
    if not isinstance(pipeline, Pipeline):
        if led_by is not None:
            return text_elsewhere(engine, pipeline, profile, led_by, differences, device)
        return text_chain(engine, pipeline, profile, differences, device)
    if led_by is None:
        return chain(engine, pipeline, profile, differences, device)
    return elsewhere(engine, pipeline, profile, led_by, differences, device)


def built(order: Order, profile: DeviceProfile, led_by: DeviceProfile | None, replay: Lock | None = None) -> Built:
    root = order.store.root
    with explained("workspace", root), temporary_files_in(root), Usage(root).registered() as need:
        builder = Builder(order.store, order.listener, pipeline=order.pipeline.name, replay=replay, need=need)
        differences = builder.differences if replay else None
        done = chained(builder, order.pipeline, profile, led_by, differences, order.device)
        return _published(order, builder, done, profile, led_by)


def _published(
    order: Order, builder: Builder, done: Chain | TextChain, profile: DeviceProfile, led_by: DeviceProfile | None
) -> Built:
    assert isinstance(done.report, Artifact)
    told = done.report.json("report.json")
    device = cpu_of(led_by or profile, order.device).model_dump(mode="json")
    plain = [model.model_dump(mode="json", by_alias=True) for model in (order.pipeline, profile)]
    led = led_by.model_dump(mode="json", by_alias=True) if led_by else None
    lock = Lock.of(plain[0], plain[1], device, builder.trail, led)
    folder = order.out / order.pipeline.name / profile.name
    model = artifact(done.models[told["shipped"]])
    if isinstance(done, TextChain):
        bundle.publish(folder, text_parts(done, model, lock, order.samples))
    else:
        bundle.publish(folder, bundle.Parts(model, done.report, lock, artifact(done.data), order.samples))
    verdicts = tuple(Verdict.model_validate_json(json.dumps(row)) for row in told["verdicts"])
    return Built(profile.name, folder, told, verdicts, tuple(told.get("undecided", ())))
