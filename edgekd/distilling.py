"""What a script calls to distil one student, and nothing else."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from edgekd.advice import advice
from edgekd.api import check_code
from edgekd.assistant import assistant_of
from edgekd.distill import stages as distill
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.plan import artifact
from edgekd.engine.store import Artifact, Store
from edgekd.engine.swap import put_in_place
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, temporary_files_in
from edgekd.errors import ConfigError, UnavailableError, first_line
from edgekd.keeping import targets_of
from edgekd.looking import looks_of
from edgekd.models.shape import NetShape, parameters, resnet
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.probing import float_settings
from edgekd.report.distilled import markdown
from edgekd.report.looks import looks
from edgekd.settings import read_yaml, validate
from edgekd.sources import dataset_of, taught_by, teacher_of, unlabelled_of


def distil(
    pipeline: Pipeline | str,
    student: NetShape | str,
    *,
    out: Path,
    workspace: Path | None = None,
    listener: Listener | None = None,
    allow_code: bool = False,
) -> dict[str, Any]:
    """
    Train a student of a stated shape on the pipeline's data by its teacher and losses, and leave it in `out`: a
    Hugging Face folder, with `training.json` and `report.json` beside the weights. The report.

    `student` is a shape, or what `student_shape` reads. What is finished is kept in the workspace: the same call goes
    on where it stopped. Raises EdgekdError.
    """
    pipeline = load_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    shape = student_shape(student) if isinstance(student, str) else student
    check_code(pipeline.code, allow_code)
    check_out(out)
    listener, store = listener or Silent(), Store(workspace or default_workspace())
    with explained("workspace", store.root), temporary_files_in(store.root), Usage(store.root).registered() as need:
        builder = Builder(store, listener, pipeline=pipeline.name, need=need)
        data = dataset_of(builder, pipeline)
        master, given = teacher_of(builder, pipeline, data)
        assert isinstance(data, Artifact)
        taught = given.shape if given else pipeline.teacher.shape
        if pipeline.distill.start == "teacher" and taught is None:
            raise ConfigError(
                "distill.start: teacher: the teacher is no net of the student's family, whose blocks it could start "
                "from; leave it out"
            )
        advised = _advised(pipeline, data, taught, shape)
        for sentence in advised:
            listener.said(f"advice: {sentence}")
        tutor = pool = taught_by(builder, pipeline, data, master)
        chosen = builder.call(distill.GIVEN, distill.GiveStudent(shape=shape), {})
        between = assistant_of(builder, pipeline, taught, chosen, {"data": data, "teacher": tutor})
        tutor, given = (between, None) if between else (tutor, given)
        targets = targets_of(builder, pipeline, data, tutor, given)
        inputs = {"data": data, "teacher": tutor, "student": chosen} | unlabelled_of(builder, pipeline, data)
        inputs |= {"targets": targets} if targets else {}
        net = builder.call(distill.FLOAT, float_settings(builder, pipeline, inputs), inputs)
        seen = looks_of(builder, pipeline, data, net, pool)
        report = {
            "schema": 1, "pipeline": pipeline.name, "student": shape.model_dump(mode="json"),
            "looks": looks({name: artifact(each) for name, each in seen.items()}),
            "training": net.json("training.json"), "advice": advised,
        }  # fmt: skip
        leave(net, report, out)
    return report


def _advised(pipeline: Pipeline, data: Artifact, teacher: NetShape | None, student: NetShape) -> list[str]:
    about = data.json("dataset.json")
    channels, classes = about["image"][0], len(about["labels"])
    smaller = parameters(teacher, channels, classes) / parameters(student, channels, classes) if teacher else None
    return advice(pipeline, classes, smaller)


def leave(net: Artifact, report: dict[str, Any], out: Path) -> None:
    """The student's folder at `out`, whole; what edgekd left there before is replaced. Raises EdgekdError."""
    check_out(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
            made = Path(work) / "new"
            shutil.copytree(net.path, made)
            (made / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
            (made / "report.md").write_text(markdown(report), "utf-8")
            put_in_place(made, out, Path(work) / "old")
    except OSError as error:
        raise UnavailableError(f"--out {out}: cannot be written: {error.strerror}; choose another place") from error


def check_out(out: Path) -> None:
    """Raises ConfigError for a place that holds something else, before anything is trained."""
    own = all((out / name).is_file() for name in ("training.json", "report.json"))
    if out.exists() and not own and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is there and nothing that edgekd distill left; choose another folder")


def student_shape(text: str) -> NetShape:
    """`resnet20`, a checkpoint's folder, or a YAML file of a shape. Raises ConfigError."""
    path = Path(text)
    if path.is_dir():
        config = path / "config.json"
        if not config.is_file():
            raise ConfigError(f"--student {text}: has no config.json; give a folder of edgekd's, a .yaml, or resnet20")
        try:
            tree = dict(json.loads(config.read_bytes()))
        except ValueError as error:
            raise ConfigError(f"--student {config}: is no JSON of a net: {first_line(error)}; give another") from None
        return validate(NetShape, {key: tree[key] for key in NetShape.model_fields if key in tree}, str(config))
    if path.suffix in (".yaml", ".yml", ".json"):
        if not path.is_file():
            raise ConfigError(f"--student {text}: no such file")
        try:
            return validate(NetShape, read_yaml(path.read_text("utf-8"), text), text)
        except UnicodeDecodeError:
            raise ConfigError(f"--student {text}: is no text in UTF-8; give a .yaml of a shape") from None
    if text.startswith("resnet") and text.removeprefix("resnet").isdigit():
        try:
            return resnet(int(text.removeprefix("resnet")))
        except ValueError as error:
            raise ConfigError(f"--student {error}") from None
    raise ConfigError(
        f"--student {text}: neither a folder, nor a .yaml with stem_width, widths and strides, nor a name like resnet20"
    )
