"""A transformer encoder whose config names every layer's heads and MLP units: sentence embeddings, or classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from edgekd.text.shape import MODEL_TYPE, EncoderShape

MASKED = -1e4  # added to a score: large enough for softmax to give zero, and small enough for half precision


class EncoderConfig(PretrainedConfig):  # type: ignore[misc]
    """The fields of EncoderShape, and transformers' own: `id2label` of a classifier."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 384,
        embedding_size: int | None = None,
        output_size: int | None = None,
        head_size: int = 32,
        heads: Sequence[int] = (),
        units: Sequence[int] = (),
        share: int = 1,
        max_positions: int = 512,
        activation: str = "gelu",
        norm_eps: float = 1e-12,
        pooling: str = "mean",
        pooler: bool = False,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.embedding_size = hidden_size if embedding_size is None else embedding_size
        self.output_size = hidden_size if output_size is None else output_size
        self.head_size = head_size
        self.heads = list(heads)
        self.units = list(units)
        self.share = share
        self.max_positions = max_positions
        self.activation = activation
        self.norm_eps = norm_eps
        self.pooling = pooling
        self.pooler = pooler
        self.normalize = normalize
        _ = self.shape  # which says what is wrong with it
        super().__init__(**kwargs)

    @property
    def shape(self) -> EncoderShape:
        told = {name: getattr(self, name) for name in EncoderShape.model_fields}
        return EncoderShape(**told | {"heads": tuple(self.heads), "units": tuple(self.units)})

    @property
    def num_hidden_layers(self) -> int:
        return len(self.heads)

    @property
    def max_position_embeddings(self) -> int:
        return self.max_positions


class States(NamedTuple):
    """What losses see: hidden states [B, T, H], embedded and after each layer; q, k, v [B, A, T, d] of the last."""

    hidden: tuple[Tensor, ...]
    q: Tensor | None
    k: Tensor | None
    v: Tensor | None
    pooled: Tensor  # [B, output_size], neither normalised nor classified


