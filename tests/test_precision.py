"""bfloat16 is taken where it was measured to be faster and no worse, and nothing is measured where it cannot be."""

from __future__ import annotations

import pytest

from edgekd import probing
from edgekd.distill import stages as distill
from edgekd.distill.precision import Tried, choose
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Store
from edgekd.hardware.fingerprint import Cpu
from edgekd.models.shape import NetShape
from edgekd.pipeline import load_pipeline
from edgekd.sources import dataset_of

SHAPE = NetShape(stem_width=8, stem_stride=2, widths=((8, 8), (16, 16)), strides=(1, 2))
PLAIN = Cpu(model="plain", architecture="x86_64", isa=("avx2",))
UNITS = Cpu(model="with units", architecture="x86_64", isa=("avx2", "avx512_bf16"))


@pytest.mark.parametrize(
    ("half", "chosen"),
    [
        (Tried(150, 1.0), "bfloat16"),
        (Tried(105, 0.5), "float32"),  # hardly faster
        (Tried(300, 1.1), "float32"),  # learns worse
        (Tried(300, float("nan")), "float32"),
        (Tried(110.1, 1.019), "bfloat16"),  # just within both limits
    ],
)
def test_half_the_bits_are_taken_where_they_are_faster_and_learn_no_worse(half: Tried, chosen: str) -> None:
    assert choose(distill.ChoosePrecision(), Tried(100, 1.0), half) == chosen


def test_nothing_is_measured_without_units_for_it_or_where_it_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    def precision(*assignments: str) -> str | None:
        pipeline = load_pipeline("digits", list(assignments))
        return probing.precision_of(None, pipeline, {}, Coordinates())  # type: ignore[arg-type]  # it is not asked

    monkeypatch.setattr(probing, "this_cpu", lambda _profile: PLAIN)
    assert precision() == "float32"
    assert precision("distill.precision=bfloat16") == "bfloat16"
    monkeypatch.setattr(probing, "this_cpu", lambda _profile: UNITS)
    assert precision("distill.precision=float32") == "float32"


@pytest.mark.slow
def test_a_trial_decides_where_there_are_units(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Both precisions really train; the float phase is told what was chosen, and a second build asks no more."""
    monkeypatch.setattr(probing, "this_cpu", lambda _profile: UNITS)
    builder, pipeline = Builder(store, Silent()), load_pipeline("digits", ["distill.batch=64"])
    data = dataset_of(builder, pipeline)
    student = builder.call(distill.GIVEN, distill.GiveStudent(shape=SHAPE), {})
    settings = probing.float_settings(builder, pipeline, {"data": data, "student": student})
    assert settings is not None
    seen = builder.call(
        distill.PRECISIONS,
        distill.TryPrecisions(cpu=UNITS, preprocess=pipeline.preprocess, batch=64, threads=pipeline.distill.threads),
        {"data": data, "student": student},
    ).json("precisions.json")["tried"]
    whole, half = (Tried(**seen[name]) for name in ("float32", "bfloat16"))
    assert whole.loss < 2.0  # of ln 10 = 2.3 at the start: it trained
    assert half.loss != whole.loss
    assert abs(half.loss - whole.loss) < 0.2
    assert settings.train.precision == choose(distill.ChoosePrecision(), whole, half)
