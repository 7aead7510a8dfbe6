"""Encoders on disk: edgekd's own folders, and those of BERT and its kin, taken over weight by weight."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from edgekd.errors import ConfigError, first_line
from edgekd.text.encoder import EncoderConfig, EncoderForSequenceClassification, EncoderModel
from edgekd.text.shape import MODEL_TYPE, EncoderShape

Model = EncoderModel | EncoderForSequenceClassification

KINDS = ("bert", "roberta", "xlm-roberta", "camembert")
ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
LENGTH = "max_seq_length"


def build(shape: EncoderShape, seed: int, labels: Sequence[str] = ()) -> Model:
    """An encoder with fresh weights, the same for the same seed; with `labels` a classifier."""
    torch.manual_seed(seed)
    told = shape.model_dump(mode="json")
    if not labels:
        return _still(EncoderModel(EncoderConfig(**told)))
    names = dict(enumerate(labels))
    config = EncoderConfig(**told, id2label=names, label2id={label: number for number, label in names.items()})
    return _still(EncoderForSequenceClassification(config))


def _still(model: Model) -> Model:
    model.eval()
    return model


def load(folder: Path) -> Model:
    """
    The encoder of a folder of edgekd's, or of a BERT-like one, whose answers it then gives to 1e-5.

    Pooling and normalisation are read from sentence-transformers' `modules.json` where it is there; without it tokens
    are averaged, and the embedding is normalised. Raises ConfigError for what it can't take.
    """
    told = _json(folder / "config.json")
    kind = told.get("model_type")
    if kind == MODEL_TYPE:
        made = EncoderForSequenceClassification if _is_classifier(told) else EncoderModel
        return _still(made.from_pretrained(folder, local_files_only=True, dtype=torch.float32))
    if kind not in KINDS:
        raise ConfigError(
            f"{folder}: its model_type is {kind!r}; edgekd reads {', '.join(KINDS)} and its own {MODEL_TYPE}"
        )
    state = _state(folder)
    shape = _shape(folder, told, state)
    classifier = _is_classifier(told)
    labels = _labels(told) if classifier else ()
    model = build(shape, 0, labels)
    own = _translated(state, shape, _skipped(told), classifier)
    missing = model.net.state_dict().keys() - own.keys()
    if missing:
        raise ConfigError(f"{folder}: lacks weights for {', '.join(sorted(missing)[:3])}; is it a whole {kind}?")
    model.net.load_state_dict(own)
    return model


def save(model: Model, folder: Path, tokenizer_from: Path | None = None) -> None:
    """config.json and model.safetensors, and the tokenizer's files of another folder."""
    model.save_pretrained(folder)
    if tokenizer_from is not None:
        copy_tokenizer(tokenizer_from, folder)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Raises ConfigError where there is no tokenizer.json: the fast tokenizers' format, which every runtime reads."""
    if not (source / TOKENIZER).is_file():
        raise ConfigError(f"{source}: has no {TOKENIZER}; save it with a fast tokenizer of transformers")
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and source != folder:
            shutil.copyfile(source / name, folder / name)


def classes_of(model: Model) -> tuple[str, ...]:
    """The names of a classifier's classes, in the order of its logits."""
    names = model.config.id2label
    return tuple(str(names[number]) for number in sorted(names))


def longest(folder: Path, most: int) -> int:
    """Tokens that a folder's model is meant to read: sentence-transformers' max_seq_length, or `most`."""
    told = _json(folder / "sentence_bert_config.json", {})
    return min(int(told.get(LENGTH) or most), most)


def _shape(folder: Path, told: Mapping[str, Any], state: Mapping[str, Tensor]) -> EncoderShape:
    hidden = int(told["hidden_size"])
    if told.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise ConfigError(f"{folder}: hidden_act {told['hidden_act']!r}; edgekd has {', '.join(ACTIVATIONS)}")
    if told.get("position_embedding_type", "absolute") != "absolute":
        raise ConfigError(
            f"{folder}: its positions are {told['position_embedding_type']!r}; edgekd reads absolute ones"
        )
    layers, heads = int(told["num_hidden_layers"]), int(told["num_attention_heads"])
    classifier = _is_classifier(told)
    pooling, normalize = ("cls", False) if classifier else pooled_as(folder)
    return EncoderShape(
        vocab_size=len(state["embeddings.word_embeddings.weight"]),
        hidden_size=hidden,
        embedding_size=hidden,
        output_size=hidden,
        head_size=hidden // heads,
        heads=(heads,) * layers,
        units=(int(told["intermediate_size"]),) * layers,
        max_positions=int(told["max_position_embeddings"]) - _skipped(told),
        activation=ACTIVATIONS[told.get("hidden_act", "gelu")],  # type: ignore[arg-type]
        norm_eps=float(told.get("layer_norm_eps", 1e-12)),
        pooling=pooling,  # type: ignore[arg-type]
        pooler=classifier,
        normalize=normalize,
    )