class Layer(nn.Module):
    """Attention, then two dense layers, each with its residual and a norm after it: Vaswani et al. (2017)."""

    def __init__(self, shape: EncoderShape, heads: int, units: int) -> None:
        super().__init__()
        self.heads, self.size = heads, shape.head_size
        self.qkv = nn.Linear(shape.hidden_size, 3 * heads * shape.head_size)
        self.attended = nn.Linear(heads * shape.head_size, shape.hidden_size)
        self.norm1 = nn.LayerNorm(shape.hidden_size, eps=shape.norm_eps)
        self.up = nn.Linear(shape.hidden_size, units)
        self.down = nn.Linear(units, shape.hidden_size)
        self.norm2 = nn.LayerNorm(shape.hidden_size, eps=shape.norm_eps)
        self.activation = F.gelu if shape.activation == "gelu" else F.relu

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """X [B, T, H] and what is added to scores [B, 1, 1, T]."""
        return self.step(x, mask)[0]

    def step(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `forward` gives, and q, k, v [B, A, T, d]."""
        batch, length, _ = x.shape
        # three slices of one product: fewer nodes than a view of five dimensions, and a little faster in ONNX Runtime
        parts = (part.view(batch, length, self.heads, self.size) for part in self.qkv(x).chunk(3, dim=-1))
        q, k, v = (part.transpose(1, 2) for part in parts)
        scores = torch.matmul(q, k.transpose(-1, -2)) * self.size**-0.5 + mask
        mixed = torch.matmul(scores.softmax(-1), v).transpose(1, 2).reshape(batch, length, self.heads * self.size)
        x = self.norm1(x + self.attended(mixed))
        return self.norm2(x + self.down(self.activation(self.up(x)))), q, k, v


class Encoder(nn.Module):
    """
    From input_ids [B, T] and attention_mask [B, T] to embeddings [B, output_size], or to logits [B, C].

    A graph without branches: what `torch.onnx.export` takes, with any batch and any length up to `max_positions`.
    """

    masked = MASKED  # added to scores of padding

    def __init__(self, shape: EncoderShape, classes: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocab_size, shape.embedding_size)
        hidden = shape.hidden_size
        self.widen = nn.Linear(shape.embedding_size, hidden, bias=False) if shape.embedding_size < hidden else None
        self.positions = nn.Parameter(torch.zeros(shape.max_positions, hidden)) if shape.max_positions else None
        self.norm = nn.LayerNorm(hidden, eps=shape.norm_eps) if shape.max_positions else None
        self.layers = nn.ModuleList(Layer(shape, heads, units) for heads, units in shape.groups)
        out = shape.output_size
        self.project = nn.Linear(hidden, out, bias=False) if out != hidden else None
        self.pooler = nn.Linear(out, out) if shape.pooler else None
        self.classifier = nn.Linear(out, classes) if classes else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.answer(self.pool(self.tokens(input_ids, attention_mask), attention_mask))

    def embedded(self, input_ids: Tensor) -> Tensor:
        x: Tensor = self.words(input_ids)
        if self.widen is not None:
            x = self.widen(x)
        if self.positions is not None and self.norm is not None:
            x = self.norm(x + self.positions[: input_ids.shape[1]])
        return x

    def tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T, H]."""
        x, mask = self.embedded(input_ids), hidden_from(attention_mask, self.masked)
        for number in range(self.shape.layers):
            x = self.layer(number)(x, mask)
        return x

    def layer(self, number: int) -> Layer:
        """The one that comes as the `number`-th: of those that share, they are the same."""
        layer = self.layers[number // self.shape.share]
        assert isinstance(layer, Layer)
        return layer

    def pool(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T, H] to [B, output_size]."""
        if self.shape.pooling == "cls":
            pooled = tokens[:, 0]
        else:
            counted = attention_mask.to(tokens.dtype).unsqueeze(-1)
            pooled = (tokens * counted).sum(1) / counted.sum(1).clamp(min=1)
        return pooled if self.project is None else self.project(pooled)

    def answer(self, pooled: Tensor) -> Tensor:
        """Of what is pooled [B, output_size]."""
        if self.pooler is not None:
            pooled = torch.tanh(self.pooler(pooled))
        if self.classifier is not None:
            return self.classifier(pooled)  # type: ignore[no-any-return]
        return pooled / pooled.norm(dim=-1, keepdim=True).clamp(min=1e-12) if self.shape.normalize else pooled

    def states(self, input_ids: Tensor, attention_mask: Tensor, layer: int | None = None) -> States:
        """With q, k and v of the `layer`-th, counted from 1, or the last."""
        wanted = self.shape.layers if layer is None else layer
        mask = hidden_from(attention_mask, self.masked)
        seen = [self.embedded(input_ids)]
        q = k = v = None
        for number in range(self.shape.layers):
            x, *parts = self.layer(number).step(seen[-1], mask)
            if number + 1 == wanted:
                q, k, v = parts
            seen.append(x)
        return States(tuple(seen), q, k, v, self.pool(seen[-1], attention_mask))


def hidden_from(attention_mask: Tensor, masked: float) -> Tensor:
    """What is added to attention scores, [B, 1, 1, T]: 0 where the mask [B, T] is 1, and `masked` where it is 0."""
    return (1.0 - attention_mask.to(torch.float32))[:, None, None, :] * masked


class _Model(PreTrainedModel):  # type: ignore[misc]
    config_class = EncoderConfig
    base_model_prefix = "net"
    main_input_name = "input_ids"

    def __init__(self, config: EncoderConfig, classes: int) -> None:
        super().__init__(config)
        self.net = Encoder(config.shape, classes)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, Encoder) and module.positions is not None:
            nn.init.normal_(module.positions, std=0.02)
        if isinstance(module, (nn.Linear, nn.LayerNorm)) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.net.words


class EncoderModel(_Model):
    """Sentence embeddings: they are `pooler_output`; `last_hidden_state` holds the tokens'."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config, 0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutputWithPooling:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        tokens = self.net.tokens(input_ids, mask)
        return BaseModelOutputWithPooling(
            last_hidden_state=tokens, pooler_output=self.net.answer(self.net.pool(tokens, mask))
        )


class EncoderForSequenceClassification(_Model):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config, config.num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = self.net(input_ids, mask)
        loss = F.cross_entropy(logits, labels) if labels is not None else None
        return SequenceClassifierOutput(loss=loss, logits=logits)


def register() -> None:
    """Let transformers' Auto classes load our folders."""
    AutoConfig.register(MODEL_TYPE, EncoderConfig, exist_ok=True)
    AutoModel.register(EncoderConfig, EncoderModel, exist_ok=True)
    AutoModelForSequenceClassification.register(EncoderConfig, EncoderForSequenceClassification, exist_ok=True)


register()  # once here, for whoever comes first: see edgekd/_auto.py
