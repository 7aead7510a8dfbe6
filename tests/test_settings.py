"""Errors name the file, the line, the key, its value and the way out; people read them more often than the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.resources import find
from edgekd.search.spaces import PlainCnnSpace
from edgekd.settings import override, read_yaml, validate

DIGITS = find("pipelines", "digits").read_text("utf-8")


def test_a_space_without_a_name_is_the_one_that_was_there_first() -> None:
    assert load_pipeline("digits", ["search.space={width_max: 24}"]).search.space.name == "residual-cnn"
    assert isinstance(load_pipeline("digits", ["search.space=plain-cnn"]).search.space, PlainCnnSpace)


def edited(old: str, new: str) -> str:
    assert old in DIGITS
    return DIGITS.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            edited("temperature:", "temprature:"),
            r"my\.yaml:\d+: distill\.losses\.0\.temprature: no such setting; did you mean 'temperature'\?",
        ),
        (edited("epochs: 20", "epochs: 'many'"), r"my\.yaml:\d+: distill\.epochs: expected .*integer, got 'many'"),
        (
            edited("epochs: 20", "epochs: 0"),
            r"my\.yaml:\d+: distill\.epochs: expected greater than or equal to 1, got 0",
        ),
        (edited("epochs: 20", "epochs: true"), r"my\.yaml:\d+: distill\.epochs: expected .*integer, got True"),
        (edited("epochs: 20", "epochs: 20\n  epochs: 21"), r"my\.yaml:\d+: found duplicate key .epochs."),
        (
            edited("name: kd,", "name: kdd,"),
            r"my\.yaml:\d+: distill\.losses\.0: no 'kdd'; did you mean 'kd'\? there are kd, cross",
        ),
        (edited("candidates: 200", "candidates: 3"), r"my\.yaml: \(top level\): search\.measure 16 is more than"),
        (edited("targets: [local-cpu]", ""), r"my\.yaml: targets: required, and not there"),
        (edited("temperature: 4.0", "temperature: .inf"), r"my\.yaml:\d+: distill\.losses\.0\.temperature: .*finite"),
        ("a: [1, 2", r"my\.yaml:\d+: not YAML: "),
        ("- a", r"my\.yaml: expected a mapping of settings, got \['a'\]"),
        ("when: 2026-01-01", r"my\.yaml: .* is no setting; quote it if it is text"),
    ],
)
def test_a_mistake_is_named_where_it_stands(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?m)^{message}"):
        validate(Pipeline, read_yaml(text, "my.yaml"), "my.yaml")


def test_one_mistake_is_one_line() -> None:
    """A list is not also too short because what is wrong in it was left out."""
    for mistake in ("{name: kdd}", "{name: kd, temp: 3}"):
        with pytest.raises(ConfigError, match=r"^digits: distill\.losses\.0.*$") as caught:
            load_pipeline("digits", [f"distill.losses=[{mistake}]"])
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=r"distill\.losses: expected .*at least 1 item"):
        load_pipeline("digits", ["distill.losses=[]"])


def test_aliases_that_expand_without_end_are_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    with pytest.raises(ConfigError, match=r"my\.yaml: its aliases expand to more than 20000 values"):
        read_yaml(bomb, "my.yaml")


def test_yaml_is_1_2_where_a_ratio_is_no_number_and_no_is_no_false() -> None:
    tree = read_yaml("sparsity: 2:4\nrate: 1e-3\nanswer: no\n", "my.yaml")
    assert (tree["sparsity"], tree["rate"], tree["answer"]) == ("2:4", 0.001, "no")


def test_set_overrides_inside_lists() -> None:
    assert load_pipeline("digits", ["distill.losses.0.temperature=2"]).distill.losses[0].temperature == 2.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("distill.epochs", r"--set distill\.epochs: write it as key\.path=value"),
        ("distill.losses.7.weight=1", r"distill\.losses\.7: this list has the items 0 to 1"),
        ("name.first=1", r"--set name\.first=1: name is 'digits', which has no 'first'"),
        ("distill.epoch=1", r"digits: distill\.epoch: no such setting; did you mean 'epochs'\?"),
        ("distill.epochs=many", r"digits: distill\.epochs: expected .*integer, got 'many'"),
        ("teacher.form=x", r"digits: teacher\.form: no such setting; did you mean 'from'\?"),
        ("schema=2", r"digits: schema 2 of a pipeline file is newer than this edgekd reads"),
    ],
)
def test_a_bad_override_is_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_pipeline("digits", [assignment])


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"my\.yaml: not UTF-8 text: .* at byte 6"):
        load_pipeline(str(tmp_path / "my.yaml"))


def test_the_example_of_the_format_loads_with_its_short_forms(tmp_path: Path) -> None:
    (tmp_path / "Mine.yaml").write_text(
        """
task: image-classification
data: {source: digits}
preprocess: {layout: NHWC, dtype: uint8, resize: [28, 28], mean: [0.13], std: [0.31]}
teacher: {train: {epochs: 12}}
targets: [local-cpu]
budget: {accuracy_drop_points: 1.0, latency_p50_ms: 0.2, size_mib: 1.0}
search: {space: residual-cnn, rank: [synflow, params], candidates: 200}
distill: {losses: [{name: kd, temperature: 4.0, weight: 0.9}, {name: cross-entropy, weight: 0.1}], epochs: 20}
quantize: {first: ptq, then: qat}
sparsity: none
"""
    )
    loaded = load_pipeline(str(tmp_path / "Mine.yaml"))
    assert loaded.name == "mine"
    assert loaded.search.space.name == "residual-cnn"
    assert loaded.teacher.shape.widths


def test_set_makes_a_missing_section() -> None:
    tree = read_yaml("a: 1", "x")
    override(tree, "b.c=2")
    assert tree == {"a": 1, "b": {"c": 2}}


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"pipelines: no 'digit'; did you mean 'digits'\?"):
        load_pipeline("digit")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_pipeline("nowhere.yaml")


def test_a_time_budget_shortens_studies_and_supernets_too() -> None:
    study = load_pipeline("digits", ["search.study={trials: 100}"]).scaled(0.25)
    assert study.search.study is not None
    assert study.search.study.trials == 25
    whole = load_pipeline("digits", ["search.supernet={epochs: 20}"]).scaled(0.25)
    assert whole.search.supernet is not None
    assert whole.search.supernet.epochs == 5
