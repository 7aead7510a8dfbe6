"""Targets that are kept: of exactly the views that the student sees, as exact as 16 bits, refused for any others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from edgekd.data.dataset import Dataset, Samples
from edgekd.data.stages import Preprocess, Views
from edgekd.data.views import draw
from edgekd.deploy import stages as deploy
from edgekd.engine.events import Progress, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.keeping import macs_of, targets_of
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import mac_count
from edgekd.models.shape import NetShape
from edgekd.pipeline import load_pipeline
from edgekd.teacher import targets
from edgekd.teacher.answers import Answers, answers_of
from edgekd.teacher.random import forget
from edgekd.teacher.stages import RANDOM, TARGETS, KeptViews, MakeTargets, RandomTeacher
from edgekd.teacher.targets import about_targets, bank_for, packed, unpacked
from edgekd.train.bank import bank_of, kept_views

HOW = Preprocess(mean=(0.13,), std=(0.31,))
VIEWS = Views(rotate_degrees=5.0, scale=0.1, shift=0.1)
KEPT = KeptViews(views=2)
SHAPE = NetShape(stem_width=8, stem_stride=2, widths=((8, 8), (16, 16)), strides=(1, 2))


@pytest.fixture(scope="module")
def teacher(digits: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("teacher")
    model = checkpoint.build(SHAPE, Dataset(digits).labels, 1, seed=3)
    checkpoint.save(model, folder)
    return Artifact("checkpoint", "teacher", folder)


@pytest.fixture(scope="module")
def made(digits: Artifact, teacher: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    builder = Builder(Store(tmp_path_factory.mktemp("store")), Silent())
    settings = MakeTargets(kept=KEPT, views=VIEWS, preprocess=HOW)
    return builder.call(TARGETS, settings, {"data": digits, "teacher": teacher})


def test_each_target_is_what_the_teacher_says_of_the_very_pixels_of_that_view(
    digits: Artifact, teacher: Artifact, made: Artifact
) -> None:
    bank, kept = bank_for(made, digits, VIEWS, HOW)
    answer = answers_of(teacher.path)
    for batch in list(kept_views(bank, kept, 64)(torch.Generator().manual_seed(5)))[:3]:
        said = answer(batch.x)
        assert batch.targets is not None
        torch.testing.assert_close(batch.targets.softmax(1), said.softmax(1), atol=2e-3, rtol=0)


def test_how_far_the_mean_answer_moves_between_views_stands_beside_the_targets(
    digits: Artifact, teacher: Artifact, made: Artifact, tmp_path: Path
) -> None:
    """By hand from what the teacher says of both views; nothing of one view, which nothing can be held against."""
    bank, _ = bank_for(made, digits, VIEWS, HOW)
    rows, answer = torch.arange(len(bank.samples)), answers_of(teacher.path)
    means = [answer(bank.read(torch.full_like(rows, number), rows)).softmax(1).mean(0) for number in (0, 1)]
    by_hand = float(((means[0] - means[1]).abs() / 2**0.5).mean())  # of two values
    told = about_targets(made)
    assert told["t_stddev"] == pytest.approx(by_hand, rel=0.02)  # of answers in 16 bits
    assert (told["views"], told["form"]) == (2, "torch, float32")
    settings = MakeTargets(kept=KeptViews(views=1), views=VIEWS, preprocess=HOW)
    alone = Builder(Store(tmp_path), Silent()).call(TARGETS, settings, {"data": digits, "teacher": teacher})
    assert about_targets(alone)["t_stddev"] is None


def test_an_epoch_visits_every_sample_once_and_two_epochs_see_other_views(digits: Artifact, made: Artifact) -> None:
    bank, kept = bank_for(made, digits, VIEWS, HOW)
    seen = [torch.cat([b.labels for b in kept_views(bank, kept, 64)(torch.Generator().manual_seed(s))]) for s in (1, 2)]
    assert all(torch.equal(labels.sort().values, torch.from_numpy(np.sort(bank.samples.labels))) for labels in seen)
    some = torch.arange(10)
    count = sum(len(batch.labels) for batch in kept_views(bank, kept, 4, some)(torch.Generator().manual_seed(1)))
    assert count == 10


@pytest.mark.parametrize(
    ("views", "how", "what"),
    [
        (VIEWS.model_copy(update={"shift": 0.2}), HOW, "views"),
        (VIEWS, Preprocess(mean=(0.5,), std=(0.5,)), "preprocess"),
    ],
)
def test_targets_of_other_views_than_the_students_are_refused(
    digits: Artifact, made: Artifact, views: Views, how: Preprocess, what: str
) -> None:
    with pytest.raises(ConfigError, match=rf"were made of other {what} than the student would see"):
        bank_for(made, digits, views, how)


def test_targets_of_other_data_are_refused(made: Artifact, digits: Artifact) -> None:
    with pytest.raises(ConfigError, match="were made of other data than the student would see"):
        bank_for(made, Artifact("dataset", "another", digits.path), VIEWS, HOW)


def test_mixed_views_cannot_be_kept() -> None:
    samples = Samples(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="mixed views belong to a batch and to no sample"):
        bank_of(samples, HOW, Views(mixup=0.2), 2, 0)


def test_a_killed_run_goes_on_after_the_last_whole_view(
    digits: Artifact, teacher: Artifact, made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(folder: Path) -> Answers:
        answer = answers_of(folder)

        def said(x: Tensor) -> Tensor:
            asked.append(len(x))
            return answer(x)

        return said

    monkeypatch.setattr(targets, "answers_of", counted)
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    work = Work(tmp_path / "out", tmp_path / "scratch", Progress(Silent()))
    settings = MakeTargets(kept=KEPT, views=VIEWS, preprocess=HOW)
    targets.run(settings, {"data": digits, "teacher": teacher}, work)
    (tmp_path / "scratch" / "view-0001.safetensors").unlink()
    whole, asked[:] = sum(asked), []
    targets.run(settings, {"data": digits, "teacher": teacher}, work)
    assert sum(asked) * 2 == whole
    assert (tmp_path / "out" / targets.FILE).read_bytes() == made.file(targets.FILE).read_bytes()


def test_the_exported_file_teaches_as_the_net_does(
    exported: Artifact, teacher: Artifact, digits: Artifact, tmp_path: Path
) -> None:
    builder = Builder(Store(tmp_path), Silent())
    settings = MakeTargets(kept=KeptViews(views=1), views=VIEWS, preprocess=HOW)
    fast = builder.call(TARGETS, settings, {"data": digits, "model": exported})
    slow = builder.call(TARGETS, settings, {"data": digits, "teacher": teacher})
    one, two = (
        bank_for(each, digits, VIEWS, HOW)[1](torch.zeros(64, dtype=torch.long), torch.arange(64))
        for each in (fast, slow)
    )
    assert float((one.argmax(1) == two.argmax(1)).float().mean()) > 0.9
    assert "onnxruntime" in fast.json(targets.ABOUT)["form"]


@pytest.fixture(scope="module")
def exported(digits: Artifact, teacher: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    builder = Builder(Store(tmp_path_factory.mktemp("exported")), Silent())
    profile = load_profile("local-cpu")
    runtime, cpu = profile.runtime("onnxruntime"), this_cpu(profile)
    hub = builder.call(deploy.ONNX_FLOAT, deploy.ExportFloat(preprocess=HOW), {"checkpoint": teacher, "data": digits})
    return builder.call(
        deploy.EXPORT, deploy.Export(runtime=runtime, cpu=cpu, model="teacher", trained=False), {"hub": hub}
    )


@given(st.integers(2, 100), st.integers(1, 20), st.integers(0, 1000))
def test_packed_logits_come_back_as_probabilities(classes: int, top: int, seed: int) -> None:
    """The largest exactly; the mass of the others as a whole."""
    logits = 3 * torch.randn(5, classes, generator=torch.Generator().manual_seed(seed))
    stored = packed(logits, top)
    again = unpacked(stored, classes).softmax(1)
    wanted = logits.softmax(1)
    kept = classes if classes <= max(targets.ALL, top) else top
    places = wanted.topk(kept, dim=1).indices
    torch.testing.assert_close(again.gather(1, places), wanted.gather(1, places), atol=3e-3, rtol=0)
    torch.testing.assert_close(again.sum(1), torch.ones(5))


def test_the_cache_is_as_small_as_it_says() -> None:
    """FIRST's check: at most n k 6 bytes, and the mass of the others."""
    stored = packed(torch.randn(1000, 100), 5)
    assert sum(values.numel() * values.element_size() for values in stored.values()) <= 1000 * (5 * 6 + 2)


