"""Zeros that come by a schedule and stay: what hangs on the optimiser of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgekd.sparse.inputs import Inputs
from edgekd.sparse.masks import lowest_of_all_out, lowest_out, n_of_m
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.scores import by_activation, by_obs, swapped

FORGETS = 0.9  # of a Taylor score, each step
WIDEST = 2304  # values that one output reads, where all pairs of them are looked at: 40 MB, some seconds


def sparsifiable(net: nn.Module, plan: Sparsity) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights by the name of their layer, and why other layers stay dense."""
    taken: dict[str, Tensor] = {}
    left: dict[str, str] = {}
    _, group = plan.group
    for name, layer in net.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        channels = layer.weight.shape[1]
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            left[name] = f"{layer.groups} groups: few weights, and kernels of their own"
        elif channels % group:
            left[name] = f"{channels} input channels are no multiple of {group}"
        elif plan.importance == "obs" and layer.weight[0].numel() > WIDEST:
            left[name] = f"{layer.weight[0].numel():,} values are read at once, too many for obs ({WIDEST:,})"
        elif not plan.fits(layer.weight.shape):
            left[name] = (
                f"{len(layer.weight)} x {channels} channels are no whole blocks of {' x '.join(map(str, plan.block))}"
            )
        else:
            taken[name] = layer.weight
    return taken, left


def zeros_at(step: int, steps: int, plan: Sparsity) -> float:
    """
    The share of zeros after `step` of `steps`: s (1 - (1 - t)^3), t from 0 at `begin` to 1 at `end` (Zhu and Gupta, "To
    prune, or not to prune", 2017, equation 1, from no zeros at all). Of rewinding as much of what is left goes after
    every round.
    """
    if plan.schedule == "rewind":
        left = (1 - plan.share) ** (rounds_done(step, steps, plan) / plan.rounds)
        return float(1 - left)
    begin, end = plan.begin * steps, plan.end * steps
    if step < begin:
        return 0.0
    if plan.schedule == "one-shot" or step >= end:
        return plan.share
    return plan.share * (1 - (1 - (step - begin) / (end - begin)) ** 3)


