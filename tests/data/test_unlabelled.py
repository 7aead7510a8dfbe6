"""Pictures without labels: read, kept apart from what is judged on, and taught by the teacher alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgekd.data import unlabelled
from edgekd.data.dataset import Dataset, Joined
from edgekd.data.stages import Geometry, LoadUnlabelled, Unlabelled
from edgekd.data.tensors import mapped
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, DataError
from edgekd.pipeline import load_pipeline
from edgekd.train.lesson import Lesson
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss
from edgekd.train.terms import Said


class Hearing(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def said(self, sentence: str) -> None:
        self.heard.append(sentence)


def read(path: Path, digits: Artifact, folder: Path) -> tuple[np.ndarray, list[str]]:
    hearing = Hearing()
    for name in ("out", "scratch"):
        (folder / name).mkdir()
    settings = LoadUnlabelled(data=Unlabelled(path=str(path)).pinned(), geometry=Geometry())
    unlabelled.run(settings, {"data": digits}, Work(folder / "out", folder / "scratch", Progress(hearing)))
    return np.asarray(mapped(folder / "out" / unlabelled.FILE)["images"]), hearing.heard


def test_a_folder_of_pictures_in_any_depth_is_read(digits: Artifact, tmp_path: Path) -> None:
    train = Dataset(digits).split("train").images
    (tmp_path / "new" / "deep").mkdir(parents=True)
    for number in range(6):
        where = tmp_path / "new" / ("deep" if number % 2 else "")
        Image.fromarray(np.asarray(train[number, :, :, 0])).save(where / f"{number}.png")
    images, heard = read(tmp_path / "new", digits, tmp_path)
    assert images.shape == (6, 28, 28, 1)
    assert sorted(map(bytes, images)) == sorted(bytes(image) for image in np.asarray(train[:6]))
    assert heard == ["6 pictures without labels"]


def test_pictures_that_are_judged_on_are_left_out(digits: Artifact, tmp_path: Path) -> None:
    data = Dataset(digits)
    images = np.concatenate([data.split(name).images[:3] for name in ("val", "train", "test")])
    np.savez(tmp_path / "some.npz", images=images)
    found, heard = read(tmp_path / "some.npz", digits, tmp_path)
    assert {bytes(image) for image in found} <= {bytes(image) for image in images[3:6]}
    assert len(found) == 3
    assert heard == ["3 pictures without labels; 6 are left out, which val or test hold as well"]


def test_what_cannot_be_read_is_named(digits: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distill.unlabelled.path: nowhere: no such file or folder"):
        Unlabelled(path="nowhere").pinned()
    (tmp_path / "empty").mkdir()
    test = np.asarray(Dataset(digits).split("test").images[:4])
    np.savez(tmp_path / "names.npz", pictures=test)
    np.savez(tmp_path / "small.npz", images=test[:, :14])
    np.savez(tmp_path / "judged.npz", images=test)
    for name, sentence in (
        ("empty", "no pictures there; give a folder of them, or an .npz"),
        ("names.npz", "has no array 'images', only pictures"),
        ("small.npz", "pictures of 14 x 28 x 1, and the data's are 28 x 28 x 1"),
        ("judged.npz", "all of its pictures are in val or test as well"),
    ):
        work = tmp_path / f"work-{name}"
        work.mkdir()
        with pytest.raises(DataError, match=sentence):
            read(tmp_path / name, digits, work)


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["distill.losses=[{name: dkd}]"], "dkd needs the class of every image, which unlabelled ones do not have"),
        (["distill.losses=[{name: cross-entropy}]"], "no loss asks the teacher, and nobody else knows them; add kd"),
        (["views.cutmix=1.0"], "cannot be mixed with labels"),
        (["distill.targets={keep: always}"], "kept targets are of labelled images alone"),
    ],
)
def test_recipes_that_cannot_use_them_are_refused(assignments: Sequence[str], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", images=np.zeros((4, 28, 28, 1), np.uint8))
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", [f"distill.unlabelled={{path: {tmp_path / 'some.npz'}}}", *assignments])


def test_their_rows_follow_those_with_labels() -> None:
    first, second = (np.random.default_rng(n).integers(0, 256, (4, 2, 2, 1), np.uint8) for n in (0, 1))
    both, rows = Joined(first, second), np.array([5, 0, 7, 3])
    assert both.shape == (8, 2, 2, 1)
    np.testing.assert_array_equal(both[rows], np.concatenate([first, second])[rows])


def test_the_teacher_speaks_of_all_and_labels_of_those_that_have_one() -> None:
    generator = torch.Generator().manual_seed(0)
    own, theirs = (torch.randn(6, 3, generator=generator) for _ in range(2))
    losses = (KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy"))
    labels = torch.tensor([0, -1, 2, -1, -1, 1])
    known, taught = Lesson(losses, 1)(Said(own), Said(theirs), labels)
    some = labels >= 0
    alone, _ = Lesson(losses, 1)(Said(own[some]), Said(theirs[some]), labels[some])
    _, whole = Lesson(losses, 1)(Said(own), Said(theirs), torch.zeros(6, dtype=torch.int64))
    assert float(known) == pytest.approx(float(alone))
    assert float(taught) == pytest.approx(float(whole))
    none, _ = Lesson(losses, 1)(Said(own), Said(theirs), torch.full((6,), -1))
    assert float(none) == 0


def test_the_stage_says_how_many_there_are(digits: Artifact, tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", images=np.asarray(Dataset(digits).split("train").images[:5]))
    read(tmp_path / "some.npz", digits, tmp_path)
    told = json.loads((tmp_path / "out" / "unlabelled.json").read_text("utf-8"))
    assert told == {"schema": 1, "pictures": 5, "left_out": 0}
