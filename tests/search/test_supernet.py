"""A supernet from its stages: trained, killed, judged by sub-network, taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from helpers.killed import Dying, KilledError
from transformers import AutoModelForImageClassification

from edgekd.data import dataset
from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess, Views
from edgekd.deploy.stages import ONNX_FLOAT, ExportFloat
from edgekd.distill.stages import JUDGE, Judge
from edgekd.engine.events import Progress, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape, parameters, shape_of
from edgekd.search.supernets import train as supernet
from edgekd.search.supernets.nested import extract, sub_shapes
from edgekd.search.supernets.stages import EXTRACT, SUBNETS, Extract, JudgeSubnets, Nested, TrainSupernet
from edgekd.search.supernets.subnets import judgement
from edgekd.teacher.stages import TARGETS, KeptViews, MakeTargets
from edgekd.train.settings import Training

HOW, SEEN = Preprocess(mean=(0.5,), std=(0.25,)), Views(rotate_degrees=0.0, scale=0.0, shift=0.0)
WHOLE = NetShape(stem_width=8, widths=((8, 8), (8, 8), (16, 16), (16, 16)), strides=(1, 1, 2, 1))
NESTED = Nested(depths=(1, 2), width_shares=(0.5, 1.0), width_step=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two classes of noise, the second one brighter: 96 images to train on, 64 of val."""
    folder = tmp_path_factory.mktemp("data")
    labels = np.arange(160) % 2
    noise = np.random.default_rng(0).normal(110, 40, (160, 8, 8, 1)) + 35 * labels[:, None, None, None]
    rows = {"train": np.arange(96), "val": np.arange(96, 160)}
    dataset.write(folder, noise.clip(0, 255).astype(np.uint8), labels, rows, ["dark", "bright"])  # type: ignore[arg-type]
    return Artifact("dataset", "noise", folder)


def brief(seed: int = 0) -> Training:
    return Training(epochs=1, batch=24, learning_rate=0.05, threads=1, looks=0, seed=seed)


def asked(**more: object) -> TrainSupernet:
    train = Training(epochs=4, batch=16, learning_rate=0.05, threads=1, looks=1, snapshot_s=1e-9)
    settings = TrainSupernet(shape=WHOLE, nested=NESTED, train=train, preprocess=HOW, views=SEEN)
    return settings.model_copy(update=more)


def ran(settings: TrainSupernet, inputs: dict[str, Artifact], folder: Path, listener: Silent | None = None) -> Artifact:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    supernet.run(settings, inputs, Work(folder / "out", folder / "scratch", Progress(listener or Silent())))
    return Artifact("checkpoint", folder.name, folder / "out")


