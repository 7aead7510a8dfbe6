"""What a student and its teacher answer in torch: on what it learnt from, on what it did not, on shifted pictures."""

from __future__ import annotations

from edgekd.data.stages import Split
from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.pipeline import Pipeline

LOOKS: tuple[tuple[str, Split, bool, int | None], ...] = (  # name, split, shifted, at most
    ("train", "train", False, 2000),
    ("val", "val", False, None),
    ("test", "test", False, None),
    ("test, shifted", "test", True, None),
)


def looks_of(
    engine: Engine,
    pipeline: Pipeline,
    dataset: Result,
    student: Result,
    teacher: Result,
    target: str | None = None,
) -> dict[str, Result]:
    """Both nets' answers, as `train.student`, `train.teacher` and so on."""
    found = {}
    for name, split, shifted, most in LOOKS:
        settings = distill.Judge(split=split, preprocess=pipeline.preprocess.outside, shifted=shifted, most=most)
        for who, net in (("student", student), ("teacher", teacher)):
            at = Coordinates(target=target, student=who, variant=name)
            found[f"{name}.{who}"] = engine.call(distill.JUDGE, settings, {"net": net, "data": dataset}, at)
    return found
