"""What a script calls to search a student, without training and exporting it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekd.api import check_code
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.store import Artifact, Store
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, temporary_files_in
from edgekd.errors import ConfigError
from edgekd.hardware.here import narrowed
from edgekd.hardware.profile import load_profile
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.report import search_page, searched
from edgekd.seeking import ranked_by, seek
from edgekd.target import Target


def find_student(
    pipeline: Pipeline | str,
    *,
    target: str | None = None,
    out: Path = Path("search"),
    workspace: Path | None = None,
    device: str | None = None,
    runtime: str | None = None,
    listener: Listener | None = None,
    allow_code: bool = False,
) -> dict[str, Any]:
    """
    Find the student that a device deserves, and leave its shape in `out` with all that was found: the report's part.

    Candidates are measured on this machine, or on `device` (ssh://user@host:port); in `runtime`, else in the first of
    the target's.

    What is finished is kept in the workspace: the same call goes on where it stopped, and a build takes it from there.
    Raises EdgekdError.
    """
    pipeline = load_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    if pipeline.prune is not None:
        raise ConfigError("prune: students are what is left of the teacher, and none is searched for; leave prune out")
    check_code(pipeline.code, allow_code)
    profile = narrowed(load_profile(target or pipeline.targets[0]), runtime)
    store = Store(workspace or default_workspace())
    with explained("workspace", store.root), temporary_files_in(store.root), Usage(store.root).registered() as need:
        builder = Builder(store, listener or Silent(), pipeline=pipeline.name, need=need)
        sought = seek(Target.of(builder, pipeline, profile, device))
        there = {name: result for name, result in sought.found.items() if isinstance(result, Artifact)}
        told = {"schema": 1, "pipeline": pipeline.name, "target": profile.name} | searched.told_of(
            there, ranked_by(pipeline), sought.cost, profile.name
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "search.json").write_text(json.dumps(told, indent=1), "utf-8")
    (out / "search.md").write_text("\n".join(search_page.markdown(told)) + "\n", "utf-8")
    (out / "search.svg").write_text(search_page.plot(told), "utf-8")
    (out / "student.yaml").write_text(json.dumps(told["shape"], indent=1) + "\n", "utf-8")  # JSON is YAML
    return told
