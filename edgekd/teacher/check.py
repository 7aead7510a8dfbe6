"""
Is a given teacher any good on the person's data? A bad one is mostly read wrongly: other preprocessing than it was
trained with, channels or classes in another order. Each is tried, so that the sentence can say which it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.stages import Preprocess
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.stats import paired_difference, proportion_interval
from edgekd.teacher.answers import Answers, answers_of
from edgekd.teacher.stages import CheckTeacher

BATCH = 64
CLEARLY_POINTS = 1.0  # by how much other preprocessing has to be better, at the least, to be named
KNOWN: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "from -1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "from 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "from 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
KNOWN_GRAY: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "MNIST's": ((0.1307,), (0.3081,)),
    "from -1 to 1": ((0.5,), (0.5,)),
    "from 0 to 1": ((0.0,), (1.0,)),
    "from 0 to 255": ((0.0,), (1 / 255,)),
}


def run(settings: CheckTeacher, inputs: Mapping[str, Artifact], work: Work) -> None:
    data = Dataset(inputs["data"])
    val = data.split("val")
    rows = np.sort(np.random.default_rng(settings.seed).permutation(len(val))[: settings.images])
    images, labels = np.asarray(val.images[rows]), val.labels[rows]
    answer = answers_of(inputs["teacher"].path)
    predicted = classes(answer, images, settings.preprocess)
    stated = predicted == labels
    accuracy = proportion_interval(int(stated.sum()), len(stated))
    says = remedies(answer, images, labels, predicted, settings.preprocess, data.labels)
    told = f"the teacher is right on {accuracy.value:.1f} % of val (n {len(stated)})"
    about = {"schema": 1, "n": len(stated), "accuracy_percent": list(accuracy), "says": says}
    (work.out / "check.json").write_text(json.dumps(about, indent=1), "utf-8")
    work.progress.say(told)
    if says and not settings.trust:
        raise ConfigError(
            f"teacher.from: {told}, and something is off: {'; '.join(says)}. Mend it, or set teacher.trust to go on"
        )
    for sentence in says:
        work.progress.warn(f"something is off with the teacher: {sentence}")


def remedies(
    answer: Answers,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    stated: Preprocess,
    names: list[str],
) -> list[str]:
    """What would make it clearly better; that it only guesses, where nothing does."""
    right = predicted == labels
    found = []
    for name, other in others(stated):
        won = paired_difference(right, classes(answer, images, other) == labels)
        if won.low > CLEARLY_POINTS:
            told = f"with {name} it would be right {won.value:+.1f} points more often: {_as_yaml(other)}"
            found.append((won.value, told))
    if found:
        return [max(found)[1]]
    turned = paired_difference(right, classes(answer, images[..., ::-1], stated) == labels)
    if images.shape[-1] == 3 and turned.low > CLEARLY_POINTS:
        return [f"with channels as blue, green, red it would be right {turned.value:+.1f} points more often"]
    if (swapped := _other_order(labels, predicted, names)) is not None:
        return [swapped]
    share = float(np.bincount(labels).max() / len(labels))
    accuracy = proportion_interval(int(right.sum()), len(right))
    if accuracy.low <= 100 * share and accuracy.high < 50 * (1 + share):  # guessing, and surely nowhere near good
        return [
            f"always answering the most frequent class would be right on {100 * share:.1f} %. The usual reasons: "
            "preprocess.mean and std, resize and crop, channels, the order of classes (teacher.labels), other classes"
        ]
    return []


def others(stated: Preprocess) -> list[tuple[str, Preprocess]]:
    """Usual preprocessings that the stated one is not."""
    known = KNOWN if len(stated.mean) == 3 else KNOWN_GRAY
    return [
        (f"pixels {name}" if name.startswith("from") else f"{name} mean and deviation",
         stated.model_copy(update={"mean": mean, "std": std}))
        for name, (mean, std) in known.items()
        if not (np.allclose(mean, stated.mean, atol=2e-3) and np.allclose(std, stated.std, atol=2e-3))
    ]  # fmt: skip


def classes(answer: Answers, images: NDArray[np.uint8], how: Preprocess) -> NDArray[np.int64]:
    """The class that a teacher answers, [N], for images uint8 [N, H, W, C]."""
    parts = [
        answer(torch.from_numpy(preprocess(images[start : start + BATCH], how))).argmax(1).numpy()
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def _other_order(labels: NDArray[np.int64], predicted: NDArray[np.int64], names: list[str]) -> str | None:
    """Whether another assignment of its answers to the classes fits far better."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (predicted, labels), 1)
    own, meant = linear_sum_assignment(counts, maximize=True)
    best, now = counts[own, meant].sum() / len(labels), np.trace(counts) / len(labels)
    if best < 0.5 or best < now + 0.2:
        return None
    pairs = ", ".join(f"{names[a]!r} for {names[b]!r}" for a, b in zip(own, meant, strict=True) if a != b)
    return (
        f"its classes seem to be in another order: it says {pairs}; put into order it is right on {100 * best:.1f} %. "
        "teacher.labels says what its answers are"
    )


def _as_yaml(how: Preprocess) -> str:
    mean, std = ([round(value, 6) for value in values] for values in (how.mean, how.std))
    return f"preprocess: {{mean: {mean}, std: {std}}}"
