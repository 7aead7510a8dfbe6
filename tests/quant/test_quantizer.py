"""The PT2E quantiser on nets of every kind of layer: all of it runs as integers, in each runtime by its dialect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

from edgekd.data.signature import Signature, TensorIn, TensorOut
from edgekd.deploy import exporter, hub, reference
from edgekd.deploy.exporter import Deployable, Exported
from edgekd.deploy.reference import Reference, dequantised
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.errors import UnsupportedError
from edgekd.hardware.dialect import Activation, Dialect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import Runnable
from edgekd.models.residual_cnn import ResidualCnn, ResidualCnnConfig
from edgekd.models.shape import NetShape
from edgekd.quant.ptq import calibrated, trace
from edgekd.quant.qat import freeze_norms
from edgekd.quant.quantizer import DialectQuantizer

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")
HERE = load_profile("local-cpu")
X = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))


class Convolutional(nn.Module):
    """Hard-swish, depthwise, squeeze-excite, residual, concatenation, pooling, a strided shortcut padded by zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.gate = Gate(8)
        self.pointwise = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.last = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.pointwise(self.gate(self.depthwise(x))) + x
        joined = F.max_pool2d(torch.cat([y, x], 1), 2)
        shortcut = F.pad(joined[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        return self.head((self.last(joined) + shortcut).mean((2, 3)))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """One block of a vision transformer, its attention written out."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.head = nn.Linear(48, width), nn.Linear(width, 5)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 64), nn.Linear(64, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(x.shape[0], 48, -1).transpose(1, 2))
        y = self.first(x)
        query, key, value = (self._split(layer(y)) for layer in (self.query, self.key, self.value))
        shares = torch.softmax(torch.matmul(query, key.transpose(-1, -2)) / 8**0.5, -1)
        x = x + self.out(torch.matmul(shares, value).transpose(1, 2).reshape(x.shape))
        return self.head((x + self.narrow(F.gelu(self.wide(self.second(x))))).mean(1))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class Attentive(ResidualCnn):
    """A student of the space of small vision transformers: a patch stem, an encoder, a convolution."""

    def __init__(self) -> None:
        shape = NetShape(
            stem_width=16, stem_stride=2, stem_kernel=4, head_width=8, kinds=("encoder", "plain"),
            widths=((32, 16), (16, 16)), strides=(1, 2),
        )  # fmt: skip
        super().__init__(ResidualCnnConfig(in_channels=3, num_labels=5, **shape.model_dump(mode="json")))


def settled(kind: type[nn.Module]) -> nn.Module:
    """With batch statistics of its inputs."""
    torch.manual_seed(0)
    net = kind().train()
    with torch.no_grad():
        for _ in range(10):
            net(X)
    if kind is Attentive:  # of random weights its answers hardly differ between images
        learnt(net)
    return net.eval()


def learnt(net: nn.Module) -> None:
    """By heart: which of five each image is said to be."""
    adam = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(40):
        adam.zero_grad()
        F.cross_entropy(net(X), torch.arange(len(X)) % 5).backward()
        adam.step()


def exported(net: nn.Module, spec: Runnable, folder: Path) -> Exported:
    quantised = calibrated(net, spec.dialect.on(cpu()), X)
    program = hub.exported(quantised, X[:2], "x", "logits")
    graph = hub.checked(program)
    for name in ("hub", "out", "scratch"):
        (folder / name).mkdir()
    onnx.save(graph, folder / "hub" / "model.onnx")
    with torch.no_grad():
        layers = hub.layer_values(program, dequantised(graph), X[: reference.PROBED])
        known = Reference({"x": X.numpy()}, quantised(X).numpy(), net(X).numpy(), layers)
    reference.write(known, folder / "hub")
    described = Signature(inputs=(TensorIn(name="x", shape=("batch", 3, 16, 16)),), outputs=(TensorOut(name="logits"),))
    deployable = Deployable(folder / "hub" / "model.onnx", folder / "hub" / reference.FILE, described, {}, True)
    work = Work(folder / "out", folder / "scratch", Progress(Silent()))
    return exporter.find(spec.exporter).export(deployable, spec, work)


@pytest.mark.slow
@pytest.mark.parametrize("spec", HERE.runnable, ids=lambda spec: str(spec.name))
@pytest.mark.parametrize("kind", [Convolutional, Encoder, Attentive])
def test_every_layer_runs_as_integers_and_answers_as_torch_does(
    tmp_path: Path, spec: Runnable, kind: type[nn.Module]
) -> None:
    net = settled(kind)
    if kind is not Convolutional and spec.name == "litert":
        with pytest.raises(UnsupportedError, match=r"layer 'node_\w+' \((Transpose|Reshape)\)"):
            exported(net, spec, tmp_path)
        return
    done = exported(net, spec, tmp_path)
    known = ["linear", "softmax"]  # the classifier's logits are floats
    if kind is Attentive and spec.name == "openvino":
        known.append("matmul")  # between quantised maps it runs attention in floats
    assert [name for name in done.coverage.left_float if not any(word in name for word in known)] == []
    assert done.coverage.integer >= (6 if kind is Convolutional else 8)
    assert done.refused is None
    assert done.parity is not None
    assert done.parity.top1_agreement == 1
    least_db = 25 if kind is Attentive else 30  # three times as many layers, all of them in integers
    assert done.parity.float_snr_db is not None
    assert done.parity.float_snr_db > least_db
    if spec.name == "onnxruntime":
        assert len(done.layers_snr_db) >= 8
        # integer kernels against torch's fake quantisation, by layer
        assert min(done.layers_snr_db.values()) > least_db
        assert list(done.layers_snr_db.values()) == sorted(done.layers_snr_db.values())


@pytest.mark.slow
def test_in_a_transformer_only_what_enters_a_product_is_quantised_unless_the_dialect_wants_all() -> None:
    net = settled(Encoder)

    def quantisers(between: str) -> int:
        dialect = Dialect.model_validate(
            {"activation": "uint8-affine", "reduced_range": True, "between_products": between}
        )
        graph = hub.to_onnx(calibrated(net, dialect, X), X[:2], "x", "y").graph
        return sum(node.op_type == "QuantizeLinear" for node in graph.node)

    products, everything = quantisers("float"), quantisers("quantised")
    assert products <= 2 * 10  # two inputs at most of eight linear layers and two products
    assert everything > products + 4


@pytest.mark.slow
def test_frozen_norms_keep_their_statistics_and_go_on_learning() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    dialect = Dialect(activation="uint8-affine", reduced_range=False)
    prepared = prepare_qat_pt2e(trace(net, (3, 16, 16)), DialectQuantizer(dialect, training=True))
    statistics = [value for name, value in prepared.named_buffers() if "running" in name]
    prepared(X)
    before = [value.clone() for value in statistics]
    prepared(X + 3)
    assert any(not torch.equal(a, b) for a, b in zip(before, statistics, strict=True))
    freeze_norms(prepared)
    before = [value.clone() for value in statistics]
    prepared(X - 3).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, statistics, strict=True))
    assert all(p.grad is not None for p in prepared.parameters())


@given(st.integers(2, 8), st.integers(2, 8), st.booleans(), st.sampled_from(["uint8-affine", "int8-affine"]))
def test_a_dialect_of_n_bits_has_two_to_the_n_levels_and_weights_are_symmetric(
    weights: int, activations: int, reduced: bool, kind: Activation
) -> None:
    dialect = Dialect(activation=kind, reduced_range=reduced, weight_bits=weights, activation_bits=activations)
    low, high = dialect.activation_limits
    assert high - low + 1 == 2**activations
    assert dialect.weight_max == 2 ** (min(weights, 7 if reduced else 8) - 1) - 1
    quantizer = DialectQuantizer(dialect, training=False)
    assert (quantizer.weight.quant_min, quantizer.weight.quant_max) == (-dialect.weight_max, dialect.weight_max)
    assert (quantizer.activation.quant_min, quantizer.activation.quant_max) == (low, high)


@pytest.mark.slow
def test_low_bits_have_so_many_levels_in_the_file() -> None:
    dialect = Dialect(activation="uint8-affine", reduced_range=False, weight_bits=3, activation_bits=4)
    graph = hub.to_onnx(calibrated(settled(Convolutional), dialect, X), X[:2], "x", "y")
    values = [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]
    weights = [value for value in values if value.dtype == np.int8 and value.ndim > 1]
    assert weights
    assert max(len(np.unique(value)) for value in weights) <= 7
