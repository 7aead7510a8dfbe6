"""A file of weights with zeros is smaller, and what ONNX Runtime makes of it is what it makes of the dense file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from pydantic import ValidationError

from edgekd.data.signature import Signature, TensorIn, TensorOut
from edgekd.deploy.exporter import Deployable
from edgekd.exporters.onnxruntime import OnnxRuntimeExporter
from edgekd.hardware.dialect import Dialect, DialectSpec
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import OnnxRuntimeSpec, plain_onnxruntime
from edgekd.models.shape import NetShape
from edgekd.search.graph import INPUT, OUTPUT, written
from edgekd.sparse.masks import lowest_out, n_of_m
from edgekd.sparse.packing import packed, weighs
from edgekd.sparse.proof import weights_of

SHAPE = NetShape(stem_width=16, widths=((64, 48), (64, 48)), strides=(1, 2))
U8 = Dialect(activation="uint8-affine", reduced_range=True)


def sparse(dialect: Dialect | None, share: float | None, seed: int = 0) -> onnx.ModelProto:
    """With so many zeros in each layer, or 2:4 where it can be."""
    graph = written(SHAPE, (3, 16, 16), 10, dialect, seed)
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    for stored in weights_of(graph):
        scores = torch.from_numpy(np.abs(stored.values.astype(np.float32)))
        if share is None and scores.shape[1] % 4:
            continue
        mask = n_of_m(scores, 2, 4) if share is None else lowest_out(scores, share)
        values = (stored.values * mask.numpy()).astype(stored.values.dtype)
        values = np.ascontiguousarray(values.T if stored.inputs_first else values)
        constants[stored.name].CopyFrom(numpy_helper.from_array(values, stored.name))
    return graph


def opened(model: onnx.ModelProto, folder: Path) -> tuple[np.ndarray, list[str], list[bytes]]:
    """Its answers, the kernels of the optimised graph, and all that this graph holds."""
    onnx.save(model, folder / "model.onnx")
    session = OnnxRuntimeSession(folder / "model.onnx", plain_onnxruntime(), folder / "optimised.onnx")
    (answers,) = session.run({INPUT: np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)})
    session.close()
    made = onnx.load(folder / "optimised.onnx").graph
    held = sorted((numpy_helper.to_array(tensor) + 0).tobytes() for tensor in made.initializer)  # -0 is 0
    return answers, sorted(node.op_type for node in made.node), held


@settings(max_examples=8, deadline=None)
@given(dialect=st.sampled_from([U8, None]), share=st.sampled_from([None, 0.3, 0.75, 0.9]), seed=st.integers(0, 99))
def test_the_runtime_makes_the_same_graph_of_it(
    tmp_path_factory: pytest.TempPathFactory, dialect: Dialect | None, share: float | None, seed: int
) -> None:
    dense = sparse(dialect, share, seed)
    small = packed(dense)
    onnx.checker.check_model(small)
    assert small.ByteSize() < dense.ByteSize()
    for one, other in zip(*(opened(graph, tmp_path_factory.mktemp("open")) for graph in (dense, small)), strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize(("dialect", "share", "least", "most"), [
    (U8, None, 0.6, 0.8), (U8, 0.9, 0.2, 0.5), (None, None, 0.5, 0.6), (None, 0.9, 0.1, 0.25)
])  # fmt: skip
def test_it_weighs_a_bit_a_weight_and_what_is_left(
    tmp_path: Path, dialect: Dialect | None, share: float | None, least: float, most: float
) -> None:
    onnx.save(sparse(dialect, share), tmp_path / "model.onnx")
    found = weighs([tmp_path / "model.onnx"])
    assert found.packed_bytes is not None
    assert least < found.packed_bytes / found.size_bytes < most
    assert found.compressed_bytes < found.size_bytes
    (tmp_path / "model.bin").write_bytes(b"0" * 100)
    assert weighs([tmp_path / "model.bin"]).packed_bytes is None


def test_what_has_no_zeros_or_an_old_opset_stays_as_it_is() -> None:
    dense, old = written(SHAPE, (3, 16, 16), 10, U8), sparse(None, 0.9)
    assert packed(dense).SerializeToString() == dense.SerializeToString()
    old.opset_import[0].version = 17
    assert packed(old).SerializeToString() == old.SerializeToString()
    twice = packed(sparse(U8, 0.9))
    assert packed(twice).SerializeToString() == twice.SerializeToString()


def test_the_exporter_packs_where_the_profile_says_so(tmp_path: Path) -> None:
    onnx.save(sparse(U8, 0.9), tmp_path / "hub.onnx")
    signature = Signature(inputs=(TensorIn(name=INPUT, shape=("batch", 3, 16, 16)),), outputs=(TensorOut(name=OUTPUT),))
    hub = Deployable(tmp_path / "hub.onnx", tmp_path / "none", signature, {"edgekd.model": "x"}, True)
    sizes = {}
    for packs in (False, True):
        folder = tmp_path / str(packs)
        folder.mkdir()
        OnnxRuntimeExporter().write(
            hub, plain_onnxruntime().model_copy(update={"pack_zeros": packs}), tmp_path / str(packs)
        )
        sizes[packs] = (folder / "model.onnx").stat().st_size
    assert sizes[True] < 0.5 * sizes[False]
    with pytest.raises(ValidationError, match=r"pack_zeros: without graph_optimization weights would be spread out"):
        OnnxRuntimeSpec(pack_zeros=True, graph_optimization="disabled", dialect=DialectSpec(activation="uint8-affine"))
