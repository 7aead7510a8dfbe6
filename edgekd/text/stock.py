"""
A student as a stock BERT, for transformers and sentence-transformers, which know nothing of edgekd.

Heads and units that a layer lacks are there with zero weights, which adds nothing to any answer; layers that share
weights have each their own, and a factorised table is multiplied out. What BERT's shape cannot say is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig

from edgekd.data.signature import ReadsText
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.text import folders
from edgekd.text.encoder import Encoder, Layer
from edgekd.text.folders import Model, copy_tokenizer
from edgekd.text.shape import EncoderShape
from edgekd.text.stages import Stock
from edgekd.text.tokens import padding_of, tokenizer_of

WHY = "why_not.txt"
KINDS = "sentence_transformers.models"


def run(settings: Stock, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The folder, or the reason why there is none: a build does not fail for it."""
    folder = inputs["model"].path
    try:
        write(folders.load(folder), folder, settings.max_length, work.out)
    except UnsupportedError as error:
        (work.out / WHY).write_text(str(error), "utf-8")


def write(model: Model, tokenizer: Path, max_length: int, out: Path) -> None:
    """config.json, model.safetensors, the tokenizer, and for embeddings what sentence-transformers reads."""
    shape, classifier = model.net.shape, model.net.classifier is not None
    check(shape, classifier=classifier)
    config = _config(model, padding_of(tokenizer_of(tokenizer)))
    prefix = "bert." if classifier else ""
    state = {f"{prefix}{name}": value for name, value in encoder_state(model.net).items()} | _head(model.net, prefix)
    save_file({name: value.detach().contiguous().clone() for name, value in state.items()}, out / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    config.save_pretrained(out)
    copy_tokenizer(tokenizer, out)
    if not classifier:
        reads = min(max_length, shape.max_positions)
        sentence_transformers(out, shape, ReadsText(max_length=reads, pooling=shape.pooling), model.net)


def check(shape: EncoderShape, *, classifier: bool) -> None:
    """Raises UnsupportedError for what no stock BERT is."""
    if not shape.max_positions:
        raise UnsupportedError("a static embedding is no BERT: it has no positions and no norm")
    if shape.hidden_size % shape.head_size or max(shape.heads, default=1) > shape.hidden_size // shape.head_size:
        raise UnsupportedError(
            f"{max(shape.heads)} heads of {shape.head_size} are more than BERT has in {shape.hidden_size} dimensions"
        )
    if classifier and (shape.pooling != "cls" or not shape.pooler):
        raise UnsupportedError("BERT reads classes from the first token, through a dense layer; this one does not")
    if classifier and shape.output_size != shape.hidden_size:
        raise UnsupportedError("BERT's classifier has no projection before its dense layer")


def encoder_state(net: Encoder) -> dict[str, Tensor]:
    """Tensors under BertModel's names, without its pooler."""
    assert net.positions is not None
    assert net.norm is not None
    words = net.words.weight if net.widen is None else net.words.weight @ net.widen.weight.T
    state = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": net.positions,
        "embeddings.token_type_embeddings.weight": torch.zeros(2, net.shape.hidden_size),
    }
    state |= _dense("embeddings.LayerNorm", net.norm)
    for number in range(net.shape.layers):
        state |= _layer(f"encoder.layer.{number}", net.layer(number), net.shape)
    return state


