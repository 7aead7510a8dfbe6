"""A teacher's assistant where the student is much smaller: found, trained, and then the student's teacher."""

from __future__ import annotations

import math
from itertools import product

from edgekd.advice import FAR
from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.models.shape import NetShape
from edgekd.models.shape import parameters as count
from edgekd.pipeline import Pipeline

MOST = 4  # candidates
BLOCKS, WIDTHS = (1.0, 0.5, 0.34), (1.0, 0.75, 0.5)


def assistant_of(
    engine: Engine, pipeline: Pipeline, teacher: NetShape | None, student: Result, inputs: dict[str, Result]
) -> Result | None:
    """
    The trained assistant; None where it is not wanted, the student is not far from its teacher, or the teacher is no
    net of edgekd's.

    Han et al., "AMD: Automatic multi-step distillation of large-scale vision models" (2024), [238], after Mirzadeh et
    al., "Improved knowledge distillation via teacher assistant" (2020): candidates are parts of the teacher, tried for
    a share of the epochs; theirs are pruned and trained jointly, ours start from the teacher's blocks one by one.
    """
    if pipeline.distill.assistant != "auto" or not isinstance(student, Artifact):
        return None
    if teacher is None:
        engine.say("assistant: is a part of a teacher of edgekd's own family, and this teacher is of another: none")
        return None
    shape = NetShape.model_validate_json(student.file("shape.json").read_text("utf-8"))
    found = between(teacher, shape, *_sizes(inputs["data"]))
    if not found:
        engine.say("assistant: none, for no part of the teacher lies between it and a student less than a tenth of it")
        return None
    settings = distill.of(pipeline.distill, pipeline.preprocess, pipeline.views).model_copy(update={"start": "auto"})
    short = settings.train.model_copy(update={"epochs": max(1, round(0.2 * settings.train.epochs)), "looks": 0})
    judge = distill.Judge(split="val", preprocess=pipeline.preprocess.outside, threads=settings.train.threads)
    judged: dict[str, Result] = {}
    for number, candidate in enumerate(found):
        at = Coordinates(student=f"assistant {number + 1} of {len(found)}")
        chosen = engine.call(distill.GIVEN, distill.GiveStudent(shape=candidate), {}, at)
        tried = settings.model_copy(update={"train": short})
        net = engine.call(distill.FLOAT, tried, inputs | {"student": chosen}, at)
        judged[f"val.{number}"] = engine.call(distill.JUDGE, judge, {"net": net, "data": inputs["data"]}, at)
    choice = engine.call(distill.ASSISTANT, distill.ChooseAssistant(candidates=found), judged)
    return engine.call(distill.FLOAT, settings, inputs | {"student": choice}, Coordinates(student="assistant"))


def _sizes(data: Result) -> tuple[int, int]:
    """Channels of an image, and classes; of data that is only planned those of most."""
    if not isinstance(data, Artifact):
        return 3, 10
    about = data.json("dataset.json")
    return int(about["image"][0]), len(about["labels"])


def between(teacher: NetShape, student: NetShape, channels: int = 3, classes: int = 10) -> tuple[NetShape, ...]:
    """Parts of the teacher in size between the two, those nearest to the middle of the ratio; the largest first."""

    def parameters(shape: NetShape) -> int:
        return count(shape, channels, classes)

    most, least = parameters(teacher), parameters(student)
    if most <= FAR * least:
        return ()
    middle = math.sqrt(most * least)
    tried = {part(teacher, blocks, width) for blocks, width in product(BLOCKS, WIDTHS)}
    within = [shape for shape in tried if 1.5 * least < parameters(shape) < most / 1.5]
    near = sorted(within, key=lambda shape: abs(math.log(parameters(shape) / middle)))[:MOST]
    return tuple(sorted(near, key=parameters, reverse=True))


def part(shape: NetShape, blocks: float, width: float) -> NetShape:
    """A share of each stage's blocks, its first always, and of all widths."""
    starts = [number for number, stride in enumerate(shape.strides) if stride > 1 or number == 0]
    kept: list[int] = []
    for start, end in zip(starts, [*starts[1:], len(shape.strides)], strict=True):
        kept += range(start, start + max(1, math.ceil(blocks * (end - start))))

    step = shape.head_width if "encoder" in shape.kinds else 1  # whole heads

    def narrow(channels: int) -> int:
        return max(step, round(width * channels / step) * step)

    said = {name: getattr(shape, name) for name in ("strides", "kinds", "kernels", "heads")}
    return shape.model_copy(
        update={
            "stem_width": narrow(shape.stem_width),
            "widths": tuple((narrow(shape.widths[number][0]), narrow(shape.widths[number][1])) for number in kept),
            **{name: tuple(values[number] for number in kept) if values else () for name, values in said.items()},
        }
    )
