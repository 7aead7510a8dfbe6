"""The zeros are counted in the file that ships: a graph that does not hold them is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from helpers.onnx_models import save
from onnx import TensorProto, helper, numpy_helper

from edgekd.data import signature
from edgekd.data.stages import Preprocess, Views
from edgekd.deploy.exporter import Deployable, Exported
from edgekd.deploy.hub import to_onnx
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, EdgekdError
from edgekd.exporters.onnxruntime import OnnxRuntimeExporter
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.pipeline import load_pipeline
from edgekd.quant import ptq, qat
from edgekd.quant.stages import Ptq, Qat
from edgekd.sparse.holding import Masks, sparsifiable
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.proof import count, prove
from edgekd.train.losses.settings import KdLoss
from edgekd.train.settings import Training

TWO_OF_FOUR = Sparsity(nm="2:4")
SHAPE = NetShape(stem_width=8, widths=((8, 8), (32, 32)), strides=(1, 2))


def graph(tmp_path: Path, convolution: np.ndarray, product: np.ndarray) -> onnx.ModelProto:
    """A convolution quantised per channel, a grouped one, a stem of three channels, and a product, inputs first."""
    constants = {
        "stem": np.ones((8, 3, 1, 1), np.float32), "w.q": convolution, "scale": np.ones(8, np.float32),
        "grouped": np.ones((8, 1, 1, 1), np.float32), "product": product, "zero": np.zeros(8, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], "stem"),
        helper.make_node("DequantizeLinear", ["w.q", "scale", "zero"], ["w"], "dequantise", axis=0),
        helper.make_node("Conv", ["a", "w"], ["b"], "convolution"),
        helper.make_node("Conv", ["b", "grouped"], ["c"], "grouped", group=8),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "product"], ["y"], "product"),
    ]
    path = save(
        helper.make_graph(
            nodes,
            "sparse",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
            [numpy_helper.from_array(values, name) for name, values in constants.items()],
        ),
        tmp_path / "sparse.onnx",
    )
    return onnx.load(path)


def weights(*, sparse: bool) -> tuple[np.ndarray, np.ndarray]:
    kept = np.array([1, 0, 0, 1] * 2 if sparse else [1] * 8)
    convolution = (np.arange(1, 65).reshape(8, 8, 1, 1) * kept[None, :, None, None]).astype(np.int8)
    return convolution, (np.ones((8, 5)) * kept[:, None]).astype(np.float32)


def test_layers_are_counted_along_their_input_channels_and_others_left_out(tmp_path: Path) -> None:
    found = {row.layer: row for row in count(graph(tmp_path, *weights(sparse=True)), TWO_OF_FOUR)}
    assert set(found) == {"convolution", "product"}
    assert all(row.grouped for row in found.values())
    assert [row.zeros for row in found.values()] == [32, 20]


def test_a_graph_that_lost_its_zeros_is_refused_by_the_layers_name(tmp_path: Path) -> None:
    convolution, _ = weights(sparse=True)
    _, product = weights(sparse=False)
    with pytest.raises(EdgekdError, match=r"layer 'product' is not 2:4 in the exported graph; it is not shipped"):
        prove(graph(tmp_path, convolution, product), TWO_OF_FOUR)
    with pytest.raises(EdgekdError, match=r"25\.0 % of the weights are zero, not 75 % zeros in the exported graph"):
        prove(graph(tmp_path, convolution, product), Sparsity(unstructured=0.75))
    with pytest.raises(EdgekdError, match="no layer of the exported graph could be 8:16"):
        prove(graph(tmp_path, convolution, product), Sparsity(nm="8:16"))


@pytest.mark.parametrize(
    ("setting", "plan"),
    [
        ("2:4", "2:4"),
        ("none", "None"),
        ("{unstructured: 0.75}", "75 % zeros"),
        ("{unstructured: 0.5, block: [4, 1]}", "50 % zeros in blocks of 4 x 1"),
        ("{nm: '4:8', sr_ste: 0.0002}", "4:8"),
    ],
)
def test_a_pipeline_says_it_in_short_or_in_full(setting: str, plan: str) -> None:
    assert str(load_pipeline("digits", [f"sparsity={setting}"]).sparsity) == plan


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("4:2", r'sparsity.nm: "4:2" keeps all; the first number is to be the smaller one'),
        ("half", "sparsity.nm: .*pattern"),
        ("{}", r'give one of nm \("2:4"\) and unstructured \(0.75\)'),
        ("{nm: '2:4', unstructured: 0.5}", "give one of nm"),
        ("{nm: '2:4', scope: global}", "block and scope are of unstructured sparsity"),
        (
            "{nm: '2:4', importance: taylor, begin: 0, end: 0}",
            "taylor has seen nothing of the training at step 0; raise begin",
        ),
        (
            "{unstructured: 0.5, importance: activation, begin: 0, end: 0}",
            "activation has seen nothing of the training",
        ),
        ("{unstructured: 0.5, refine: dsnot, begin: 0, schedule: one-shot}", "dsnot has seen nothing of the training"),
        ("{nm: '2:4', refine: dsnot}", "sparsity.refine: dsnot exchanges single weights"),
        ("{unstructured: 0.5, sr_ste: 0.1}", "sparsity.sr_ste: is of n:m sparsity"),
        (
            "{nm: '2:4', sr_ste: 0.1, schedule: rewind}",
            "sparsity.sr_ste: what learns on behind its mask is not rewound",
        ),
        (
            "{nm: '2:4', schedule: rewind, rewinds: weights, begin: 0.4}",
            "sparsity.begin: 0.4 of the steps is not within the first of 4 trainings, whose weights come back",
        ),
        ("{unstructured: 0.5, begin: 0.7}", "sparsity.end: 0.6 lies before begin, 0.7"),
        ("{unstructured: 0.5, block: [0, 4]}", r"sparsity.block: \(0, 4\) has a side below 1"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", [f"sparsity={setting}"])


def test_patience_and_sparsity_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match=r"distill.patience: the best look may be from before the zeros came"):
        load_pipeline("digits", ["sparsity=2:4", "distill.patience=3"])


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["sparsity=2:4", "distill.average_from=0.5"], r"average_from: 0.5 is before all zeros are there, at 0.6"),
        (
            ["sparsity={nm: '2:4', schedule: rewind}", "distill.average_from=0.7"],
            r"0.7 is before .* at 0.75 \(rewind\)",
        ),
        (["sparsity={nm: '2:4', schedule: rewind}", "distill.cycles=2"], r"as many as sparsity.rounds says"),
        (["sparsity={nm: '2:4', importance: taylor}", "distill.distill_momentum=0.05"], r"taylor would see the labels"),
    ],
)
def test_what_would_not_be_the_net_that_ships_is_refused(assignments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", assignments)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(("share", "block"), [(0.5, (8, 8)), (0.75, (16, 1)), (0.3, (1, 1)), (0.75, (16, 16))])
def test_what_masks_make_passes_the_proof_whatever_the_blocks(
    tmp_path: Path, scope: Literal["layer", "global"], share: float, block: tuple[int, int]
) -> None:
    plan = Sparsity(unstructured=share, block=block, scope=scope, begin=0, end=0)
    net = checkpoint.build(
        NetShape(stem_width=16, widths=((32, 32), (48, 48)), strides=(1, 2)), ["a", "b"], 3, seed=0
    ).net
    taken, left = sparsifiable(net, plan)
    Masks(taken, plan, 1)
    assert all("are no whole blocks of" in why for why in left.values())
    told = prove(to_onnx(net.eval(), torch.zeros(2, 3, 16, 16), "x", "y"), plan)
    assert len(told["layers"]) == len(taken)


@pytest.mark.slow
@pytest.mark.parametrize("trains", [False, True])
def test_what_is_quantised_afterwards_is_exactly_as_sparse(tmp_path: Path, digits: Artifact, trains: bool) -> None:
    """PTQ, and QAT with a teacher: in integers, in every layer that can be."""
    folders = {name: tmp_path / name for name in ("teacher", "student", "out", "scratch")}
    for folder in folders.values():
        folder.mkdir()
    labels = [str(number) for number in range(10)]
    checkpoint.save(checkpoint.build(SHAPE, labels, 1, seed=0), folders["teacher"])
    student = checkpoint.build(SHAPE, labels, 1, seed=1)
    plan = Sparsity(nm="2:4", begin=0, end=0)
    Masks(sparsifiable(student.net, plan)[0], plan, 1)
    checkpoint.save(student, folders["student"])
    net = Artifact("checkpoint", "student", folders["student"])
    dialect = Dialect(activation="uint8-affine", reduced_range=True)
    work = Work(folders["out"], folders["scratch"], Progress(Silent()))
    if trains:
        teacher = Artifact("checkpoint", "teacher", folders["teacher"])
        settings = Qat(
            dialect=dialect, preprocess=Preprocess(), views=Views(), losses=(KdLoss(name="kd"),), sparsity=plan,
            train=Training(epochs=1, learning_rate=0.02, threads=1),
        )  # fmt: skip
        qat.run(settings, {"teacher": teacher, "student": net, "data": digits}, work)
    else:
        ptq.run(Ptq(dialect=dialect, preprocess=Preprocess(), sparsity=plan), {"checkpoint": net, "data": digits}, work)
    rows = count(onnx.load(folders["out"] / "model.onnx"), plan)
    assert len(rows) == 6  # all but the stem, which reads one channel
    assert all(row.grouped and row.zeros >= row.weights / 2 for row in rows)
    told = json.loads((folders["out"] / "sparsity.json").read_text())
    assert told["zeros_percent"] >= 50
    dense, packed = (exported(folders["out"], tmp_path / f"packed {packs}", packs=packs) for packs in (False, True))
    assert packed == dense  # kernels, answers, and by layer
    sizes = [(tmp_path / f"packed {packs}" / "model.onnx").stat().st_size for packs in (False, True)]
    assert sizes[1] < sizes[0]


def exported(hub: Path, out: Path, *, packs: bool) -> Exported:
    out.mkdir()
    (out / "scratch").mkdir()
    deployable = Deployable(hub / "model.onnx", hub / "reference.safetensors", signature.read(hub), {}, trained=False)
    spec = plain_onnxruntime().model_copy(update={"pack_zeros": packs})
    return OnnxRuntimeExporter().export(deployable, spec, Work(out, out / "scratch", Progress(Silent())))


@pytest.mark.slow
def test_a_dense_net_that_should_be_sparse_is_not_exported(tmp_path: Path, digits: Artifact) -> None:
    for name in ("student", "out", "scratch"):
        (tmp_path / name).mkdir()
    checkpoint.save(checkpoint.build(SHAPE, [str(n) for n in range(10)], 1, seed=0), tmp_path / "student")
    settings = Ptq(
        dialect=Dialect(activation="uint8-affine", reduced_range=True), preprocess=Preprocess(), sparsity=TWO_OF_FOUR
    )
    inputs = {"checkpoint": Artifact("checkpoint", "student", tmp_path / "student"), "data": digits}
    with pytest.raises(EdgekdError, match="is not 2:4 in the exported graph"):
        ptq.run(settings, inputs, Work(tmp_path / "out", tmp_path / "scratch", Progress(Silent())))
