"""What a model reads and answers, one frozen description from the data to the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekd.data.stages import Preprocess
from edgekd.settings import Settings


class TensorIn(Settings):
    name: str
    dtype: str = "float32"
    layout: Literal["NCHW", "NHWC", "any"] = "NCHW"
    shape: tuple[int | str, ...]  # a word is an axis that stays free
    example: tuple[int, ...] | None = None  # one sample's shape in the data, where more than the batch is free
    preprocess: Preprocess | None = None  # from stored images; without it the data holds what the model reads


class TensorOut(Settings):
    name: str
    meaning: Literal["logits", "embedding", "values"] = "logits"
    labels: tuple[str, ...] = ()


class ReadsText(Settings):
    """How text becomes the inputs, `input_ids` and `attention_mask`; pooling and normalisation are in the graph."""

    tokenizer: str = "tokenizer.json"  # the fast tokenizers' format, special tokens among it
    max_length: int = Field(ge=2)  # tokens, special ones counted: the rest of a text is not read
    padding: int = Field(default=0, ge=0)  # the number of the padding's token, which the mask hides
    pooling: Literal["mean", "cls"] = "mean"
    normalised: bool = True  # whether embeddings have length 1


class Signature(Settings):
    schema_version: int = Field(default=1, alias="schema")
    inputs: tuple[TensorIn, ...] = Field(min_length=1)
    outputs: tuple[TensorOut, ...] = Field(min_length=1)
    text: ReadsText | None = None  # of models that read text


def fixed_shape(spec: TensorIn, batch: int) -> tuple[int, ...]:
    """The shape with a free first axis at `batch`, and the other free ones as in the data."""
    own = (batch, *(spec.example or ()))
    return tuple(
        axis if isinstance(axis, int) else own[place] if place < len(own) else 1
        for place, axis in enumerate(spec.shape)
    )


def of_images(image: tuple[int, int, int], labels: list[str], preprocess: Preprocess) -> Signature:
    pixels = TensorIn(name="pixel_values", shape=("batch", *image), preprocess=preprocess)
    if preprocess.inside:
        channels, height, width = image
        shape = ("batch", height, width, channels)
        pixels = TensorIn(name="pixel_values", dtype="uint8", layout="NHWC", shape=shape, preprocess=preprocess)
    return Signature(inputs=(pixels,), outputs=(TensorOut(name="logits", labels=tuple(labels)),))


def of_text(length: int, reads: ReadsText, labels: tuple[str, ...] = (), *, fixed: bool = False) -> Signature:
    """
    Of an encoder with free batch and sequence, measured at `length` tokens, or `fixed` at one text of them.

    With `labels` it is a classifier.
    """
    shape: tuple[int | str, ...] = (1, length) if fixed else ("batch", "sequence")
    inputs = tuple(
        TensorIn(name=name, dtype="int64", layout="any", shape=shape, example=(length,))
        for name in ("input_ids", "attention_mask")
    )
    embedding = TensorOut(name="sentence_embedding", meaning="embedding")  # "embedding" is the name of the look-up
    output = TensorOut(name="logits", labels=labels) if labels else embedding
    return Signature(inputs=inputs, outputs=(output,), text=reads)


def padded_to(signature: Signature) -> int | None:
    """How many tokens each text has, where that is fixed."""
    length = signature.inputs[0].shape[1] if signature.text else None
    return length if isinstance(length, int) else None


def write(signature: Signature, folder: Path) -> None:
    (folder / "signature.json").write_text(signature.model_dump_json(indent=1, by_alias=True), "utf-8")


def read(folder: Path) -> Signature:
    return Signature.model_validate_json((folder / "signature.json").read_text("utf-8"))
