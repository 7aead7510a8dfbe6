"""What a script calls to compare ways of distilling."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file

from edgekd import fidelity
from edgekd.api import check_code
from edgekd.bakeoff import CONTROLS, Baked, BakeOff, Run, bake_off, by_arm
from edgekd.data.dataset import Dataset
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.store import Artifact, Store
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, temporary_files_in
from edgekd.errors import ConfigError, UnavailableError
from edgekd.pipeline import Pipeline
from edgekd.report import baked
from edgekd.stats import mean_interval

Array = NDArray[Any]


def bakeoff(
    pipeline: Pipeline,
    asked: BakeOff,
    *,
    out: Path,
    workspace: Path | None = None,
    time_s: float | None = None,
    listener: Listener | None = None,
    allow_code: bool = False,
) -> Path:
    """
    Train students by every recipe, rate and seed, and leave the ranked table in `out`. Of what is not there yet no run
    begins that would end after `time_s`, by what the runs before took.

    The same call goes on where it stopped. Raises EdgekdError.
    """
    check_code(pipeline.code, allow_code)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; choose a folder")
    store = Store(workspace or default_workspace())
    ends = math.inf if time_s is None else time.perf_counter() + time_s
    with explained("workspace", store.root), temporary_files_in(store.root), Usage(store.root).registered() as need:
        builder = Builder(store, listener or Silent(), pipeline=pipeline.name, need=need)
        done = bake_off(builder, pipeline, asked, ends)
        told = told_of(done, asked)
    left = {"json": json.dumps(told, indent=1), "md": baked.markdown(told), "svg": baked.plot(told)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind, text in left.items():
            (out / f"bakeoff.{kind}").write_text(text, "utf-8")
    except OSError as error:
        raise UnavailableError(f"--out {out}: cannot be written: {error.strerror}; choose another place") from error
    return out


def told_of(done: Baked, asked: BakeOff) -> dict[str, Any]:
    """Every number of a bake-off, and what it was made with."""
    assert isinstance(done.data, Artifact)
    assert isinstance(done.teacher, Artifact)
    data = Dataset(done.data)
    sizes = data.about["splits"]
    labels, taught = data.split("test").labels, _answers(done.teacher)
    through = [run for run in done.final if run.answers is not None]
    finals = {arm: [_judged(run, labels, taught) for run in runs] for arm, runs in by_arm(through).items()}
    return {
        "schema": 1,
        "asked": asked.model_dump(mode="json"),
        "n": {"train": sizes["train"], "val": sizes["val"], "test": sizes["test"]},
        "teacher_accuracy_percent": 100 * float((taught.argmax(1) == labels).mean()),
        "left": done.left,
        "start": done.start,
        "grid": {
            arm: {
                "val_percent": {
                    f"{rate:g}": 100 * fmean(run.right for run in runs if run.rate == rate) / sizes["val"]
                    for rate in sorted({run.rate for run in runs})
                },
                "best_rate": done.best_rates.get(arm),
                "diverged": sorted({f"{run.rate:g}" for run in runs if run.answers is None}, key=float),
            }
            for arm, runs in by_arm(done.grid).items()
        },
        "diverged": [f"{run.arm}, rate {run.rate:g}, seed {run.seed}" for run in done.final if run.answers is None],
        "final": {arm: _summary(rows, finals, arm) for arm, rows in finals.items()},
    }  # fmt: skip


def _judged(run: Run, labels: Array, taught: Array) -> dict[str, float]:
    assert isinstance(run.answers, Artifact)
    own = _answers(run.answers)
    return {
        "seed": run.seed,
        "rate": run.rate,
        "accuracy_percent": 100 * float((own.argmax(1) == labels).mean()),
        **fidelity.all_of(own, taught, labels),
    }


def _summary(rows: list[dict[str, float]], finals: Mapping[str, list[dict[str, float]]], arm: str) -> dict[str, Any]:
    """Means over seeds, and the interval of the difference from each control, of the seeds that both have."""
    against = {}
    for control in CONTROLS:
        other = {row["seed"]: row["accuracy_percent"] for row in finals.get(control, ())}
        pairs = [row["accuracy_percent"] - other[row["seed"]] for row in rows if row["seed"] in other]
        if control != arm and len(pairs) > 1:
            against[control] = {"n": len(pairs), "points": list(mean_interval(pairs))}
    means = {name: fmean(row[name] for row in rows) for name in rows[0] if name not in ("seed", "rate")}
    return {"rate": rows[0]["rate"], "runs": rows, "mean": means, "against": against}


def _answers(predictions: Artifact) -> Array:
    return load_file(predictions.file("predictions.safetensors"))["answers"]
