"""Small BERT-like folders with random weights and a real WordPiece tokenizer, made by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
WORDS = [
    "the", "cat", "dog", "sat", "ran", "on", "mat", "road", "is", "are", "red", "blue", "file", "open",
    "##ing", "##ed", "read", "write", "who", "what", "where", ".", "?", ",", "##er", "one", "two", "three",
]  # fmt: skip
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
TEXTS = ["The cat sat on the mat.", "A dog ran", "who opened the red file?", "one", "reading, writing and xyz are two"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


def folder(path: Path, kind: str = "bert", classes: int = 0, seed: int = 0, **more: Any) -> Path:
    """A folder as `save_pretrained` writes it, its weights large enough for every part to matter."""
    torch.manual_seed(seed)
    configs: dict[str, Any] = {"bert": BertConfig, "roberta": RobertaConfig}
    nets: dict[str, Any] = {"bert": BertModel, "roberta": RobertaModel}
    heads: dict[str, Any] = {"bert": BertForSequenceClassification, "roberta": RobertaForSequenceClassification}
    config = configs[kind](vocab_size=len(VOCABULARY), max_position_embeddings=66, pad_token_id=0, **SIZE, **more)
    if classes:
        config.num_labels = classes
    net = (heads if classes else nets)[kind](config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    net.save_pretrained(path)
    tokenizer(path)
    return path


def tokenizer(path: Path) -> None:
    numbers = {token: number for number, token in enumerate(VOCABULARY)}
    made = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    ).save_pretrained(path)  # fmt: skip


def sentence_transformers(path: Path, pooling: str = "cls", *, normalize: bool = True) -> None:
    """The files by which sentence-transformers knows how a folder's tokens become an embedding."""
    parts = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": n,
            "name": str(n),
            "path": "" if n == 0 else f"{n}_{part}",
            "type": f"sentence_transformers.models.{part}",
        }
        for n, part in enumerate(parts)
    ]
    (path / "modules.json").write_text(json.dumps(modules), "utf-8")
    (path / "1_Pooling").mkdir()
    told = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max", "word_embedding_dimension": 32}  # fmt: skip
    (path / "1_Pooling" / "config.json").write_text(json.dumps(told), "utf-8")


def read(path: Path, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [B, T], padded to the longest."""
    made = PreTrainedTokenizerFast.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    return made["input_ids"], made["attention_mask"]
