"""What is known to go wrong in recipes, as sentences: the findings behind each stand in docs/methods.md."""

from __future__ import annotations

from edgekd.pipeline import Pipeline

HOT = 2.0  # temperature from which a smoothed teacher's classes blur into each other
FEW = 4  # classes
MANY = 4  # times that each kept view is seen
HEAVY = 1.5


def advice(pipeline: Pipeline, classes: int | None = None) -> list[str]:
    """Of a pipeline as it is written; `classes` where its data is known."""
    found = [*_smoothed(pipeline), *_weights(pipeline), *_views(pipeline)]
    soft = [loss.name for loss in pipeline.distill.losses if "logits" in loss.needs]
    if not any(loss.needs for loss in pipeline.distill.losses):
        found.append("distill.losses ask nothing of the teacher: this trains on labels alone")
    if classes is not None and classes <= FEW and soft:
        found.append(
            f"{classes} classes: a teacher's probabilities tell little more than the label there; losses on features "
            "(rkd, similarity, hint) tell more"
        )
    return found


def _smoothed(pipeline: Pipeline) -> list[str]:
    """A teacher trained on smoothed labels, taught at a high temperature: Chandrasegaran et al. 2022, [264]."""
    train = pipeline.teacher.train
    if train is None or not train.label_smoothing:
        return []
    for loss in pipeline.distill.losses:
        if loss.needs and (temperature := getattr(loss, "temperature", 0)) > HOT:
            return [
                f"{loss.name} at temperature {temperature:g} from a teacher trained with label_smoothing "
                f"{train.label_smoothing:g}: what it says of similar classes is blurred there; temperature {HOT:g} or "
                "less, or label_smoothing 0"
            ]
    return []


def _weights(pipeline: Pipeline) -> list[str]:
    return [
        f"{loss.name} weighs {loss.weight:g}: above {HEAVY:g} it acts as a higher learning rate; tune that with it"
        for loss in pipeline.distill.losses
        if loss.name == "kd" and not loss.standardise and loss.weight > HEAVY
    ]


def _views(pipeline: Pipeline) -> list[str]:
    kept = pipeline.distill.kept(pipeline.views)
    if kept is None or pipeline.distill.epochs <= MANY * kept.views:
        return []
    return [
        f"{pipeline.distill.epochs} epochs over {kept.views} kept views of each sample: a student that sees the same "
        "targets often learns their mistakes; raise distill.targets.views, or let it stop by patience"
    ]
