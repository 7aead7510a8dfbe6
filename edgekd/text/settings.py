"""What a pipeline says of students of text and how they learn: settings, without torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgekd.settings import Settings
from edgekd.train.losses.settings import CrossEntropyLoss, DkdLoss, KdLoss, Loss
from edgekd.train.settings import Training


class Student(Settings):
    """
    What of a teacher a student keeps; what is left out stays as the teacher has it. Heads and units are each layer's.

    `layers` 0 is a static embedding, `share` neighbouring layers use one set of weights, a `vocabulary` keeps so many
    pieces, and an `embedding_size` below the hidden size factorises their table.
    """

    layers: int = Field(default=3, ge=0)
    heads: int | None = Field(default=None, ge=1)
    units: int | None = Field(default=None, ge=1)
    hidden_size: int | None = Field(default=None, ge=1)
    embedding_size: int | None = Field(default=None, ge=1)
    share: int = Field(default=1, ge=1)
    max_positions: int | None = Field(default=128, ge=1)
    vocabulary: int | None = Field(default=None, ge=1)
    importance: Literal["taylor", "magnitude"] = "taylor"
    texts: int = Field(default=512, ge=1)  # that importance is told by


class TextTraining(Training):
    """AdamW in the place of SGD: `momentum` is its first beta."""

    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    looks: int = Field(default=0, ge=0)


class EmbeddingLoss(Loss):
    """The squared distance of the student's embedding from its teacher's."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    name: Literal["embedding"] = "embedding"


class CosineLoss(Loss):
    """One minus the cosine of both embeddings."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    name: Literal["cosine"]


class SimilaritiesLoss(Loss):
    """How alike the texts of a batch are to each other, as the teacher has it."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    name: Literal["similarities"]
    weight: float = Field(default=10.0, ge=0)


class QueueLoss(Loss):
    """The teacher's embedding of the same text, among a queue of its embeddings of others: CKD of DistilCSE."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    name: Literal["queue"]
    queue: int = Field(default=4096, ge=1)
    temperature: float = Field(default=0.05, gt=0)


class MarginsLoss(Loss):
    """By how much a text is nearer to one text of the batch than to the others, whatever the scale of scores."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    name: Literal["margins"]
    weight: float = Field(default=10.0, ge=0)


class MiniLmLoss(Loss):
    """The last layer's attention, and the relations of its values. Needs as many heads as the teacher has."""

    needs: ClassVar[frozenset[str]] = frozenset({"module"})
    name: Literal["minilm"]


class RelationsLoss(Loss):
    """
    Relations among queries, keys and values of the last layer, split into `relation_heads` of both.

    `layer` counts the teacher's from 1; 0 is its last. With `mse` the products are compared as they are, as AutoDistil
    does it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"module"})
    name: Literal["relations"]
    relation_heads: int = Field(default=12, ge=1)
    measure: Literal["kl", "mse"] = "kl"
    layer: int = Field(default=0, ge=0)


class HiddenLoss(Loss):
    """
    Hidden states of the student's layers against those of evenly spread ones of the teacher, through projectors.

    `scaled` divides by the mean square of the teacher's, so that layers of any scale count alike: SquareHead, for
    students that zeros come into.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"module"})
    name: Literal["hidden"]
    scaled: bool = False


EmbeddingLosses = Annotated[
    EmbeddingLoss | CosineLoss | SimilaritiesLoss | QueueLoss | MarginsLoss | MiniLmLoss | RelationsLoss | HiddenLoss,
    Field(discriminator="name"),
]
SupernetLosses = Annotated[
    EmbeddingLoss | CosineLoss | SimilaritiesLoss | MarginsLoss | RelationsLoss, Field(discriminator="name")
]  # those that learn and remember nothing of their own
StateLosses = Annotated[MiniLmLoss | RelationsLoss | HiddenLoss, Field(discriminator="name")]
ClassLosses = Annotated[
    KdLoss | CrossEntropyLoss | DkdLoss | MiniLmLoss | RelationsLoss | HiddenLoss, Field(discriminator="name")
]


class DistillEmbedding(Settings):
    """`freeze_words` leaves the table as the teacher's, words that no text holds among them."""

    losses: tuple[EmbeddingLosses, ...] = Field(
        default=(EmbeddingLoss(), SimilaritiesLoss(name="similarities")), min_length=1
    )
    freeze_words: bool = True
    train: TextTraining = TextTraining()


class TextSupernet(Settings):
    """AutoDistil: which band of sub-networks, and how all of them learn at once; `others` are chance's a step."""

    band: Literal["base", "small", "tiny"] = "base"
    values: int = Field(default=4, ge=1)  # of depth, heads, width and units each
    others: int = Field(default=2, ge=0)
    losses: tuple[SupernetLosses, ...] = Field(
        default=(RelationsLoss(name="relations"), EmbeddingLoss(), SimilaritiesLoss(name="similarities")), min_length=1
    )
    freeze_words: bool = False
    held_out: int = Field(default=512, ge=1)  # texts that sub-networks are scored by
    train: TextTraining = TextTraining()


class TextSearch(TextSupernet):
    """
    The student is a sub-network: of those that are `speedup` times as fast as the teacher (fp32, in the first runtime,
    measured on the device), the one of the least held-out loss. `measured` of them are, each the best for its MACs.
    """

    measured: int = Field(default=8, ge=1)
    speedup: float = Field(default=2.0, gt=0)

    @property
    def supernet(self) -> TextSupernet:
        """Whose training knows of no latency."""
        return TextSupernet(**{name: getattr(self, name) for name in TextSupernet.model_fields})


class TeachClasses(Settings):
    """
    A classifier, with or without a teacher; `dropout` leaves out this share of what is pooled, while it learns.

    To each text come `mixed` more, which are made of parts of two, and whose classes the teacher says alone: an epoch
    is as much longer.

    Losses of logits and of layers count between their `start` and `stop`: ERNIE-Tiny's stages of one text and one
    teacher are one training.
    """

    losses: tuple[ClassLosses, ...] = Field(default=(CrossEntropyLoss(name="cross-entropy", weight=1.0),), min_length=1)
    freeze_words: bool = False
    mixed: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    train: TextTraining = TextTraining(epochs=5, learning_rate=1e-4, batch=32)


class TextStage(Settings):
    """One of several trainings of a classifier, one after the other: on which text, from which teacher."""

    text: Literal["general", "task"]
    teacher: Literal["pretrained", "tuned"] = "tuned"
    learn: TeachClasses


HIDDEN = HiddenLoss(name="hidden")
KD = KdLoss(name="kd", temperature=2.0)
FOUR_STAGES: tuple[TextStage, ...] = (
    TextStage(text="general", teacher="pretrained", learn=TeachClasses(losses=(HIDDEN,))),
    TextStage(text="general", learn=TeachClasses(losses=(HIDDEN,))),
    TextStage(text="task", learn=TeachClasses(losses=(HIDDEN, KD))),
    TextStage(text="task", learn=TeachClasses(losses=(HIDDEN, KD, CrossEntropyLoss(name="cross-entropy", weight=1.0)))),
)
