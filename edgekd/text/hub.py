"""The hub of an encoder: one ONNX graph with pooling and normalisation inside, any batch and any length."""

from __future__ import annotations

import json
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor

from edgekd.data import signature
from edgekd.data.signature import ReadsText, Signature
from edgekd.deploy import reference
from edgekd.deploy.given import about
from edgekd.deploy.hub import OPSET, checked, quiet
from edgekd.deploy.reference import Reference
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError, UnsupportedError, first_line
from edgekd.text import folders, held
from edgekd.text.encoder import MASKED, Encoder
from edgekd.text.folders import Model, copy_tokenizer
from edgekd.text.stages import ExportText
from edgekd.text.tokens import Tokens, padding_of, tokenize, tokenizer_of

REFERENCE_TEXTS = 128
PADDED = -30.0  # of scores in eight bits: -1e4 would leave them no levels, and this is as good as none for softmax


def run(settings: ExportText, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    folder = inputs["model"].path
    model = folders.load(folder)
    described = described_as(model, settings, padding_of(tokenizer_of(folder)))
    graph = to_onnx(model.net, described)
    onnx.save(graph, work.out / "model.onnx")
    signature.write(described, work.out)
    copy_tokenizer(folder, work.out)
    (work.out / "about.json").write_text(json.dumps({"schema": 1, **about(graph)}), "utf-8")
    texts = held.read(inputs["texts"].path).texts["val"][:REFERENCE_TEXTS]
    assert described.text is not None
    made = tokenize(texts, folder, described.text.max_length)
    reference.write(referred(model, made, signature.padded_to(described)), work.out)


def described_as(model: Model, settings: ExportText, padding: int) -> Signature:
    shape = model.net.shape
    reads = ReadsText(
        max_length=min(settings.max_length, shape.max_positions or settings.max_length), padding=padding,
        pooling=shape.pooling, normalised=shape.normalize and model.net.classifier is None,
    )  # fmt: skip
    names = () if model.net.classifier is None else folders.classes_of(model)
    return signature.of_text(settings.length, reads, names, fixed=settings.fixed)


@torch.no_grad()
def referred(model: Model, tokens: Tokens, length: int | None = None) -> Reference:
    """What torch answers for some texts, padded to `length` or to the longest: the proof's reference."""
    ids, mask = tokens.read(torch.arange(len(tokens)), length)
    return Reference({"input_ids": ids.numpy(), "attention_mask": mask.numpy()}, model.net(ids, mask).numpy())


def to_onnx(net: Encoder, described: Signature) -> onnx.ModelProto:
    """A checked graph with the axes that are described. Raises UnsupportedError for what torch can't export."""
    names = [spec.name for spec in described.inputs]
    length = signature.padded_to(described)
    net.masked = PADDED if length else MASKED
    try:
        with quiet():
            program = torch.onnx.export(
                net.eval(), _example(net, length), dynamo=True, opset_version=OPSET, input_names=names, verbose=False,
                output_names=[described.outputs[0].name], dynamic_shapes=None if length else (_axes(net),) * 2,
            )  # fmt: skip
    except Exception as error:
        raise UnsupportedError(f"text.onnx: torch cannot export this encoder: {first_line(error)}") from error
    if program is None:
        raise EdgekdError("text.onnx: torch returned no program")
    return checked(program)


def _example(net: Encoder, length: int | None) -> tuple[Tensor, Tensor]:
    """Where axes are free neither a batch nor a length of 1, which would be baked in."""
    batch, length = (1, length) if length else (2, 7)
    ids = torch.arange(batch * length).view(batch, length) % net.shape.vocab_size
    mask = torch.ones_like(ids)
    mask[-1, length * 2 // 3 :] = 0
    return ids, mask


def _axes(net: Encoder) -> dict[int, torch.export.Dim]:
    most = net.shape.max_positions or None
    return {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", min=1, max=most)}
