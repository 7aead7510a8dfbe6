"""Several teachers as one; the fastest form of a teacher; the learning rate by a probe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from edgekd.distill.stages import RATE, ChooseRate
from edgekd.distill.start import from_teacher
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.plan import Planner
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.pipeline import load_pipeline
from edgekd.probing import float_settings
from edgekd.teacher.answers import answers_of
from edgekd.teacher.stages import FORM, POOL, ChooseForm, PoolTeachers

SHAPE = NetShape(stem_width=8, widths=((8, 8),), strides=(1,))


def net(folder: Path, seed: int, shape: NetShape = SHAPE) -> Artifact:
    folder.mkdir()
    checkpoint.save(checkpoint.build(shape, ["a", "b", "c"], 3, seed), folder)
    return Artifact("checkpoint", f"net {seed}", folder)


def test_a_pool_answers_with_the_weighted_mean_of_its_members_probabilities(tmp_path: Path, store: Store) -> None:
    wide = SHAPE.model_copy(update={"stem_width": 12})
    members = [net(tmp_path / "a", 1), net(tmp_path / "b", 2, wide)]
    pool = Builder(store, Silent()).call(
        POOL, PoolTeachers(shares=(1.0, 3.0)), {f"teacher.{number}": one for number, one in enumerate(members)}
    )
    x = torch.randn(5, 3, 8, 8)
    one, two = (answers_of(member.path)(x).softmax(1) for member in members)
    torch.testing.assert_close(answers_of(pool.path)(x).softmax(1), one / 4 + 3 * two / 4)


def test_a_student_starts_from_the_first_of_a_pool(tmp_path: Path, store: Store) -> None:
    members = {f"teacher.{number}": net(tmp_path / str(number), number) for number in (0, 1)}
    pool = Builder(store, Silent()).call(POOL, PoolTeachers(shares=(1.0, 1.0)), members)
    student = checkpoint.build(SHAPE, ["a", "b", "c"], 3, 9)
    from_teacher(student, pool.path)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(student.net.eval()(x), answers_of(members["teacher.0"].path)(x))


def test_a_pool_has_no_layers(tmp_path: Path, store: Store) -> None:
    members = {f"teacher.{number}": net(tmp_path / str(number), number) for number in (0, 1)}
    pool = Builder(store, Silent()).call(POOL, PoolTeachers(shares=(1.0, 1.0)), members)
    with pytest.raises(ConfigError, match="several teachers give logits alone"):
        checkpoint.net_of(pool.path)
    with pytest.raises(ConfigError, match=r"rkd needs a teacher's layers, and the teachers of a pool give logits"):
        load_pipeline("digits", ["teacher.pool=[{from: x}]", "distill.losses=[{name: rkd, pairs: [[pooled, pooled]]}]"])


def predictions(folder: Path, right: int, n: int = 1000) -> Artifact:
    folder.mkdir()
    save_file(
        {"right": np.arange(n) < right, "answers": np.zeros((n, 2), np.float32)}, folder / "predictions.safetensors"
    )
    (folder / "metrics.json").write_text(json.dumps({"schema": 2, "split": "val", "right": right, "n": n}), "utf-8")
    return Artifact("predictions", f"{folder.name} {right}", folder)


@pytest.mark.parametrize(
    ("rates", "right", "form"),
    [
        ({"torch": 400, "float": 600, "int8": 900}, 920, "int8"),
        ({"torch": 400, "float": 600, "int8": 900}, 916, "int8"),  # within the margin
        ({"torch": 400, "float": 600, "int8": 900}, 910, "float"),  # a point less
        ({"torch": 700, "float": 600, "int8": 500}, 920, "torch"),
    ],
)
def test_the_fastest_form_teaches_unless_it_answers_worse(
    rates: dict[str, float], right: int, form: str, tmp_path: Path, store: Store
) -> None:
    (tmp_path / "rates").mkdir()
    (tmp_path / "rates" / "rates.json").write_text(json.dumps({"images_per_s": rates}), "utf-8")
    inputs = {
        "rates": Artifact("rates", "rates", tmp_path / "rates"),
        "val.float": predictions(tmp_path / "float", 920),
        "val.int8": predictions(tmp_path / "int8", right),
    }
    decision = Builder(store, Silent()).call(FORM, ChooseForm(), inputs)
    assert decision.json("decision.json")["form"] == form


def test_the_rate_with_most_of_val_right_is_taken_and_the_lower_of_two_equals(tmp_path: Path, store: Store) -> None:
    inputs = {
        f"val.{rate:g}": predictions(tmp_path / f"r{rate}", right)
        for rate, right in ((0.4, 700), (0.1, 800), (0.2, 800))
    }
    decision = Builder(store, Silent()).call(RATE, ChooseRate(rates=(0.4, 0.1, 0.2)), inputs)
    assert decision.json("decision.json")["learning_rate"] == 0.1


def test_a_probe_trains_shortly_at_each_rate_and_the_plan_says_so(tmp_path: Path, store: Store) -> None:
    pipeline = load_pipeline("digits", ["distill.precision=float32", "distill.probe={rates: [0.05, 0.2], share: 0.25}"])
    planner = Planner(store)
    given = {name: Artifact(kind, name, tmp_path) for name, kind in
             (("data", "dataset"), ("teacher", "checkpoint"), ("student", "decision"))}  # fmt: skip
    assert float_settings(planner, pipeline, given, Coordinates("local-cpu")) is None
    assert [(step.stage, step.at) for step in planner.steps] == [
        ("distill.float", "local-cpu/rate 0.05, 5 epochs"), ("distill.judge", "local-cpu/rate 0.05, 5 epochs"),
        ("distill.float", "local-cpu/rate 0.2, 5 epochs"), ("distill.judge", "local-cpu/rate 0.2, 5 epochs"),
        ("distill.rate", "local-cpu"),
    ]  # fmt: skip
    plain = float_settings(planner, load_pipeline("digits", ["distill.precision=float32"]), given)
    assert plain is not None
    assert plain.train.learning_rate == 0.1


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("quantize.qat={epochs: 1, patience: 2}", "qat: patience and average_from are of the float phase"),
        ("teacher.train.distill_momentum=0.05", "patience and distill_momentum are of students"),
        ("distill.probe={rates: [0.1, 0]}", "rates.1: expected greater than 0"),
    ],
)
def test_what_a_phase_cannot_do_is_refused_there(assignment: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", [assignment])