def _skipped(told: Mapping[str, Any]) -> int:
    """Rows of the position table before the first token's: RoBERTa counts from behind the padding's number."""
    return 0 if told["model_type"] == "bert" else int(told.get("pad_token_id", 1)) + 1


def pooled_as(folder: Path) -> tuple[str, bool]:
    """Pooling, and whether embeddings are normalised, as sentence-transformers' modules.json says. ConfigError."""
    modules = _json(folder / "modules.json", None)
    if modules is None:
        return "mean", True
    normalize, pooling = False, "mean"
    for module in modules:
        kind, path = str(module["type"]).rsplit(".", 1)[-1], folder / str(module.get("path", ""))
        if kind == "Pooling":
            pooling = _pooling(path / "config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise ConfigError(f"{folder / 'modules.json'}: {kind} is none of Transformer, Pooling and Normalize")
    return pooling, normalize


def _pooling(path: Path) -> str:
    told = _json(path)
    chosen = [name for name, on in told.items() if name.startswith("pooling_mode") and on is True]
    chosen += [str(told["pooling_mode"])] if isinstance(told.get("pooling_mode"), str) else []
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "mean": "mean", "cls": "cls"}
    if len(chosen) != 1 or chosen[0] not in known:
        raise ConfigError(f"{path}: pooling {' + '.join(chosen) or 'none'}; edgekd has the mean of tokens, and cls")
    return known[chosen[0]]


def _translated(state: Mapping[str, Tensor], shape: EncoderShape, skipped: int, classifier: bool) -> dict[str, Tensor]:
    """A state dict of `Encoder`: token types come into positions, for there is one sentence; q, k, v into one."""
    words = "embeddings"
    positions = state[f"{words}.position_embeddings.weight"][skipped:]
    types = state.get(f"{words}.token_type_embeddings.weight")
    own = {
        "words.weight": state[f"{words}.word_embeddings.weight"],
        "positions": positions if types is None else positions + types[0],
        **_dense(state, f"{words}.LayerNorm", "norm"),
    }
    for number in range(shape.layers):
        theirs, mine = f"encoder.layer.{number}", f"layers.{number}"
        for part in ("weight", "bias"):
            qkv = [state[f"{theirs}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            own[f"{mine}.qkv.{part}"] = torch.cat(qkv)
        for name, to in (
            ("attention.output.dense", "attended"), ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "up"), ("output.dense", "down"), ("output.LayerNorm", "norm2"),
        ):  # fmt: skip
            own |= _dense(state, f"{theirs}.{name}", f"{mine}.{to}")
    if classifier and "classifier.out_proj.weight" in state:  # RoBERTa's head
        own |= _dense(state, "classifier.dense", "pooler") | _dense(state, "classifier.out_proj", "classifier")
    elif classifier:
        own |= _dense(state, "pooler.dense", "pooler") | _dense(state, "classifier", "classifier")
    return own


def _dense(state: Mapping[str, Tensor], theirs: str, mine: str) -> dict[str, Tensor]:
    return {f"{mine}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}


def _state(folder: Path) -> dict[str, Tensor]:
    """Without the prefix that a model with a head puts before its encoder's names; old checkpoints say gamma, beta."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ConfigError(f"{folder}: has no model.safetensors; save it with save_pretrained")
    try:
        state = load_file(path)
    except Exception as error:
        raise ConfigError(f"{path}: is no file of tensors: {first_line(error)}") from error
    found = {}
    for name, value in state.items():
        short = name.split(".", 1)[1] if name.split(".", 1)[0] in ("bert", "roberta") else name
        short = short.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        found[short] = value.float()
    return found


def _is_classifier(told: Mapping[str, Any]) -> bool:
    return any(str(name).endswith("ForSequenceClassification") for name in told.get("architectures") or ())


def _labels(told: Mapping[str, Any]) -> tuple[str, ...]:
    names = told.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(names[key]) for key in sorted(names, key=int))


def _json(path: Path, default: Any = ...) -> Any:
    if not path.is_file() and default is not ...:
        return default
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.parent}: has no {path.name}; give a folder that save_pretrained wrote") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: is no JSON: {first_line(error)}") from None