@pytest.fixture(scope="module")
def trained(data: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return ran(asked(), {"data": data}, tmp_path_factory.mktemp("trained"))


def weights(artifact: Artifact) -> bytes:
    return artifact.file("model.safetensors").read_bytes()


def judged(store: Store, inputs: dict[str, Artifact], count: int = 16) -> dict[str, Any]:
    settings = JudgeSubnets(nested=NESTED, count=count, preprocess=HOW, threads=1)
    told: dict[str, Any] = Builder(store, Silent()).call(SUBNETS, settings, inputs).json("subnets.json")
    return told


def shape_in(row: dict[str, Any]) -> NetShape:
    return shape_of(row["shape"])


@pytest.mark.parametrize("step", [5, 17])
def test_a_supernet_whose_training_was_killed_is_the_same_one(
    data: Artifact, trained: Artifact, tmp_path: Path, step: int
) -> None:
    """Before the sub-networks come in, and after: the nets of a step follow from how many were taken."""
    with pytest.raises(KilledError):
        ran(asked(), {"data": data}, tmp_path, Dying(at=step))
    assert weights(ran(asked(), {"data": data}, tmp_path)) == weights(trained)


def test_the_schedule_the_rule_and_the_seed_each_make_another_supernet(data: Artifact, tmp_path: Path) -> None:
    arms = [asked(), asked(shrink_from=0.0), asked(rule="random"), asked(train=brief(seed=1))]
    made = [
        ran(arm.model_copy(update={"train": brief(seed=arm.train.seed)}), {"data": data}, tmp_path / str(number))
        for number, arm in enumerate(arms)
    ]
    assert len(set(map(weights, made))) == 4


def test_what_a_teacher_says_is_learnt_from_live_or_kept(data: Artifact, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.build(WHOLE, Dataset(data).labels, 1, seed=3), tmp_path / "teacher")
    master = Artifact("checkpoint", "teacher", tmp_path / "teacher")
    settings = MakeTargets(kept=KeptViews(views=1), views=SEEN, preprocess=HOW, threads=1)
    builder = Builder(Store(tmp_path / "store"), Silent())
    targets = builder.call(TARGETS, settings, {"data": data, "teacher": master})
    inputs: list[dict[str, Artifact]] = [{}, {"teacher": master}, {"targets": targets}]
    made = [
        ran(asked(shrink_from=0.0, train=brief()), {"data": data} | more, tmp_path / str(number))
        for number, more in enumerate(inputs)
    ]
    assert len(set(map(weights, made))) == 3


def test_sub_networks_are_listed_by_size_with_what_they_lose_on_val(
    data: Artifact, trained: Artifact, store: Store
) -> None:
    told = judged(store, {"supernet": trained, "data": data}, count=7)
    rows = told["subnets"]
    assert (told["split"], told["n"], len(rows)) == ("val", 64, 7)
    assert [row["id"] for row in rows] == [f"n{number:03d}" for number in range(7)]
    assert [row["params"] for row in rows] == sorted(row["params"] for row in rows)
    for row in rows:
        assert row["params"] == parameters(shape_in(row), in_channels=1, classes=2)
    assert min(row["accuracy_percent"] for row in rows) > 75
    assert all(0 < row["loss"] < 0.7 for row in rows)


def test_an_extracted_student_is_the_sub_network_that_was_judged(
    data: Artifact, trained: Artifact, store: Store
) -> None:
    """An ordinary checkpoint, of its own shape, that the Auto classes load."""
    rows = judged(store, {"supernet": trained, "data": data})["subnets"]
    builder = Builder(store, Silent())
    for row in (rows[0], rows[7]):
        own = builder.call(
            EXTRACT, Extract(shape=shape_in(row), preprocess=HOW, threads=1), {"supernet": trained, "data": data}
        )
        model = AutoModelForImageClassification.from_pretrained(own.path)
        assert sum(parameter.numel() for parameter in model.parameters()) == row["params"]
        assert model.config.id2label == {0: "dark", 1: "bright"}
        answers = builder.call(JUDGE, Judge(split="val", preprocess=HOW, threads=1), {"net": own, "data": data})
        assert answers.json("metrics.json")["right"] == row["right"]


def test_the_supernets_folder_is_its_largest_student(data: Artifact, store: Store, tmp_path: Path) -> None:
    """By the rule of chance too, under which the largest net is hardly ever run as a whole."""
    supernet_of = ran(asked(rule="random", train=brief()), {"data": data}, tmp_path)
    settings = Extract(shape=WHOLE, preprocess=HOW, threads=1)
    own = Builder(store, Silent()).call(EXTRACT, settings, {"supernet": supernet_of, "data": data})
    assert weights(own) == weights(supernet_of)


@pytest.mark.slow
def test_an_extracted_student_is_exported_as_any_other_net(data: Artifact, trained: Artifact, store: Store) -> None:
    builder, shape = Builder(store, Silent()), sub_shapes(WHOLE, NESTED)[0]
    own = builder.call(EXTRACT, Extract(shape=shape, preprocess=HOW, threads=1), {"supernet": trained, "data": data})
    hub = builder.call(ONNX_FLOAT, ExportFloat(preprocess=HOW), {"checkpoint": own, "data": data})
    x = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    session = ort.InferenceSession(str(hub.file("model.onnx")))
    (logits,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        expected = checkpoint.load(own.path).net(torch.from_numpy(x))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def test_batch_norms_are_estimated_anew_for_each_sub_network(data: Artifact, trained: Artifact, store: Store) -> None:
    """The same weights with the supernet's own statistics lose far more."""
    rows = judged(store, {"supernet": trained, "data": data})["subnets"]
    small = extract(checkpoint.load(trained.path), sub_shapes(WHOLE, NESTED)[0]).net
    assert judgement(small, Dataset(data).split("val"), HOW)["loss"] > 1.2 * rows[0]["loss"]


def test_a_shape_of_another_family_of_sub_networks_is_refused(data: Artifact, trained: Artifact, store: Store) -> None:
    deep = NetShape(stem_width=8, widths=((8, 8),) * 3 + ((16, 16),), strides=(1, 1, 1, 2))
    with pytest.raises(ConfigError, match=r"no prefix of the supernet: stage 1 has 3 blocks, more than 2; take one"):
        Builder(store, Silent()).call(
            EXTRACT, Extract(shape=deep, preprocess=HOW, threads=1), {"supernet": trained, "data": data}
        )


def test_every_sub_network_learns_and_not_the_largest_alone(data: Artifact, store: Store, tmp_path: Path) -> None:
    """With the others left out (they come in after the last step) the smallest is no better than chance."""
    alone = ran(asked(shrink_from=0.999), {"data": data}, tmp_path)
    torch.set_num_threads(1)
    rows = judged(store, {"supernet": alone, "data": data})["subnets"]
    assert rows[-1]["loss"] < 0.5 < rows[0]["loss"]
