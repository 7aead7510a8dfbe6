"""An export that disagrees with torch is no export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.data import signature
from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess
from edgekd.deploy import exporter, hub, reference
from edgekd.deploy.exporter import Deployable
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, EdgekdError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.profile import load_profile
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.quant.ptq import quantise

RUNTIME = load_profile("local-cpu").runtime()


@pytest.fixture(scope="module")
def deployable(tmp_path_factory: pytest.TempPathFactory, digits: Artifact) -> Deployable:
    folder = tmp_path_factory.mktemp("hub")
    shape = NetShape(stem_width=8, stem_stride=2, widths=((8, 8),), strides=(1,))
    net = checkpoint.build(shape, [str(d) for d in range(10)], 1, seed=0).net.eval()
    hub.write(net, Dataset(digits), Preprocess(), folder)
    metadata = {"edgekd.model": "test"}
    return Deployable(folder / "model.onnx", folder / "reference.safetensors", signature.read(folder), metadata, True)


def work(folder: Path) -> Work:
    for name in ("out", "scratch"):
        (folder / name).mkdir()
    return Work(folder / "out", folder / "scratch", Progress(Silent()))


def test_a_float_graph_matches_torch_keeps_its_batch_free_and_says_what_it_is(
    tmp_path: Path, deployable: Deployable
) -> None:
    done = exporter.find("onnxruntime").export(deployable, RUNTIME, work(tmp_path))
    assert done.parity is not None
    assert done.parity.max_abs_diff < 1e-5
    assert done.parity.top1_agreement == 1
    assert done.coverage.integer == 0
    assert done.coverage.total == 4  # stem, two convolutions, classifier
    graph = onnx.load(tmp_path / "out" / str(done.entry))
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert {entry.key: entry.value for entry in graph.metadata_props} == {"edgekd.model": "test"}


def test_nothing_of_torchs_stack_traces_is_shipped(deployable: Deployable) -> None:
    assert b"/site-packages/" not in deployable.onnx.read_bytes()


@pytest.mark.parametrize("bad", [1.0, float("nan")])
def test_other_answers_than_torchs_are_refused(tmp_path: Path, deployable: Deployable, bad: float) -> None:
    true = reference.read(deployable.reference)
    reference.write(replace(true, answers=true.answers + np.float32(bad)), tmp_path)
    with pytest.raises(EdgekdError, match=r"answers differ from the reference's by .*; the file is not shipped"):
        exporter.find("onnxruntime").export(
            replace(deployable, reference=tmp_path / "reference.safetensors"), RUNTIME, work(tmp_path)
        )


@pytest.mark.slow
def test_a_quantised_graph_that_its_runtime_answers_otherwise_is_refused_and_the_build_goes_on(
    tmp_path: Path, digits: Artifact
) -> None:
    shape = NetShape(stem_width=8, stem_stride=2, widths=((8, 8),), strides=(1,))
    net = checkpoint.build(shape, [str(d) for d in range(10)], 1, seed=0).net.eval()
    dialect = Dialect(activation="uint8-affine", reduced_range=True)
    hub.write(quantise(net, Dataset(digits), dialect, Preprocess(), 64), Dataset(digits), Preprocess(), tmp_path)
    true = reference.read(tmp_path / reference.FILE)
    reference.write(replace(true, answers=np.roll(true.answers, 1, axis=1)), tmp_path)
    described = signature.read(tmp_path)
    quantised = Deployable(tmp_path / "model.onnx", tmp_path / "reference.safetensors", described, {}, True)
    done = exporter.find("onnxruntime").export(quantised, RUNTIME, work(tmp_path))
    assert done.refused is not None
    assert "of 256 samples, at least 98% are needed" in done.refused


def test_an_unknown_exporter_names_the_installed_ones() -> None:
    with pytest.raises(ConfigError, match=r"exporters: no 'onxruntime'; did you mean 'onnxruntime'\?"):
        exporter.find("onxruntime")


@pytest.mark.slow
def test_the_example_does_not_bake_its_batch_in() -> None:
    shape = NetShape(stem_width=8, widths=((8, 8),), strides=(1,))
    net = checkpoint.build(shape, ["a", "b"], 1, seed=0).net.eval()
    graph = hub.to_onnx(net, torch.randn(2, 1, 8, 8), "x", "y")
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert next(o.version for o in graph.opset_import if o.domain == "") == hub.OPSET
