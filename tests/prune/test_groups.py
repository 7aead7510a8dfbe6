"""Nets of another family: channels that go together are found by following the net, and go as if they were silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from edgekd.engine.digest import digest_file
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.models import checkpoint, foreign
from edgekd.models.foreign import Answering, Foreign
from edgekd.models.structure import Structure
from edgekd.prune.groups import gradients_of, heads_of, least, needed, smaller, widths
from edgekd.prune.shares import chosen_share

CODE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.mixed = nn.Sequential(nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.fixed = nn.Conv2d(24, 8, 1)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = self.stem(x)
        x = (x + self.first(x)).relu()
        x = self.fixed(self.mixed(self.depth(x)))
        return self.head(x.reshape(len(x), 8, 4).flatten(1))


def model():
    return Net()
"""


def lively(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_var is not None
            assert layer.running_mean is not None
            layer.weight.data.uniform_(0.5, 1.5, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.bias.data.normal_(0, 0.3, generator=generator)
    return net.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of a person's own module."""
    place = tmp_path / "own"
    place.mkdir()
    (place / "model.py").write_text(CODE, "utf-8")
    about = Foreign(kind="module", order=None, code_sha256=digest_file(place / "model.py"))
    torch.manual_seed(0)
    net = Answering(foreign.module_net(place, about), None)
    (place / "teacher.json").write_text(about.model_dump_json(), "utf-8")
    foreign.save(Answering(lively(net.net), None), place, place.parent)
    for name in ("weights.safetensors", "teacher.json"):
        (place.parent / name).rename(place / name)
    return place


def x_of(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_what_the_answer_is_made_of_and_what_the_code_counts_on_stays(folder: Path) -> None:
    net = checkpoint.net_of(folder)
    assert sorted(needed(net, x_of(2), 4)) == ["net.fixed", "net.head"]


@pytest.mark.parametrize("by", ["magnitude", "taylor", "uniform"])
def test_fewer_channels_go_in_whole_steps_and_together(folder: Path, by: str) -> None:
    net = checkpoint.net_of(folder)
    labels = torch.arange(4) % 5
    gradients = gradients_of(net, x_of(), labels, 3) if by == "taylor" else {}
    found = smaller(net, x_of(2), 0.5, 4, by, needed(net, x_of(2), 4), gradients)  # type: ignore[arg-type]
    now = widths(found)
    assert now["net.stem.0"] == now["net.first.0"] == now["net.depth"] < 16  # they are added, channel by channel
    assert now["net.mixed.0"] <= 24
    assert (now["net.fixed"], now["net.head"]) == (8, 5)
    assert all(count % 4 == 0 for name, count in now.items() if name != "net.head")
    assert widths(net)["net.stem.0"] == 16  # what it was made of is as it was
    assert found(x_of()).shape == (4, 5)


def test_removal_equals_silence(folder: Path) -> None:
    """The channels of least weight are silent in the whole net: without them it answers the same, to 1e-5."""
    net = checkpoint.net_of(folder)
    quiet = torch.tensor([1, 4, 5, 11])
    with torch.no_grad():
        for name in ("stem", "first"):
            layer, norm = net.get_submodule(f"net.{name}.0"), net.get_submodule(f"net.{name}.1")
            for parameter in (layer.weight, layer.bias, norm.weight, norm.bias):
                assert isinstance(parameter, nn.Parameter)
                parameter[quiet] = 0
        depth = net.get_submodule("net.depth")
        for parameter in (depth.weight, depth.bias):
            assert isinstance(parameter, nn.Parameter)
            parameter[quiet] = 0
    found = smaller(net, x_of(2), 0.25, 4, "uniform", [*needed(net, x_of(2), 4), "net.mixed.0"], {})
    assert widths(found)["net.stem.0"] == 12
    torch.testing.assert_close(found(x_of()), net(x_of()), atol=1e-5, rtol=1e-5)


def test_a_smaller_module_is_its_code_its_structure_and_its_weights(folder: Path, tmp_path: Path) -> None:
    net = checkpoint.net_of(folder)
    found = smaller(net, x_of(2), 0.5, 4, "magnitude", needed(net, x_of(2), 4), {})
    assert isinstance(found, Answering)
    out = tmp_path / "out"
    out.mkdir()
    foreign.save(found, folder, out)
    assert {path.name for path in out.iterdir()} == {
        "model.py",
        "structure.json",
        "teacher.json",
        "weights.safetensors",
    }
    again = checkpoint.net_of(out)
    torch.testing.assert_close(again(x_of()), found(x_of()))
    told = json.loads((out / "structure.json").read_text())
    assert told["layers"]["stem.0"]["out_channels"] == widths(found)["net.stem.0"]
    assert (out / "weights.safetensors").stat().st_size < (folder / "weights.safetensors").stat().st_size
    told["tensors"]["stem.0.weight"][0] += 1  # weights of another width
    (out / "structure.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"teacher\.weights: stem\.0\.weight is \[\d+, 3, 3, 3\] in weights"):
        checkpoint.net_of(out)


def test_a_structure_sets_sizes_of_layers_and_nothing_else() -> None:
    with pytest.raises(ValidationError, match="forward"):
        Structure.model_validate_json('{"layers": {"conv": {"forward": 3}}, "tensors": {}}')


def test_a_net_of_transformers_is_its_config_its_structure_and_its_weights(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=5
    )  # fmt: skip
    model: Any = lively(ResNetForImageClassification(config))
    model.save_pretrained(source)
    (source / "teacher.json").write_text(Foreign(kind="transformers", order=None).model_dump_json(), "utf-8")
    net, x = checkpoint.net_of(source), torch.randn(4, 3, 32, 32)
    kept = needed(net, x[:2], 4)
    assert kept == ["net.classifier.1"]
    found = smaller(net, x[:2], 0.5, 4, "magnitude", kept, {})
    assert isinstance(found, Answering)
    foreign.save(found, source, out)
    torch.testing.assert_close(checkpoint.net_of(out)(x), found(x))
    assert sum(p.numel() for p in found.parameters()) < 0.6 * sum(p.numel() for p in net.parameters())


def transformer() -> tuple[nn.Module, Tensor]:
    config = ViTConfig(
        image_size=16, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        num_labels=5, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    return Answering(ViTForImageClassification(config), None).eval(), torch.randn(4, 3, 16, 16)


def test_of_a_transformer_units_and_whole_heads_go_and_no_parts_of_heads() -> None:
    """A layer norm reads all of the stream, and attention counts on whole heads."""
    net, x = transformer()
    kept = needed(net, x[:2], 8)
    heads = heads_of(net, x[:2], kept)
    assert list(heads.values()) == [8, 8]  # one of each layer's three projections stands for all
    found = smaller(net, x[:2], 0.5, 8, "magnitude", kept, {}, heads)
    before, after = widths(net), widths(found)
    narrower = {name.removeprefix("net.vit.layers.") for name in before if after[name] < before[name]}
    projections = {f"{layer}.attention.{one}_proj" for layer in (0, 1) for one in "qkv"}
    assert narrower - projections == {"0.mlp.fc1", "1.mlp.fc1"}
    left = [after[f"net.vit.layers.{layer}.attention.{one}_proj"] for layer in (0, 1) for one in "qkv"]
    assert sum(left) == 3 * 2 * 32 / 2
    assert all(count in (8, 16, 24) for count in left)
    assert found(x).shape == (4, 5)
    without = smaller(net, x[:2], 0.5, 8, "magnitude", kept, {})
    assert not projections & {name.removeprefix("net.vit.layers.") for name in before if widths(without)[name] < 32}


@pytest.mark.parametrize("by", ["uniform", "taylor"])
def test_a_head_that_says_nothing_goes_first_and_the_net_answers_the_same(by: str) -> None:
    net, x = transformer()
    attention: Any = net.get_submodule("net.vit.layers.1.attention")
    with torch.no_grad():
        for one in (attention.q_proj, attention.k_proj, attention.v_proj):
            one.weight[16:24] = one.bias[16:24] = 0
        attention.o_proj.weight[:, 16:24] = 0
    kept = needed(net, x[:2], 8)
    heads = {name: size for name, size in heads_of(net, x[:2], kept).items() if ".1." in name}
    kept = [name for name in widths(net) if "mlp" in name] + kept
    gradients = gradients_of(net, x, torch.arange(4) % 5, 4) if by == "taylor" else {}
    found = smaller(net, x[:2], 0.25, 8, by, kept, gradients, heads)  # type: ignore[arg-type]
    assert widths(found)["net.vit.layers.1.attention.q_proj"] == 24
    torch.testing.assert_close(found(x), net(x), atol=1e-5, rtol=1e-5)


def test_a_transformer_without_heads_is_its_config_its_structure_and_its_weights(tmp_path: Path) -> None:
    net, x = transformer()
    assert isinstance(net, Answering)
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    whole: Any = net.net
    whole.save_pretrained(source)
    (source / "teacher.json").write_text(Foreign(kind="transformers", order=None).model_dump_json(), "utf-8")
    kept = needed(net, x[:2], 8)
    found = smaller(net, x[:2], 0.5, 8, "magnitude", kept, {}, heads_of(net, x[:2], kept))
    assert isinstance(found, Answering)
    foreign.save(found, source, out)
    torch.testing.assert_close(checkpoint.net_of(out).eval()(x), found(x))


def test_of_heads_the_least_go_wherever_they_are_and_never_the_last_of_a_layer() -> None:
    worth = {"a": [1.0, 4.0, 2.0], "b": [0.1, 0.2, 0.3]}
    assert least(worth, 0.5, evenly=False) == {"b": [0, 1], "a": [0]}  # not b's third, which is its last
    assert least(worth, 0.34, evenly=True) == {"a": [0], "b": [0]}
    assert least(worth, 1.0, evenly=False) == {"b": [0, 1], "a": [0, 2]}
    assert least(worth, 0.1, evenly=True) == {}


def test_a_net_whose_code_counts_on_every_width_is_refused() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.conv(x).reshape(len(x), 8, 144).mean(2))
            return out

    with pytest.raises(UnsupportedError, match=r"prune: Fixed: its code counts on the width of every layer"):
        needed(Fixed().eval(), x_of(2), 4)


POINTS = [
    {"share": 0.2, "measured": 0.9, "parameters": 0.8},
    {"share": 0.4, "measured": 0.95, "parameters": 0.6},  # odd widths are slower
    {"share": 0.6, "measured": 0.5, "parameters": 0.3},
    {"share": 0.8, "measured": 0.3, "parameters": 0.1},
]


def test_the_largest_net_that_was_measured_to_be_fast_enough_is_taken() -> None:
    assert chosen_share(POINTS, 0.92, 1.0)["share"] == 0.2
    assert chosen_share(POINTS, 0.6, 1.0)["share"] == 0.6
    assert chosen_share(POINTS, 0.92, 0.2)["share"] == 0.8
    with pytest.raises(
        ConfigError, match=r"prune: latency_ratio 0.2: the smallest net that this gives still takes 0.30"
    ):
        chosen_share(POINTS, 0.2, 1.0)
    with pytest.raises(ConfigError, match=r"prune: parameters_ratio 0.05: the smallest net .* still has 0.10"):
        chosen_share(POINTS, 0.9, 0.05)
    with pytest.raises(UnsupportedError, match=r"prune: in steps so large no channels of this net can go"):
        chosen_share([], 0.9, 1.0)
