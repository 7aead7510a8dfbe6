"""Teachers of every kind: they answer alike, and what does not fit is said before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import own
from helpers.listen import Said
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekd.data.stages import FolderSource, Preprocess, loading
from edgekd.deploy import hub
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError, UnavailableError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.sources import check_needs, given_teacher
from edgekd.teacher.answers import answers_of
from edgekd.teacher.given import inspect
from edgekd.teacher.labels import in_order_of
from edgekd.teacher.stages import CHECK, LOAD, CheckTeacher, Given, LoadTeacher

PREPROCESS = Preprocess(resize=(28, 28), mean=(own.MEAN,), std=(own.STD,))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    own.pictures(folder / "photos", 1000)
    own.teacher(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(home: Path) -> Artifact:
    source = FolderSource(source="folder", path=str(home / "photos"), channels=1, val_share=0.4).pinned()
    return Builder(Store(home / "workspace"), Silent()).call(*loading(source, PREPROCESS), {})


def loaded(home: Path, data: Artifact, given: Given) -> Artifact:
    return Builder(Store(home / "workspace"), Silent()).call(LOAD, LoadTeacher(given=given), {"data": data})


def checked(home: Path, data: Artifact, given: Given, preprocess: Preprocess, *, trust: bool = False) -> list[str]:
    """The sentences about a teacher."""
    said = Said()
    builder = Builder(Store(home / "workspace"), said)
    taken = builder.call(LOAD, LoadTeacher(given=given), {"data": data})
    builder.call(CHECK, CheckTeacher(preprocess=preprocess, trust=trust), {"teacher": taken, "data": data})
    return said.sentences


def module(home: Path, **changes: Any) -> Given:
    asked: dict[str, Any] = {
        "where": str(home / "teacher.py"), "weights": str(home / "teacher.safetensors"), "function": "model",
        "labels": own.NAMES, "revision": None,
    }  # fmt: skip
    return inspect(**(asked | changes))


@pytest.mark.slow
def test_one_net_as_folder_module_and_onnx_file_answers_alike(home: Path, pictures: Artifact) -> None:
    shape = NetShape(stem_width=8, stem_stride=2, widths=((8, 8),), strides=(1,))
    net = checkpoint.build(shape, sorted(own.NAMES), 1, seed=0)
    net.net.eval()
    folder = home / "one"
    folder.mkdir()
    checkpoint.save(net, folder)
    save_file({name: value.contiguous() for name, value in net.net.state_dict().items()}, home / "one.safetensors")
    (home / "one.py").write_text(
        "from edgekd.models import checkpoint\nfrom edgekd.models.shape import NetShape\n\n\ndef model():\n"
        f"    shape = NetShape(**{shape.model_dump()!r})\n    return checkpoint.build(shape, range(10), 1, 7).net\n"
    )
    graph = hub.to_onnx(net.net, torch.zeros(2, 1, 28, 28), "x", "y")
    (home / "one.onnx").write_bytes(graph.SerializeToString())
    x = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net.net(x)
    names = tuple(sorted(own.NAMES))
    for where, weights in (("one", None), ("one.py", str(home / "one.safetensors")), ("one.onnx", None)):
        given = inspect(str(home / where), weights, "model", names if weights or "." in where else (), None)
        answers = answers_of(loaded(home, pictures, given).path)(x)
        torch.testing.assert_close(answers, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_image_classifiers_of_transformers_are_teachers(home: Path, pictures: Artifact, kind: str) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    labels = {
        "id2label": dict(enumerate(reversed(own.NAMES))),
        "label2id": {n: i for i, n in enumerate(reversed(own.NAMES))},
    }
    made: Any
    if kind == "resnet":
        made = ResNetForImageClassification(
            ResNetConfig(num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", **labels)
        )
    else:
        made = ViTForImageClassification(
            ViTConfig(image_size=28, patch_size=7, num_channels=1, hidden_size=16, num_hidden_layers=1,
                      num_attention_heads=2, intermediate_size=32, **labels)
        )  # fmt: skip
    made.eval().save_pretrained(home / kind)
    given = inspect(str(home / kind), None, "model", (), None)
    assert given.gives == {"logits", "module"}
    x = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        expected = made(pixel_values=x).logits
    order = [list(reversed(own.NAMES)).index(name) for name in sorted(own.NAMES)]
    answers = answers_of(loaded(home, pictures, given).path)(x)
    torch.testing.assert_close(answers, expected[:, order], atol=1e-5, rtol=0)


def test_classes_are_brought_together_by_their_names() -> None:
    assert in_order_of(["cat", "dog"], ["Dog", "bird", "cat"]) == (2, 0)
    assert in_order_of(["a", "A"], ["A", "a"]) == (1, 0)
    with pytest.raises(ConfigError, match=r"does not know the class 'dgo' of the data; it has 'dog'"):
        in_order_of(["cat", "dgo"], ["dog", "cat"])


def test_a_good_teacher_is_told_with_its_accuracy(home: Path, pictures: Artifact) -> None:
    (told,) = checked(home, pictures, module(home), PREPROCESS)
    assert re.fullmatch(r"the teacher is right on [89]\d\.\d % of val \(n 40\d\)", told)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.9,), (0.1,)), ((3.0,), (0.31,))], ids=["another deviation", "another mean"]
)
def test_wrong_normalisation_is_called_out_with_what_would_be_better(
    home: Path, pictures: Artifact, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    wrong = PREPROCESS.model_copy(update={"mean": mean, "std": std})
    with pytest.raises(ConfigError, match=r"something is off: with .* right \+.* more often: preprocess: {mean:"):
        checked(home, pictures, module(home), wrong)
    trusted = checked(home, pictures, module(home), wrong, trust=True)
    assert "something is off with the teacher: with" in trusted[1]


def test_classes_in_another_order_are_called_out(home: Path, pictures: Artifact) -> None:
    swapped = (own.NAMES[1], own.NAMES[0], *own.NAMES[2:8], own.NAMES[9], own.NAMES[8])
    with pytest.raises(ConfigError, match=r"classes seem to be in another order: it says .*'one' for 'zero'"):
        checked(home, pictures, module(home, labels=swapped), PREPROCESS)


def test_a_teacher_that_guesses_is_called_out_with_the_usual_reasons(home: Path, pictures: Artifact) -> None:
    torch.manual_seed(1)
    fresh = own.net()
    save_file(fresh.state_dict(), home / "fresh.safetensors")
    with pytest.raises(ConfigError, match="always answering the most frequent class would be right on"):
        checked(home, pictures, module(home, weights=str(home / "fresh.safetensors")), PREPROCESS)


def _missing(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != "0.bias"}


def _excess(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"9.weight": torch.zeros(1)}


def _other_shape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"0.bias": torch.zeros(3)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_missing, r"weights\.safetensors lacks 0\.bias; are they of this module"),
        (_excess, r"weights\.safetensors has in excess 9\.weight; are they of this module"),
        (_other_shape, r"0\.bias is \[3\] in weights\.safetensors, the module has \[12\]"),
    ],
)
def test_weights_of_another_module_are_named(
    home: Path, pictures: Artifact, tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], says: str
) -> None:
    save_file(change(load_file(home / "teacher.safetensors")), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=says):
        loaded(home, pictures, module(home, weights=str(tmp_path / "w.safetensors")))


def test_tensors_of_a_pt_file_are_read_and_code_in_it_is_not(home: Path, pictures: Artifact, tmp_path: Path) -> None:
    torch.save(load_file(home / "teacher.safetensors"), tmp_path / "w.pt")  # noqa: TID251  as people have it
    loaded(home, pictures, module(home, weights=str(tmp_path / "w.pt")))
    torch.save(own.net(), tmp_path / "whole.pt")  # noqa: TID251  a pickled module
    with pytest.raises(ConfigError, match=r"weights\.pt is no file of tensors that can be read safely"):
        loaded(home, pictures, module(home, weights=str(tmp_path / "whole.pt")))


@pytest.mark.parametrize(
    ("code", "function", "says"),
    [
        ("def make():\n    return 3\n", "make", r"teacher\.function: make\(\) gives a int, and no torch module"),
        ("def modle():\n    pass\n", "model", r"has no function 'model'; did you mean 'modle'\?"),
        ("1 / 0\n", "model", "fails when it runs: ZeroDivisionError"),
    ],
)
def test_a_module_file_that_gives_no_module_is_named(
    home: Path, pictures: Artifact, tmp_path: Path, code: str, function: str, says: str
) -> None:
    (tmp_path / "t.py").write_text(code)
    with pytest.raises(ConfigError, match=says):
        loaded(home, pictures, module(home, where=str(tmp_path / "t.py"), function=function))


@pytest.mark.slow
def test_a_teacher_with_fewer_classes_is_refused(home: Path, pictures: Artifact) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3))[:, None].expand(-1, 2) * 1.0

    (home / "two.onnx").write_bytes(hub.to_onnx(Two(), torch.zeros(2, 1, 28, 28), "x", "y").SerializeToString())
    with pytest.raises(ConfigError, match=r"answers \[2, 2\] for two pictures, the data has 10 classes"):
        loaded(home, pictures, inspect(str(home / "two.onnx"), None, "model", (), None))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"where": "nowhere"}, "no such folder; a folder of transformers, .onnx, .py or a hub name"),
        ({"where": "nowhere.py"}, r"teacher\.from: nowhere\.py: no such file"),
        ({"where": "nowhere.onnx", "weights": None}, r"teacher\.from: nowhere\.onnx: no such file"),
        ({"weights": "w.bin5"}, r"\.safetensors, or \.pt with tensors alone, are read"),
        ({"where": "one.onnx"}, "an ONNX file has its own; leave them out"),
    ],
)
def test_a_teacher_that_is_not_there_is_named(home: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        module(home, **({"weights": None} | changes if changes.get("where") == "nowhere" else changes))


def test_a_hub_name_that_was_never_fetched_says_how_to_fetch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"somebody/some-net is no folder here .*HF_HUB_OFFLINE=0 lets"):
        inspect("somebody/some-net", None, "model", (), None)


def pipeline(home: Path, *more: str) -> Pipeline:
    return load_pipeline("digits", ["teacher.train=", f"teacher.from={home / 'teacher.onnx'}", *more])


def test_what_a_score_or_loss_needs_and_the_teacher_does_not_give_is_said_before_anything_runs(home: Path) -> None:
    graph = hub.to_onnx(own.net().eval(), torch.zeros(2, 1, 28, 28), "x", "y")
    (home / "teacher.onnx").write_bytes(graph.SerializeToString())
    given = given_teacher(pipeline(home))
    assert given is not None
    assert given.gives == {"logits"}
    with pytest.raises(ConfigError, match=r"search\.rank: diswot needs the teacher's shape as one of edgekd's nets"):
        given_teacher(pipeline(home, "search.rank=[diswot]"))
    with pytest.MonkeyPatch.context() as patch:  # a loss on features, as they need it
        patch.setattr("edgekd.train.losses.settings.KdLoss.needs", frozenset({"module"}))
        with pytest.raises(ConfigError, match=r"losses: kd needs the teacher's layers, and .* \(onnx\) gives logits"):
            check_needs(pipeline(home), given)


def test_a_picture_of_the_person_stays_out_of_what_is_kept_of_a_teacher(home: Path, pictures: Artifact) -> None:
    folder = loaded(home, pictures, module(home)).path
    assert {path.name for path in folder.iterdir()} == {"teacher.json", "model.py", "weights.safetensors", "size.json"}