@pytest.mark.slow
def test_a_teacher_with_much_to_say_says_it_in_its_fastest_form(
    digits: Artifact, teacher: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen by what was measured here, of one that was trained here too; little to say is said as it is."""
    pipeline = load_pipeline("digits", ["distill.targets={keep: always, views: 1}", "distill.threads=1"])
    builder = Builder(Store(tmp_path), Silent())
    targets_of(builder, pipeline, digits, teacher, None)
    assert [row["stage"] for row in builder.trail] == ["teacher.targets"]
    monkeypatch.setattr("edgekd.keeping.WORTH_MACS", 1.0)
    builder.trail.clear()
    said = targets_of(builder, pipeline, digits, teacher, None)
    assert isinstance(said, Artifact)
    stages = [row["stage"] for row in builder.trail]
    assert stages.count("evaluate") == 2  # float and int8
    assert stages[-3:] == ["teacher.rates", "teacher.form", "teacher.targets"]
    rates, form = (row["artifact"] for row in builder.trail[-3:-1])
    measured = rates.json("rates.json")["images_per_s"]
    chosen = form.json("decision.json")["form"]
    assert set(measured) == {"torch", "float", "int8"}
    assert chosen in measured


def test_work_that_a_teacher_has_is_noted_or_counted(teacher: Artifact, tmp_path: Path) -> None:
    net = checkpoint.load(teacher.path).net
    assert macs_of(teacher, (1, 28, 28)) == mac_count(net, (1, 28, 28)) > 1e5
    (tmp_path / "size.json").write_text(json.dumps({"macs": 12}))
    assert macs_of(Artifact("checkpoint", "given", tmp_path), (1, 28, 28)) == 12
    (tmp_path / "size.json").write_text(json.dumps({"macs": None}))  # of an ONNX file
    assert macs_of(Artifact("checkpoint", "given", tmp_path), (1, 28, 28)) == 0


def test_a_random_teacher_has_the_shape_and_none_of_the_weights(teacher: Artifact, tmp_path: Path) -> None:
    builder = Builder(Store(tmp_path), Silent())
    one, again, other = (builder.call(RANDOM, RandomTeacher(seed=seed), {"teacher": teacher}) for seed in (1, 1, 2))
    x = torch.randn(8, 1, 28, 28)
    answers = [answers_of(each.path)(x) for each in (teacher, one, again, other)]
    assert torch.equal(answers[1], answers[2])
    assert not torch.allclose(answers[0], answers[1])
    assert not torch.allclose(answers[1], answers[3])
    assert json.loads(one.file("config.json").read_text()) == json.loads(teacher.file("config.json").read_text())


def test_a_random_teacher_forgets_what_no_layer_makes_anew() -> None:
    """Class tokens and positions stand in modules that only hold them."""
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8,
                       patch_size=4)  # fmt: skip
    net = ViTForImageClassification(config)
    trained = torch.nn.init.constant_
    with torch.no_grad():
        for parameter in net.parameters():
            trained(parameter, 7.0)
    forget(net, 0)
    assert [name for name, parameter in net.named_parameters() if (parameter == 7.0).any()] == []
    again = ViTForImageClassification(config)
    forget(again, 0)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_what_was_drawn_of_a_view_does_not_depend_on_how_many_others_there_are() -> None:
    samples = Samples(np.zeros((6, 8, 8, 1), np.uint8), np.arange(6))
    few, many = (bank_of(samples, HOW, VIEWS, count, seed=4).drawn["affine"] for count in (2, 5))
    assert torch.equal(few, many[:2])
    assert not torch.equal(many[0], many[1])
    assert draw(VIEWS, 3, torch.Generator()).keys() == {"affine"}
