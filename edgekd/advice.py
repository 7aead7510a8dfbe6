"""What is known to go wrong in recipes, as sentences: the findings behind each stand in docs/methods.md."""

from __future__ import annotations

from edgekd.pipeline import Pipeline

HOT = 2.0  # temperature from which a smoothed teacher's classes blur into each other
FEW = 4  # classes
MANY = 4  # times that each kept view is seen
HEAVY = 1.5
FAR = 10.0  # times smaller: from there on a student may learn less from a larger teacher
PATIENT = 300  # epochs


def advice(pipeline: Pipeline, classes: int | None = None, smaller: float | None = None) -> list[str]:
    """
    Of a pipeline as it is written; `classes` where its data is known, and how many times `smaller` than its teacher the
    student is, where both are.
    """
    found = [*_smoothed(pipeline), *_weights(pipeline), *_views(pipeline), *_patience(pipeline)]
    helped = pipeline.distill.assistant == "auto" or any(loss.name == "taid" for loss in pipeline.distill.losses)
    if smaller is not None and smaller > FAR and not helped:
        found.append(
            f"the student has {smaller:.0f} times fewer parameters than its teacher: beyond {FAR:g} a larger teacher "
            "may teach worse; try distill.assistant auto, or the loss taid"
        )
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
    """
    A teacher trained on smoothed labels or mixed images, taught at a high temperature: Chandrasegaran et al. 2022,
    [264]; of mixup [161].
    """
    train, mixup = pipeline.teacher.train, pipeline.views.mixup
    if train is None or not (train.label_smoothing or mixup):
        return []
    by = ("label_smoothing", train.label_smoothing) if train.label_smoothing else ("views.mixup", mixup)
    for loss in pipeline.distill.losses:
        if loss.needs and (temperature := getattr(loss, "temperature", 0)) > HOT:
            return [
                f"{loss.name} at temperature {temperature:g} from a teacher trained with {by[0]} {by[1]:g}: what it "
                f"says of similar classes is blurred there; temperature {HOT:g} or less, or {by[0]} 0"
            ]
    return []


def _patience(pipeline: Pipeline) -> list[str]:
    """Label-free teaching of consistent views takes long: Beyer et al. 2022, [284]."""
    plan = pipeline.distill
    label_free = all("logits" in loss.needs and not loss.one_class for loss in plan.losses)
    if not label_free or plan.epochs >= PATIENT:
        return []
    alone = ", ".join(loss.name for loss in plan.losses)
    return [
        f"not patient: {alone} without labels for {plan.epochs} epochs; what the teacher says of consistent views went "
        f"on to help over {PATIENT} epochs and more; add cross-entropy, or train longer"
    ]


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
