"""Lighter graphs of an encoder: weights in 16 bits, int8 with ranges found while it runs, int8 with fixed ranges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch

from edgekd.data import signature
from edgekd.deploy import reference
from edgekd.deploy.given import float_answers
from edgekd.deploy.reference import Reference
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.quant.halves import halve_weights
from edgekd.quant.lookups import quantise_lookups
from edgekd.quant.onnx_ptq import quantise, quantise_dynamic
from edgekd.text import held, tokens
from edgekd.text.folders import copy_tokenizer
from edgekd.text.stages import Lighter, StaticText

FILE = "model.onnx"


def run_lighter(settings: Lighter, inputs: Mapping[str, Artifact], work: Work) -> None:
    hub, out = inputs["hub"], work.out / FILE
    if settings.variant == "int8-dynamic":
        quantise_dynamic(hub.file(FILE), settings.dialect, out)
        graph = onnx.load(out)
        quantise_lookups(graph)
    else:
        graph = onnx.load(hub.file(FILE))
        halve_weights(graph)
    _write(graph, hub, work.out)


def run_static(settings: StaticText, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Training texts show the ranges, padded to one length: what padding does is hidden by the mask."""
    hub, out = inputs["hub"], work.out / FILE
    shown = tokens.tokenize(held.read(inputs["texts"].path).texts["train"][: settings.texts], hub.path, settings.length)
    ids, mask = shown.read(torch.arange(len(shown)))
    quantise(hub.file(FILE), {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}, settings.dialect, out)
    graph = onnx.load(out)
    if settings.tables:
        quantise_lookups(graph)
    _write(graph, hub, work.out)


def _write(graph: onnx.ModelProto, hub: Artifact, out: Path) -> None:
    """A hub of its own: the graph, its signature, what its own arithmetic answers and what the float graph did."""
    onnx.save(graph, out / FILE)
    known = reference.read(hub.file(reference.FILE))
    answers = float_answers(out / FILE, known.feeds)
    reference.write(Reference(known.feeds, answers, known.answers), out)
    signature.write(signature.read(hub.path), out)
    copy_tokenizer(hub.path, out)
