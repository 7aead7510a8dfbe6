"""The float phase as a stage: with features, from the teacher, on a part of the data, killed and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from helpers.killed import Dying, KilledError
from safetensors.numpy import save_file

from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess, Views
from edgekd.deploy import stages as deploy
from edgekd.distill import float_phase
from edgekd.distill.float_phase import dense_of
from edgekd.distill.stages import FLOAT, GIVEN, DistillFloat, GiveStudent
from edgekd.engine.events import Progress, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError
from edgekd.hardware.dialect import Dialect
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.pipeline import load_pipeline
from edgekd.probing import float_settings
from edgekd.quant import stages as quant
from edgekd.sparse.plans import Sparsity
from edgekd.teacher.teaching import teaching, unlike
from edgekd.train.loop import Batch
from edgekd.train.losses.divergences import kd
from edgekd.train.losses.settings import (
    AttentionLoss,
    CrossEntropyLoss,
    HintLoss,
    KdLoss,
    LossSettings,
    OfaStagesLoss,
    RkdLoss,
)
from edgekd.train.settings import Training

HOW = Preprocess(mean=(0.13,), std=(0.31,))
TEACHER = NetShape(stem_width=16, stem_stride=2, widths=((16, 16), (16, 16), (32, 32)), strides=(1, 1, 2))
STUDENT = NetShape(stem_width=8, stem_stride=2, widths=((8, 8), (16, 16)), strides=(1, 2))
FEATURES: tuple[LossSettings, ...] = (
    KdLoss(name="kd"),
    HintLoss(name="hint", pairs=(("stage2", "stage2"),)),
    AttentionLoss(name="attention", pairs=(("stage1", "block2"),)),
    RkdLoss(name="rkd", pairs=(("pooled", "pooled"),)),
    OfaStagesLoss(name="ofa-stages", outputs=("stage1",)),
)


def asked(losses: tuple[LossSettings, ...] = (KdLoss(name="kd"),), **more: object) -> DistillFloat:
    train = Training(epochs=2, batch=50, learning_rate=0.05, threads=1, looks=2, snapshot_s=1e-9)
    return DistillFloat(losses=losses, train=train, preprocess=HOW, views=Views()).model_copy(update=more)


@pytest.fixture(scope="module")
def inputs(digits: Artifact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("teacher")
    checkpoint.save(checkpoint.build(TEACHER, Dataset(digits).labels, 1, seed=3), folder)
    student = Builder(Store(tmp_path_factory.mktemp("s")), Silent()).call(GIVEN, GiveStudent(shape=STUDENT), {})
    return {"data": digits, "teacher": Artifact("checkpoint", "teacher", folder), "student": student}


def ran(settings: DistillFloat, inputs: dict[str, Artifact], folder: Path, listener: Silent | None = None) -> Path:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    float_phase.run(settings, inputs, Work(folder / "out", folder / "scratch", Progress(listener or Silent())))
    return folder / "out"


@pytest.fixture(scope="module")
def featured(inputs: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran(asked(FEATURES), inputs, tmp_path_factory.mktemp("featured"))


@pytest.mark.slow
def test_a_training_with_features_that_is_killed_ends_with_the_same_student(
    inputs: dict[str, Artifact], featured: Path, tmp_path: Path
) -> None:
    """Projectors and heads come back with it."""
    with pytest.raises(KilledError):
        ran(asked(FEATURES), inputs, tmp_path, Dying(at=9))
    again = ran(asked(FEATURES), inputs, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (featured / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_what_features_were_learnt_with_leaves_no_trace_in_the_exported_graph(
    inputs: dict[str, Artifact], featured: Path, tmp_path: Path
) -> None:
    plain = ran(asked(), inputs, tmp_path / "plain")
    builder = Builder(Store(tmp_path / "store"), Silent())
    graphs = [
        onnx.load(
            builder.call(
                deploy.ONNX_FLOAT, deploy.ExportFloat(preprocess=HOW),
                {"checkpoint": Artifact("checkpoint", name, folder), "data": inputs["data"]},
            ).file("model.onnx")
        ).graph
        for name, folder in (("plain", plain), ("featured", featured))
    ]  # fmt: skip
    assert [node.op_type for node in graphs[0].node] == [node.op_type for node in graphs[1].node]
    assert [len(graph.output) for graph in graphs] == [1, 1]
    sizes = [sum(int(np.prod(tensor.dims)) for tensor in graph.initializer) for graph in graphs]
    assert sizes[0] == sizes[1]


@pytest.mark.slow
def test_the_rate_that_a_probe_chose_is_the_one_that_trains(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    """At one of the two rates nothing is learnt."""
    said = ["distill.precision=float32", "distill.epochs=2", "distill.threads=1", "distill.start=fresh",
            "distill.losses=[{name: cross-entropy, weight: 1.0}]",
            "distill.probe={rates: [0.000001, 0.1], share: 0.5}"]  # fmt: skip
    plan = float_settings(Builder(Store(tmp_path), Silent()), load_pipeline("digits", said), inputs)
    assert plan is not None
    assert (plan.train.learning_rate, plan.train.epochs) == (0.1, 2)


def test_layers_that_stay_dense_are_named_with_why() -> None:
    """A stem that reads one channel has no four of them to be two zeros of."""
    net = checkpoint.build(STUDENT, ["a", "b"], 1, 0).net
    assert list(dense_of(net, Sparsity(nm="2:4"))) == ["stem.0"]
    assert dense_of(net, Sparsity(unstructured=0.5)) == {}


def test_a_teacher_that_answers_along_reads_the_students_very_tensor(inputs: dict[str, Artifact]) -> None:
    """Beyer et al. (2022), [284]: another view of the same sample is another question."""
    student = checkpoint.build(STUDENT, Dataset(inputs["data"]).labels, 1, 5).net.eval()
    master = checkpoint.load(inputs["teacher"].path).net.eval()
    lessons = teaching((KdLoss(name="kd", weight=1.0),), inputs["teacher"].path, student, (1, 28, 28), 10, 1)
    x = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(6, dtype=torch.int64)
    with torch.no_grad():
        said = student(x)
        same, moved = (float(lessons.loss(said, Batch(seen, labels)).sum()) for seen in (x, x.roll(2, 3)))
        wanted = float(kd(said, master(x), 4.0))
    assert same == pytest.approx(wanted, rel=1e-5)
    assert moved != pytest.approx(wanted, rel=1e-2)


def test_hints_between_unlike_outputs_are_told_with_what_would_be_more_alike(
    inputs: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a teacher of edgekd's own all outputs are looked at: a copy of it finds its own stem, which no one named."""
    monkeypatch.setattr("edgekd.teacher.teaching.UNLIKE", 0.999)
    folder = inputs["teacher"].path
    copy = checkpoint.load(folder).net
    x = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = {
        pair: unlike(teaching((RkdLoss(name="rkd", pairs=(pair,)),), folder, copy, (1, 28, 28), 10, 1), copy, x, folder)
        for pair in (("stem", "pooled"), ("stem", "stem"))
    }
    assert found["stem", "stem"] == []
    assert "rkd: the student's 'stem' and the teacher's 'pooled' are little alike" in found["stem", "pooled"][0]
    assert "the teacher's 'stem' is more so (1.00)" in found["stem", "pooled"][0]