def rounds_done(step: int, steps: int, plan: Sparsity) -> int:
    """Of rewinding: how often weights went, at the ends of trainings of equal length, the last of which prunes none."""
    return min(plan.rounds, step * (plan.rounds + 1) // steps)


class Masks(nn.Module):
    """
    The masks of some weights, which are changed in place after every step of an optimiser that it is `attach`ed to.
    Its buffers are all that a snapshot has to hold.

    With `sr_ste` the weights behind the mask go on learning, by the gradient of the masked net, and fade: their
    gradient gets sr_ste x weight (Zhou et al., "Learning N:M fine-grained structured sparse neural networks from
    scratch", 2021, equation 9). Between two steps the net's own weights are masked, always.

    Rewinding (Renda, Frankle and Carbin, "Comparing rewinding and fine-tuning in neural network pruning", 2020): the
    loop's rate starts again each round, and with `rewinds: weights` so do all of the net's parameters, from where they
    were at `begin` (Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", 2020).
    """

    step: Tensor

    def __init__(
        self, weights: Mapping[str, Tensor], plan: Sparsity | None, steps: int = 0, net: nn.Module | None = None
    ) -> None:
        """Without a plan the zeros that there are stay; `net` holds the layers whose inputs a plan reads."""
        super().__init__()
        self.weights, self.plan, self.steps = dict(weights), plan, steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.learns = plan is not None and plan.sr_ste > 0
        for number, weight in enumerate(self.weights.values()):
            stays = torch.ones_like(weight, dtype=torch.bool) if plan else weight.detach() != 0
            self.register_buffer(f"mask_{number}", stays)
            if self.learns:
                self.register_buffer(f"behind_{number}", weight.detach().clone())
            if plan is not None and plan.importance == "taylor":
                self.register_buffer(f"score_{number}", torch.zeros_like(weight))
        if plan is not None and plan.reads_inputs:
            assert net is not None
            layers = {name: net.get_submodule(name) for name in weights}
            self.inputs = Inputs(layers, pairs=plan.importance == "obs")
        self.rewound: list[Tensor] = []
        if plan is not None and plan.schedule == "rewind" and plan.rewinds == "weights":
            assert net is not None
            self.rewound = list(net.parameters())
            for number, parameter in enumerate(self.rewound):
                self.register_buffer(f"early_{number}", parameter.detach().clone())
        if plan is not None and zeros_at(0, steps, plan) > 0:
            self.choose()
            self.hold()

    def attach(self, optimizer: Optimizer) -> None:
        optimizer.register_step_pre_hook(lambda *_: self._before())
        optimizer.register_step_post_hook(lambda *_: self._after(optimizer))

    @torch.no_grad()
    def hold(self) -> None:
        """What is masked is zero."""
        for number, weight in enumerate(self.weights.values()):
            weight.mul_(self._own("mask", number))

    @torch.no_grad()
    def choose(self) -> None:
        """The masks for the step at which the training is."""
        assert self.plan is not None
        plan, share = self.plan, zeros_at(int(self.step), self.steps, self.plan)
        scores = [self._score(number) for number in range(len(self.weights))]
        if plan.nm is not None:
            kept, group = plan.group
            now = group - round((group - kept) * share / plan.share)  # of each group, fewer and fewer
            masks = [n_of_m(score, now, group) for score in scores]
        elif plan.scope == "global":
            masks = lowest_of_all_out(scores, share, plan.block)
        else:
            masks = [lowest_out(score, share, plan.block) for score in scores]
        if plan.refine == "dsnot":
            masks = [
                swapped(self._weight(number), mask, self.inputs.mean(number), self.inputs.square(number))
                for number, mask in enumerate(masks)
            ]
        for number, mask in enumerate(masks):
            self._own("mask", number).copy_(mask)

    def told(self) -> dict[str, Any]:
        """How many of each layer's weights are zero."""
        zeros = {name: int((weight == 0).sum()) for name, weight in self.weights.items()}
        sizes = {name: weight.numel() for name, weight in self.weights.items()}
        return {
            "plan": str(self.plan),
            "zeros_percent": 100 * sum(zeros.values()) / max(1, sum(sizes.values())),
            "layers": {name: 100 * zeros[name] / sizes[name] for name in zeros},
        }

    @torch.no_grad()
    def _before(self) -> None:
        for number, weight in enumerate(self.weights.values()):
            if weight.grad is None:
                continue
            if self.plan is not None and self.plan.importance == "taylor":
                self._own("score", number).mul_(FORGETS).add_((weight * weight.grad).abs(), alpha=1 - FORGETS)
            if self.learns and self.plan is not None:
                behind = self._own("behind", number)
                weight.grad.add_(behind * ~self._own("mask", number), alpha=self.plan.sr_ste)
                weight.copy_(behind)

    @torch.no_grad()
    def _after(self, optimizer: Optimizer) -> None:
        self.step += 1
        if self.rewound and int(self.step) == self._early():
            for number, parameter in enumerate(self.rewound):
                self._own("early", number).copy_(parameter)
        if self.learns:
            for number, weight in enumerate(self.weights.values()):
                self._own("behind", number).copy_(weight)
        if self._due():
            self.choose()
            self._rewind(optimizer)
        self.hold()

    def _early(self) -> int:
        """The step whose weights come back."""
        return 0 if self.plan is None else round(self.plan.begin * self.steps)

    def _rewind(self, optimizer: Optimizer) -> None:
        """Back to the early weights, with no momentum."""
        for number, parameter in enumerate(self.rewound):
            parameter.copy_(self._own("early", number))
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor):
                    value.zero_()

    def _due(self) -> bool:
        """Between begin and end, every so many steps and at the end; with SR-STE for good, each step."""
        if self.plan is None or zeros_at(int(self.step), self.steps, self.plan) == 0:
            return False
        if self.learns:
            return True
        if self.plan.schedule == "rewind":
            now, before = (rounds_done(int(self.step) - back, self.steps, self.plan) for back in (0, 1))
            return now > before
        step, begin, end = int(self.step), self.plan.begin * self.steps, self.plan.end * self.steps
        last = begin if self.plan.schedule == "one-shot" else end
        return (step < last and step % self.plan.every == 0) or last <= step < last + 1

    def _score(self, number: int) -> Tensor:
        assert self.plan is not None
        match self.plan.importance:
            case "taylor":
                return self._own("score", number)
            case "activation":
                return by_activation(self._weight(number), self.inputs.square(number))
            case "obs":
                return by_obs(self._weight(number), self.inputs.pairs(number))
        return self._weight(number).abs()

    def _weight(self, number: int) -> Tensor:
        """Of the layer; with SR-STE what is behind its mask too."""
        return self._own("behind", number) if self.learns else list(self.weights.values())[number].detach()

    def _own(self, what: str, number: int) -> Tensor:
        found: Tensor = getattr(self, f"{what}_{number}")
        return found


def kept_zeros(net: nn.Module) -> Masks:
    """The zeros of a net that was made sparse before, to be held in a further training."""
    return Masks({name: weight for name, weight in net.named_parameters() if weight.ndim > 1}, None)
