"""Every score by its name: from a fresh net and what all candidates are shown to a number, higher is better."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnn, mac_count, parameter_count
from edgekd.models.shape import NetShape
from edgekd.search.scores import activations, diswot, gradients
from edgekd.search.scores.synflow import synflow


@dataclass(frozen=True)
class Shown:
    """Images x [N, C, H, W], their labels [N], and what a random and the trained teacher make of them."""

    x: Tensor
    labels: Tensor
    classes: Sequence[str]
    teacher: diswot.Look | None = None
    trained: Tensor | None = None  # the last feature map

    @property
    def image(self) -> tuple[int, int, int]:
        channels, height, width = self.x.shape[1:]
        return channels, height, width


@dataclass
class Candidate:
    """A shape with one initialisation; each score gets a net that nothing has run through."""

    shape: NetShape
    seed: int
    shown: Shown

    @cached_property
    def fresh(self) -> ResidualCnn:
        made: ResidualCnn = checkpoint.build(self.shape, self.shown.classes, self.shown.image[0], self.seed).net
        return made

    def net(self) -> ResidualCnn:
        return copy.deepcopy(self.fresh)

    @cached_property
    def gradients(self) -> gradients.Gradients:
        return gradients.gradients(self.net(), self.shown.x, self.shown.labels)

    @cached_property
    def look(self) -> diswot.Look:
        return diswot.look(diswot.with_usual_head(self.net(), self.seed), self.shown.x, self.shown.labels)


Plugin = Callable[[Candidate], float | None]  # None: not defined for this candidate


def _zico(candidate: Candidate) -> float:
    """Over the two halves of what is shown."""
    half = len(candidate.shown.x) // 2
    x, labels = candidate.shown.x, candidate.shown.labels
    net = candidate.net()
    return gradients.zico(
        [gradients.gradients(net, x[rows], labels[rows]) for rows in (slice(half), slice(half, None))]
    )


def _relation(candidate: Candidate) -> float | None:
    teacher = candidate.shown.teacher
    return None if teacher is None else diswot.relation(candidate.look, teacher)


def _semantic(candidate: Candidate) -> float | None:
    teacher = candidate.shown.teacher
    return None if teacher is None else diswot.semantic(candidate.look, teacher)


def _diswot(candidate: Candidate) -> float | None:
    semantic, relation = _semantic(candidate), _relation(candidate)
    return None if semantic is None or relation is None else semantic + relation


def _alike(candidate: Candidate) -> float | None:
    trained = candidate.shown.trained
    return None if trained is None else activations.alike(candidate.net(), candidate.shown.x, trained)


def _zen(candidate: Candidate) -> float:
    generator = torch.Generator().manual_seed(candidate.seed)
    return activations.zen(candidate.net(), candidate.shown.x, generator)


PLUGINS: Mapping[str, Plugin] = {
    "params": lambda c: parameter_count(c.fresh),
    "macs": lambda c: mac_count(c.net(), c.shown.image),
    "synflow": lambda c: synflow(c.net(), c.shown.image),
    "snip": lambda c: gradients.snip(c.gradients),
    "grad-norm": lambda c: gradients.grad_norm(c.gradients),
    "zico": _zico,
    "nwot": lambda c: activations.nwot(c.net(), c.shown.x),
    "zen": _zen,
    "diswot": _diswot,
    "diswot-semantic": _semantic,
    "diswot-relation": _relation,
    "teacher-cka": _alike,
}