def _layer(name: str, layer: Layer, shape: EncoderShape) -> dict[str, Tensor]:
    wide, units = shape.hidden_size, max(shape.units)
    own = layer.heads * layer.size
    state = {}
    for part, tensor in (("weight", layer.qkv.weight), ("bias", layer.qkv.bias)):
        for place, of in enumerate(("query", "key", "value")):
            piece = tensor[place * own : (place + 1) * own]
            state[f"{name}.attention.self.{of}.{part}"] = _grown(piece, wide, 0)
    state[f"{name}.attention.output.dense.weight"] = _grown(layer.attended.weight, wide, 1)
    state[f"{name}.attention.output.dense.bias"] = layer.attended.bias
    state[f"{name}.intermediate.dense.weight"] = _grown(layer.up.weight, units, 0)
    state[f"{name}.intermediate.dense.bias"] = _grown(layer.up.bias, units, 0)
    state[f"{name}.output.dense.weight"] = _grown(layer.down.weight, units, 1)
    state[f"{name}.output.dense.bias"] = layer.down.bias
    return (
        state
        | _dense(f"{name}.attention.output.LayerNorm", layer.norm1)
        | _dense(f"{name}.output.LayerNorm", layer.norm2)
    )


def _grown(tensor: Tensor, size: int, axis: int) -> Tensor:
    """With zeros up to `size` along an axis: GELU and ReLU of zero are zero, and so is the mean of zero values."""
    shape = list(tensor.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([tensor, tensor.new_zeros(shape)], axis)


def _dense(name: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{part}": getattr(module, part) for part in ("weight", "bias")}


def _head(net: Encoder, prefix: str) -> dict[str, Tensor]:
    if net.classifier is None or net.pooler is None:  # BertModel has one that embeddings do not read
        wide = net.shape.hidden_size
        return {"pooler.dense.weight": torch.zeros(wide, wide), "pooler.dense.bias": torch.zeros(wide)}
    return _dense(f"{prefix}pooler.dense", net.pooler) | _dense("classifier", net.classifier)


def _config(model: Model, padding: int) -> Any:
    shape = model.net.shape
    told: dict[str, Any] = {
        "vocab_size": shape.vocab_size, "hidden_size": shape.hidden_size, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.hidden_size // shape.head_size, "intermediate_size": max(shape.units, default=1),
        "hidden_act": shape.activation, "max_position_embeddings": shape.max_positions,
        "layer_norm_eps": shape.norm_eps, "pad_token_id": padding, "type_vocab_size": 2, "dtype": "float32",
    }  # fmt: skip
    if model.net.classifier is None:
        return BertConfig(**told, architectures=["BertModel"])
    names = dict(enumerate(folders.classes_of(model)))
    return BertConfig(**told, architectures=["BertForSequenceClassification"], id2label=names,
                      label2id={label: number for number, label in names.items()})  # fmt: skip


def sentence_transformers(out: Path, shape: EncoderShape, reads: ReadsText, net: Encoder) -> None:
    """modules.json and what it names: tokens to a mean (or the first), a projection where there is one, length 1."""
    names = ["Transformer", "Pooling", *(["Dense"] if net.project is not None else []),
             *(["Normalize"] if shape.normalize else [])]  # fmt: skip
    paths = ["" if n == 0 else f"{n}_{name}" for n, name in enumerate(names)]
    modules = [{"idx": n, "name": str(n), "path": path, "type": f"{KINDS}.{name}"}
               for n, (name, path) in enumerate(zip(names, paths, strict=True))]  # fmt: skip
    _write(out / "modules.json", modules)
    _write(out / "sentence_bert_config.json", {"max_seq_length": reads.max_length, "do_lower_case": False})
    modes = {"pooling_mode_cls_token": shape.pooling == "cls", "pooling_mode_mean_tokens": shape.pooling == "mean"}
    _write(out / paths[1] / "config.json", {"word_embedding_dimension": shape.hidden_size, **modes})
    if net.project is not None:
        told = {"in_features": shape.hidden_size, "out_features": shape.output_size, "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity"}  # fmt: skip
        _write(out / paths[2] / "config.json", told)
        weight = net.project.weight.detach().contiguous().clone()
        save_file({"linear.weight": weight}, out / paths[2] / "model.safetensors", {"format": "pt"})
    for path in paths[1:]:
        (out / path).mkdir(exist_ok=True)


def _write(path: Path, told: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told, indent=1), "utf-8")