def test_it_says_what_it_saw_on_val(featured: Path) -> None:
    told = json.loads((featured / "training.json").read_text("utf-8"))
    assert [look["epoch"] for look in told["looks"]] == [1, 2]
    assert all(0 <= look["right"] <= look["n"] for look in told["looks"])
    assert told["start"] is None


@pytest.mark.slow
def test_a_student_may_start_from_its_teacher_and_says_what_it_took(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    out = ran(asked(start="teacher"), inputs, tmp_path)
    told = json.loads((out / "training.json").read_text("utf-8"))["start"]
    assert told == {"schema": 1, "blocks": [0, 2], "of": 3, "narrower": True, "classifier": True}


def test_a_student_of_a_supernet_starts_from_its_very_weights(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    part = checkpoint.build(STUDENT, [str(number) for number in range(10)], 1, seed=7)
    checkpoint.save(part, tmp_path / "part")
    still = asked().train.model_copy(update={"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0})
    out = ran(asked(train=still), inputs | {"first": Artifact("checkpoint", "part", tmp_path / "part")}, tmp_path / "o")
    own = dict(checkpoint.load(out).net.named_parameters())
    for name, weight in part.net.named_parameters():
        torch.testing.assert_close(own[name], weight, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_where_nothing_fits_auto_starts_afresh_and_says_why(
    inputs: dict[str, Artifact], tmp_path: Path, store: Store
) -> None:
    class Notes(Silent):
        said_: list[str] = []

        def said(self, sentence: str) -> None:
            self.said_.append(sentence)

    wide = Builder(store, Silent()).call(GIVEN, GiveStudent(shape=STUDENT.model_copy(update={"stem_width": 48})), {})
    notes = Notes()
    out = ran(asked(start="auto"), inputs | {"student": wide}, tmp_path, notes)
    assert json.loads((out / "training.json").read_text("utf-8"))["start"] is None
    (said,) = (one for one in notes.said_ if one.startswith("the student starts with fresh weights"))
    assert said.startswith(
        "the student starts with fresh weights: the student's stem (48 channels, kernel 3, stride 2)"
    )
    assert "leave it out" not in said  # nobody had asked for it
    with pytest.raises(ConfigError, match=r"the student's stem \(48 channels, kernel 3, stride 2\) is no part"):
        ran(asked(start="teacher"), inputs | {"student": wide}, tmp_path / "teacher")


@pytest.mark.slow
def test_cross_entropy_needs_no_teacher_at_all(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    alone = {name: artifact for name, artifact in inputs.items() if name != "teacher"}
    settings = asked((CrossEntropyLoss(name="cross-entropy", weight=1.0),))
    with_teacher, without = ran(settings, inputs, tmp_path / "a"), ran(settings, alone, tmp_path / "b")
    assert (with_teacher / "model.safetensors").read_bytes() == (without / "model.safetensors").read_bytes()


def test_a_part_of_the_data_is_a_random_one_of_that_size() -> None:
    rows = float_phase.part(1000, asked(data_share=0.25))
    assert rows is not None
    assert len(rows.unique()) == 250
    assert float_phase.part(1000, asked()) is None
    assert float(rows.float().mean()) == pytest.approx(500, abs=60)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (HintLoss(name="hint", pairs=(("stage7", "stage1"),)), "the student has no output 'stage7'"),
        (HintLoss(name="hint", pairs=(("stage1", "layer1"),)), "the teacher has no output 'layer1'"),
        (HintLoss(name="hint", pairs=(("pooled", "stage1"),)), "a hint needs both as maps"),
        (OfaStagesLoss(name="ofa-stages", outputs=("conv",)), "the student has no output 'conv'"),
    ],
)
def test_outputs_that_do_not_go_are_named_before_the_first_step(
    loss: LossSettings, sentence: str, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ran(asked((loss,)), inputs, tmp_path, Dying(at=1))


def test_a_stage_takes_the_same_key_wherever_it_runs(inputs: dict[str, Artifact], store: Store) -> None:
    """Twice in one workspace it runs once."""
    builder = Builder(store, Silent())
    settings = asked(data_share=0.1)
    one, two = (builder.call(FLOAT, settings, inputs) for _ in range(2))
    assert one.digest == two.digest
    assert torch.get_num_threads() == 1


@pytest.mark.slow
def test_pictures_without_labels_are_learnt_from_and_two_heads_are_one_model(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    some = np.asarray(Dataset(inputs["data"]).split("train").images[:100])
    (tmp_path / "more").mkdir()
    save_file({"images": np.ascontiguousarray(some)}, tmp_path / "more" / "unlabelled.safetensors")
    more = inputs | {"unlabelled": Artifact("pictures", "more", tmp_path / "more")}
    losses: tuple[LossSettings, ...] = (KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy"))
    folder = ran(asked(losses, dual_head=0.25), more, tmp_path)
    model = checkpoint.load(folder)
    assert model.config.dual_head == 0.25
    answer = model(torch.zeros(2, 1, 28, 28)).logits
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(2))
    alone = ran(asked(losses, dual_head=0.25), inputs, tmp_path / "alone")
    assert (alone / "model.safetensors").read_bytes() != (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_two_heads_leave_one_answer_in_the_exported_graph(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    """Float and int8: the softmax of its logits is the mean of both heads' probabilities, to 1e-5 as float."""
    folder = ran(asked((KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy")), dual_head=0.25), inputs, tmp_path)
    builder = Builder(Store(tmp_path / "store"), Silent())
    student = {"checkpoint": Artifact("checkpoint", "two", folder), "data": inputs["data"]}
    hub = builder.call(deploy.ONNX_FLOAT, deploy.ExportFloat(preprocess=HOW), student)
    session = ort.InferenceSession(str(hub.file("model.onnx")))
    assert len(session.get_outputs()) == 1
    x = np.random.default_rng(0).normal(size=(3, 1, 28, 28)).astype(np.float32)
    (logits,) = session.run(None, {session.get_inputs()[0].name: x})
    net = checkpoint.load(folder).net
    with torch.no_grad():
        pooled = net.features(torch.from_numpy(x)).mean((2, 3))
        mixed = 0.25 * net.classifier(pooled).softmax(1) + 0.75 * net.taught(pooled).softmax(1)
    np.testing.assert_allclose(np.exp(logits), mixed.numpy(), atol=1e-5)
    int8 = builder.call(
        quant.PTQ, quant.Ptq(dialect=Dialect(activation="uint8-affine", reduced_range=False), preprocess=HOW), student
    )
    (rough,) = ort.InferenceSession(str(int8.file("model.onnx"))).run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(np.exp(rough), mixed.numpy(), atol=0.05)


@pytest.mark.nightly
def test_a_student_that_two_processes_train_resumes_to_the_same_bits(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    """Batch norms' statistics are theirs together; labels are learnt as by one."""
    train = Training(epochs=2, batch=50, learning_rate=0.05, threads=2, processes=2, looks=2, snapshot_s=1e-9)
    settings = asked((CrossEntropyLoss(name="cross-entropy", weight=1.0),), train=train)
    whole = ran(settings, inputs, tmp_path / "whole")
    with pytest.raises(KilledError):
        ran(settings, inputs, tmp_path / "killed", Dying(at=9))
    again = ran(settings, inputs, tmp_path / "killed")
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    alone = ran(settings.model_copy(update={"train": train.model_copy(update={"processes": 1})}), inputs, tmp_path)
    right = [json.loads((folder / "training.json").read_text("utf-8"))["looks"][-1] for folder in (whole, alone)]
    assert abs(right[0]["right"] - right[1]["right"]) < 0.15 * right[0]["n"]
