"""`edgekd prune` on real digits: as fast as asked, measured, and a folder that loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from helpers import own

from edgekd.cutting import weighed
from edgekd.deploy.hub import to_onnx
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.models import checkpoint
from edgekd.pipeline import load_pipeline
from edgekd.pruning import Pruning, prune_net, ratios_of

QUICK = str(Path(__file__).parent.parent / "micro-cpu.yaml")
SHAPE = "{stem_width: 16, stem_stride: 2, widths: [[32, 32], [32, 32], [64, 64], [64, 64]], strides: [1, 1, 2, 1]}"
SMALL = ("--target", QUICK, "--set", "teacher.train.epochs=2", "--set", f"teacher.shape={SHAPE}",
         "--set", "distill.epochs=1", "--set", "distill.precision=float32")  # fmt: skip


def edgekd(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgekd", "prune", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "200", "EDGEKD_HOME": str(folder / "home")},
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
def test_two_latencies_come_from_one_look_and_are_met_by_measurement(tmp_path: Path) -> None:
    told = json.loads(edgekd(tmp_path, "digits", "--latency-ratio", "0.9,0.7", *SMALL, "--json").stdout)["report"]
    again = edgekd(tmp_path, "digits", "--latency-ratio", "0.9,0.7", *SMALL)
    assert "0 stages ran" in again.stderr
    for ratio in (0.9, 0.7):
        row, variant = told["pruned"][f"{ratio:g}"], told["variants"][f"{ratio:g}"]
        faster, low, high = row["times_faster"]
        assert low <= faster <= high
        assert 0.75 * ratio < 1 / faster < 1.25 * ratio
        assert row["after"]["parameters"] < row["before"]["parameters"]
        assert variant["size_bytes"] < told["variants"]["teacher-int8"]["size_bytes"]
        change = row["change_points"]["teacher-int8"][0]
        apart = variant["accuracy_test_percent"][0] - told["variants"]["teacher-int8"]["accuracy_test_percent"][0]
        assert change == pytest.approx(apart)  # below 0 where the smaller net is right less often
        assert change > -10
        folder = tmp_path / "pruned" / f"{ratio:g}"
        net = checkpoint.load(folder / "checkpoint")
        assert sum(p.numel() for p in net.parameters()) == row["after"]["parameters"]
        session = ort.InferenceSession(folder / "model.onnx")
        (logits,) = session.run(None, {"pixel_values": torch.zeros(2, 1, 28, 28).numpy()})
        assert logits.shape == (2, 10)
    assert told["pruned"]["0.7"]["after"]["macs"] < told["pruned"]["0.9"]["after"]["macs"]
    assert "| 0.7 | latency | 0.7 |" in (tmp_path / "pruned" / "pruned.md").read_text()
    assert {row["int8"]["by"] for row in told["pruned"].values()} <= {"ptq", "qat"}
    refused = edgekd(tmp_path, "digits", "--latency-ratio", "0.01", *SMALL, code=2)
    assert "prune: latency_ratio 0.01: the smallest net that this gives still takes 0." in refused.stderr
    few = edgekd(tmp_path, "digits", "--latency-ratio", "0.9", "--parameters-ratio", "0.01", *SMALL, code=2)
    assert "prune: parameters_ratio 0.01: the smallest net that this gives still has 0." in few.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    kept = edgekd(tmp_path, "digits", "--latency-ratio", "0.7", *SMALL, "--out", "mine", code=2)
    assert "--out mine: is there and nothing that edgekd prune left" in kept.stderr


@pytest.mark.nightly
def test_a_module_of_ones_own_is_cut_taught_and_measured(tmp_path: Path) -> None:
    """Its code is run only where that is allowed; what is left is that code, how wide it is, and weights."""
    own.teacher(tmp_path, width=48)
    mine = ("--target", QUICK, "--set", "teacher={from: teacher.py, weights: teacher.safetensors}",
            "--set", "distill.epochs=1", "--set", "distill.precision=float32")  # fmt: skip
    refused = edgekd(tmp_path, "digits", "--latency-ratio", "0.6", *mine, code=2)
    assert "teacher.py: is code, which edgekd runs only with --allow-code" in refused.stderr
    told = json.loads(edgekd(tmp_path, "digits", "--latency-ratio", "0.8,0.6", *mine, "--allow-code", "--json").stdout)[
        "report"
    ]
    for ratio, row in told["pruned"].items():
        folder = tmp_path / "pruned" / ratio
        assert row["predicted_ratio"] <= float(ratio)  # it was measured before it was taught
        assert row["by"] == "taylor"
        assert row["units"]["net.0"] <= row["of"]["net.0"] == 48
        assert row["change_points"]["teacher-int8"][0] > -5
        net = checkpoint.net_of(folder / "checkpoint")
        assert sum(p.numel() for p in net.parameters()) == row["after"]["parameters"] < row["before"]["parameters"]
        assert {"model.py", "structure.json", "weights.safetensors"} <= {
            p.name for p in (folder / "checkpoint").iterdir()
        }
        session = ort.InferenceSession(folder / "model.onnx")
        images = torch.rand(2, 1, 28, 28).numpy()
        (logits,) = session.run(None, {"pixel_values": images})
        assert logits.shape == (2, 10)
        assert {node.op_type for node in onnx.load(folder / "model.onnx").graph.node} >= {"QuantizeLinear"}
    stages = edgekd(tmp_path, "digits", "--latency-ratio", "0.6", *mine, "--allow-code", "--stages", code=2)
    assert "prune: --stages: is for nets of edgekd's own family so far; leave it out" in stages.stderr


@pytest.mark.nightly
def test_what_is_cut_goes_on_under_fake_quantisation_where_ptq_misses_the_margin(tmp_path: Path) -> None:
    """And the better file on val is left."""
    eager = ("--set", "quantize.margin_points=-100", "--set", "quantize.qat.epochs=1", "--out", "eager")
    told = json.loads(edgekd(tmp_path, "digits", "--latency-ratio", "0.7", *SMALL, *eager, "--json").stdout)["report"]
    (row,) = told["pruned"].values()
    val = row["int8"]["val_percent"]
    assert set(val) == {"fp32", "ptq", "qat"}
    assert row["int8"]["by"] == ("qat" if val["qat"] > val["ptq"] else "ptq")
    text = (tmp_path / "eager" / "pruned.md").read_text()
    assert f"the margin is -100: QAT runs. Right on val: fp32 {val['fp32']:.2f} %, ptq" in text
    integers = onnx.load(tmp_path / "eager" / "0.7" / "model.onnx").graph
    assert "QuantizeLinear" in {node.op_type for node in integers.node}
    off = ("--set", "quantize.then=none", "--out", "off")
    told = json.loads(edgekd(tmp_path, "digits", "--latency-ratio", "0.7", *SMALL, *off, "--json").stdout)["report"]
    assert told["pruned"]["0.7"]["int8"] == {"by": "ptq", "why": "quantize.then is none", "val_percent": {}}


@pytest.mark.nightly
def test_a_simpler_way_is_held_against_what_the_latency_chose(tmp_path: Path) -> None:
    odd = edgekd(tmp_path, "digits", "--latency-ratio", "0.9", "--by", "luck", code=2)
    assert "'luck': latency, width, depth, uniform, magnitude" in odd.stderr
    ways = ("--by", "uniform", "--by", "depth")
    told = json.loads(edgekd(tmp_path, "digits", "--latency-ratio", "0.9", *ways, *SMALL, "--json").stdout)
    rows, variants = told["report"]["pruned"], told["report"]["variants"]
    assert list(rows) == ["0.9-latency", "0.9-uniform", "0.9-depth"]
    whole = rows["0.9-depth"]["of"]
    assert all(count in (0, whole[place]) for place, count in rows["0.9-depth"]["units"].items())
    apart = rows["0.9-uniform"]["change_points"]["0.9-latency"][0]
    right = {name: variants[name]["accuracy_test_percent"][0] for name in rows}
    assert apart == pytest.approx(right["0.9-uniform"] - right["0.9-latency"])
    assert "0.9-latency" not in rows["0.9-latency"]["change_points"]
    assert "0.9-uniform against 0.9-latency: " in (tmp_path / "pruned" / "pruned.md").read_text()
    assert 0 < variants["0.9-latency"]["compressed_bytes"] < variants["0.9-latency"]["size_bytes"]


@pytest.mark.nightly
def test_in_rounds_what_was_cut_and_taught_is_cut_again(tmp_path: Path) -> None:
    """Whole stages too; what is told is of the whole net."""
    way = ("--latency-ratio", "0.5", "--stages", "--rounds", "2")
    told = json.loads(edgekd(tmp_path, "digits", *way, *SMALL, "--json").stdout)["report"]
    (row,) = told["pruned"].values()
    assert (row["rounds"], row["ratio"]) == (2, pytest.approx(0.5))
    assert any(place.startswith("stream") for place in row["units"])
    net = checkpoint.load(tmp_path / "pruned" / "0.5" / "checkpoint")
    assert sum(p.numel() for p in net.parameters()) == row["after"]["parameters"] < 0.7 * row["before"]["parameters"]
    assert row["before"]["parameters"] == 165_626
    assert row["change_points"]["teacher-int8"][0] > -10


@pytest.mark.parametrize(
    ("ratios", "assignments", "sentence"),
    [
        ((1.0,), (), r"prune: latency_ratio 1: a share of the whole net's latency, between 0 and 1"),
        ((0.5, -1), (), r"prune: latency_ratio -1: a share"),
        ((0.5, 0.5000001), (), r"0.5, 0.5000001: two are hardly apart; leave one out"),
        ((0.5,), ("distill.assistant=auto",), r"prune: distill.assistant: the whole net alone teaches"),
        ((0.5,), ("distill.start=teacher",), r"goes on from its own weights; leave distill.start"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    tmp_path: Path, ratios: tuple[float, ...], assignments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        prune_net(load_pipeline("digits", list(assignments)), Pruning(ratios), out=tmp_path / "o", workspace=tmp_path)
    assert not (tmp_path / "o").exists()


def test_an_onnx_file_has_no_layers_to_cut(tmp_path: Path) -> None:
    module = own.net().eval()
    onnx.save(to_onnx(module, torch.zeros(2, 1, 28, 28), "x", "y"), tmp_path / "t.onnx")
    pipeline = load_pipeline("digits", [f"teacher={{from: {tmp_path / 't.onnx'}, trust: true}}"])
    with pytest.raises(
        UnsupportedError, match=r"prune: .*t\.onnx: an ONNX file has no layers that could be trained again"
    ):
        prune_net(pipeline, Pruning((0.5,)), target=QUICK, out=tmp_path / "o", workspace=tmp_path / "w")


def test_width_and_depth_are_told_apart_of_edgekds_own_nets_alone() -> None:
    assert [weighed(by) for by in ("latency", "uniform", "magnitude")] == ["taylor", "uniform", "magnitude"]
    with pytest.raises(ConfigError, match=r"prune: --by depth: is for nets of edgekd's own family so far; leave it"):
        weighed("depth")


def test_a_share_of_parameters_is_a_share(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prune: parameters_ratio 1\.5: a share of the whole net's parameters"):
        prune_net(load_pipeline("digits"), Pruning((0.5,), parameters=1.5), out=tmp_path / "o", workspace=tmp_path)


def test_ratios_are_read_as_they_are_typed() -> None:
    assert ratios_of(["0.5,0.7", "0.5"]) == (0.5, 0.7)
    with pytest.raises(ConfigError, match=r"--latency-ratio half: is no number; give one as 0\.5"):
        ratios_of(["half"])


def test_nets_are_named_by_what_tells_them_apart() -> None:
    assert list(Pruning((0.5, 0.4)).nets()) == ["0.5", "0.4"]
    assert list(Pruning((0.5,), by=("latency", "uniform"), seeds=(0, 1)).nets()) == [
        "0.5-latency-s0", "0.5-latency-s1", "0.5-uniform-s0", "0.5-uniform-s1"
    ]  # fmt: skip
