"""A classifier learns in stages, each an entry, and a killed run ends with the weights of an undisturbed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import bert
from torch import Tensor

from edgekd.engine.events import Progress, Silent
from edgekd.errors import ConfigError
from edgekd.settings import validate
from edgekd.text import folders, staging, train
from edgekd.text.settings import FOUR_STAGES, TextStage, TextTraining
from edgekd.text.staging import Teachers, Texts, staged
from edgekd.text.tokens import tokenize
from edgekd.text.truncate import by_magnitude, truncated

WORDS = ["cat", "dog", "mat", "road", "file", "red", "blue", "sat", "ran", "read", "write", "open"]
TRAIN = TextTraining(epochs=4, batch=16, learning_rate=3e-3, threads=1)
STAGES = tuple(
    stage.model_copy(update={"learn": stage.learn.model_copy(update={"train": TRAIN})}) for stage in FOUR_STAGES
)
SILENT = Progress(Silent())


def drawn(count: int, seed: int) -> list[str]:
    rows = torch.randint(12, (count, 5), generator=torch.Generator().manual_seed(seed)).tolist()
    return [" ".join(WORDS[n] for n in row) for row in rows]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Texts, Teachers]:
    folder = bert.folder(tmp_path_factory.mktemp("bert"))
    pretrained = folders.load(folder)
    task = drawn(96, 1)
    reds = torch.tensor([int("red" in text) for text in task])
    texts = Texts(tokenize(drawn(96, 0), folder, 16), tokenize(task, folder, 16), reds)
    whole = pretrained.net.shape
    tuned = truncated(pretrained, whole, (0, 1, 2), by_magnitude(pretrained.net), ("no", "yes"))
    tuning = STAGES[-1].learn.model_copy(update={"losses": STAGES[-1].learn.losses[-1:]})
    train.teach(tuned, texts.task, reds, tuning, tmp_path_factory.mktemp("tuned"), SILENT)
    return texts, Teachers(pretrained, tuned)


def run(given: tuple[Texts, Teachers], scratch: Path) -> dict[str, Tensor]:
    texts, teachers = given
    shape = teachers.tuned.net.shape.model_copy(update={"heads": (4,), "units": (24,)})
    model = truncated(teachers.tuned, shape, (2,), by_magnitude(teachers.tuned.net), ("no", "yes"))
    staged(model, STAGES, texts, teachers, scratch, SILENT)
    return model.net.state_dict()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("dies_in", [1, 3, 4])
def test_a_run_killed_in_any_stage_goes_on(
    given: tuple[Texts, Teachers], tmp_path: Path, dies_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, taught = run(given, tmp_path / "whole"), iter(range(1, 9))
    teach = train.teach

    def dying(*args: Any, **more: Any) -> Any:
        if next(taught) == dies_in:
            raise KilledError
        return teach(*args, **more)

    monkeypatch.setattr(staging, "teach", dying)
    with pytest.raises(KilledError):
        run(given, tmp_path / "killed")
    assert len(list((tmp_path / "killed").glob(f"*/{staging.DONE}"))) == dies_in - 1
    monkeypatch.undo()
    resumed = run(given, tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_four_stages_teach_the_task(given: tuple[Texts, Teachers], tmp_path: Path) -> None:
    texts, teachers = given
    shape = teachers.tuned.net.shape.model_copy(update={"heads": (4,), "units": (24,)})
    model = folders.build(shape, 0, ("no", "yes"))
    staged(model, STAGES, texts, teachers, tmp_path, SILENT)
    right = (train.answers(model, texts.task).argmax(1) == texts.labels).float().mean()
    assert right > 0.9


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"text": "general", "learn": {"losses": [{"name": "kd"}]}}, "stage 1: kd needs the task's classes"),
        ({"text": "general", "learn": {}}, "stage 1: cross-entropy needs the task's classes"),
        (
            {"text": "task", "teacher": "pretrained", "learn": {"losses": [{"name": "kd"}]}},
            "stage 1: kd needs a teacher of the classes; set teacher to tuned",
        ),
    ],
)
def test_a_stage_that_cannot_be_is_refused_before_training(
    given: tuple[Texts, Teachers], tmp_path: Path, told: dict[str, Any], said: str
) -> None:
    stage = validate(TextStage, told, "my.yaml")
    with pytest.raises(ConfigError, match=said):
        staged(given[1].tuned, [stage], *given, tmp_path, SILENT)
