"""Every wrong input is one clear sentence with its exit code, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgekd.budget import Budget, check_decidable
from edgekd.errors import ConfigError, InconclusiveError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape

YAML = """
schema: 1
name: mine
task: image-classification
data: {{source: npz, path: {path}, labels: [cat, dog], val_per_class: 2, test_per_class: 2}}
teacher: {{from: {teacher}}}
targets: [local-cpu]
distill: {{epochs: 1}}
"""


def images() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(float)


def labels() -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(20) % 2


def build(folder: Path, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "mine.yaml").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "edgekd", "build", "mine.yaml", "--workspace", "w", *more],
        cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "300"},
    )  # fmt: skip


def expect(done: subprocess.CompletedProcess[str], code: int, says: str, folder: Path) -> None:
    assert done.returncode == code, done.stderr
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "dist").exists()
    for left in folder.glob("w/work/*"):  # at most what a later run may go on from
        assert {path.name for path in left.iterdir()} <= {"out", "scratch"}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    shape = NetShape(stem_width=8, widths=((8, 8),), strides=(1,))
    checkpoint.save(checkpoint.build(shape, ["cat", "dog"], 1, seed=0), tmp_path / "teacher")
    return tmp_path / "teacher"


def nan(x: Any, y: Any) -> None:
    x[3, 0, 0] = np.nan


def inf(x: Any, y: Any) -> None:
    x[4, 1, 1] = np.inf


def normalised(x: Any, y: Any) -> None:
    x /= 255


def out_of_range(x: Any, y: Any) -> None:
    y[5] = 2


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (nan, r"edgekd: data\.images: 1 values are NaN or infinite, the first in image 3; remove or repair"),
        (inf, r"edgekd: data\.images: 1 values are NaN or infinite, the first in image 4; remove or repair"),
        (normalised, r"edgekd: data\.images: image 0 holds 0\.\d+; pixels are whole numbers from 0 to 255"),
        (out_of_range, r"edgekd: data\.labels: 1 are out of range, the first is 2 of image 5; 2 classes are named, so "
                       r"labels go from 0 to 1"),
    ],
)  # fmt: skip
def test_bad_samples(tmp_path: Path, teacher: Path, spoil: Callable[[Any, Any], None], says: str) -> None:
    x, y = images(), labels()
    spoil(x, y)
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    expect(build(tmp_path, YAML.format(path="data.npz", teacher=teacher)), 2, says, tmp_path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("distill: {epochs: 1, epochs: 2}", r"mine\.yaml:1: found duplicate key .epochs.*; keep one of the two"),
        (BOMB, r"edgekd: mine\.yaml: its aliases expand to more than 20000 values; write the values out"),
        (YAML.replace("epochs: 1", "epochs: one").format(path="x", teacher="x"),
         r"edgekd: mine\.yaml:8: distill\.epochs: expected .*integer, got 'one'"),
        (YAML.replace("epochs", "epoch").format(path="x", teacher="x"),
         r"mine\.yaml:8: distill\.epoch: no such setting; did you mean 'epochs'\?"),
        (YAML.replace("local-cpu", "local-gpu").format(path="mine.yaml", teacher="x"),
         r"edgekd: devices: no 'local-gpu'; did you mean 'local-cpu'\?"),
        ("[", r"edgekd: mine\.yaml:1: not YAML"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_meant(tmp_path: Path, text: str, says: str) -> None:
    expect(build(tmp_path, text), 2, says, tmp_path)
    assert not (tmp_path / "w").exists()


def test_an_empty_split(tmp_path: Path, teacher: Path) -> None:
    np.savez(tmp_path / "data.npz", images=images(), labels=labels())
    text = YAML.format(path="data.npz", teacher=teacher).replace("test_per_class: 2", "test_per_class: 8")
    expect(build(tmp_path, text), 2, r"the train split is empty for class 0: it has 10 images, and val_per_class=2 and "
           r"test_per_class=8 leave none", tmp_path)  # fmt: skip


@pytest.mark.slow
def test_a_file_that_is_missing_or_no_archive_or_lacks_an_array(tmp_path: Path, teacher: Path) -> None:
    text = YAML.format(path="data.npz", teacher=teacher)
    expect(build(tmp_path, text), 2, r"edgekd: data\.path: data\.npz: no such file", tmp_path)
    (tmp_path / "data.npz").write_text("no archive")
    expect(build(tmp_path, text), 2, r"data\.npz: not a numpy file that can be read safely", tmp_path)
    np.savez(tmp_path / "data.npz", pictures=images(), labels=labels())
    expect(build(tmp_path, text), 2, r"data\.npz: has no array 'images', only pictures, labels", tmp_path)
    np.savez(tmp_path / "data.npz", images=images(), labels=labels()[:7])
    expect(build(tmp_path, text), 2, r"data: 20 images but 7 labels; each image needs one", tmp_path)


def test_a_pickle_in_disguise_is_not_opened(tmp_path: Path, teacher: Path) -> None:
    np.savez(tmp_path / "data.npz", images=np.array([{"evil": 1}], dtype=object), labels=labels())
    text = YAML.format(path="data.npz", teacher=teacher)
    expect(build(tmp_path, text), 2, r"not a numpy file that can be read safely", tmp_path)


@pytest.mark.slow
def test_a_teacher_with_other_classes_than_the_data(tmp_path: Path) -> None:
    shape = NetShape(stem_width=8, widths=((8, 8),), strides=(1,))
    checkpoint.save(checkpoint.build(shape, ["cat", "cow", "hen"], 1, seed=0), tmp_path / "teacher")
    np.savez(tmp_path / "data.npz", images=images(), labels=labels())
    says = r"does not know the class 'dog' of the data\. It answers with 3 classes \(cat, cow, hen\); the data has 2"
    expect(build(tmp_path, YAML.format(path="data.npz", teacher="teacher")), 2, says, tmp_path)


@pytest.mark.slow
def test_a_teacher_that_is_not_there_or_of_another_kind_or_cut_short(tmp_path: Path, teacher: Path) -> None:
    np.savez(tmp_path / "data.npz", images=images(), labels=labels())
    text = YAML.format(path="data.npz", teacher="teacher")
    weights = (teacher / "model.safetensors").read_bytes()
    tensors = load_file(teacher / "model.safetensors")
    del tensors["net.classifier.weight"]
    save_file(tensors, teacher / "model.safetensors")
    expect(build(tmp_path, text), 2, r"does not load: .*missing keys in .*net\.classifier\.weight", tmp_path)
    (teacher / "model.safetensors").write_bytes(weights[:200])
    expect(build(tmp_path, text), 2, r"teacher\.from: teacher does not load", tmp_path)
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps({**config, "model_type": "resnet"}))
    expect(build(tmp_path, text), 2, r"teacher\.from: teacher does not load", tmp_path)
    (teacher / "model.safetensors").unlink()
    expect(build(tmp_path, text), 2, r"teacher\.from: teacher has no weights \(model\.safetensors\)", tmp_path)


@pytest.mark.slow
def test_channels_that_the_preprocessing_does_not_expect(tmp_path: Path) -> None:
    shape = NetShape(stem_width=8, widths=((8, 8),), strides=(1,))
    checkpoint.save(checkpoint.build(shape, ["cat", "dog"], 3, seed=0), tmp_path / "teacher")
    x = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=x, labels=labels())
    says = r"preprocess\.mean: 1 values for images of 3 channels; one a channel"
    expect(build(tmp_path, YAML.format(path="data.npz", teacher="teacher")), 2, says, tmp_path)


def test_a_margin_that_the_test_samples_cannot_decide(tmp_path: Path, teacher: Path) -> None:
    np.savez(tmp_path / "data.npz", images=images(), labels=labels())
    text = YAML.format(path="data.npz", teacher=teacher) + "budget: {accuracy_drop_points: 1.0}\n"
    says = r"accuracy_drop_points: 1: 4 test samples cannot decide it, at least 300 are needed"
    expect(build(tmp_path, text), 5, says, tmp_path)


@pytest.mark.parametrize(("margin", "samples", "fine"), [(1.0, 300, True), (1.0, 299, False), (0.3, 1000, True)])
def test_the_least_number_of_samples_is_the_rule_of_three(margin: float, samples: int, fine: bool) -> None:
    budget = Budget(accuracy_drop_points=margin)
    if fine:
        check_decidable(budget, samples)
    else:
        with pytest.raises(InconclusiveError, match=r"at least 300 are needed; .* or a margin of 1\.01"):
            check_decidable(budget, samples)


def test_a_margin_of_nothing_is_never_decided() -> None:
    with pytest.raises(InconclusiveError, match="no number is enough"):
        check_decidable(Budget(accuracy_drop_points=0.0), 10**9)


@pytest.mark.slow
def test_a_loss_that_explodes_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path: Path, teacher: Path) -> None:
    np.savez(tmp_path / "data.npz", images=images(), labels=labels())
    text = YAML.format(path="data.npz", teacher=teacher).replace("epochs: 1", "epochs: 9, learning_rate: 1.0e+30")
    text += "search: {candidates: 4, measure: 1, space: {width_max: 24}}\nquantize: {calibration_images: 8}\n"
    says = r"training: the (loss|gradient) became (nan|inf) in epoch \d, step \d; lower learning_rate \(it peaks at 1e"
    expect(build(tmp_path, text), 2, says, tmp_path)


def test_a_loss_that_needs_one_class_is_not_for_mixed_images() -> None:
    from edgekd.pipeline import load_pipeline

    with pytest.raises(ConfigError, match=r"pld needs one class an image, which mixed ones do not have; leave"):
        load_pipeline("digits", ["distill.losses=[{name: pld}]", "views.mixup=0.2"])
    load_pipeline("digits", ["distill.losses=[{name: dist}]", "views.mixup=0.2"])


def test_a_pipeline_with_two_ways_to_a_teacher_or_none(tmp_path: Path) -> None:
    from edgekd.pipeline import load_pipeline

    with pytest.raises(ConfigError, match="teacher: give either `from` or `train`"):
        load_pipeline("digits", ["teacher.from=x"])
