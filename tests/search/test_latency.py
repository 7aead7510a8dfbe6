"""Candidates are measured in every runtime of a device before anybody trains them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekd.data.stages import Preprocess
from edgekd.engine.events import Progress, Silent
from edgekd.errors import UnsupportedError
from edgekd.hardware.inputs import random_feeds
from edgekd.hardware.profile import Measuring, load_profile, this_cpu
from edgekd.hardware.runtime import open_session
from edgekd.models.shape import NetShape
from edgekd.search.latency import as_model, compared

HERE = load_profile("local-cpu")
CPU = this_cpu(HERE)
KINDS = NetShape(
    stem_width=8, stem_stride=2, stem_kernel=4, widths=((8, 8), (16, 16), (16, 16), (32, 24)), strides=(1, 2, 1, 2),
    kinds=("residual", "plain", "skip", "inverted"), kernels=(3, 3, 5, 3),
)  # fmt: skip


@pytest.mark.parametrize("spec", HERE.runnable, ids=lambda spec: spec.name)
@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_runtime_runs_a_candidate_of_every_kind_of_block(spec: object, inside: bool, tmp_path: Path) -> None:
    prepared = Preprocess(mean=(0.5,) * 3, std=(0.2,) * 3, inside=inside)
    if inside and spec.name == "litert":  # type: ignore[attr-defined]
        with pytest.raises(UnsupportedError, match="exporter litert: "):  # its writer knows no float arithmetic
            as_model(KINDS, "abc", (3, 16, 16), prepared, spec, CPU, tmp_path / "a")  # type: ignore[arg-type]
        return
    model = as_model(KINDS, "abc", (3, 16, 16), prepared, spec, CPU, tmp_path / "a")  # type: ignore[arg-type]
    session = open_session(model.path, model.runtime)
    (answers,) = session.run(random_feeds(model.inputs, seed=0))
    assert answers.shape == (1, 3)
    assert np.isfinite(answers).all()
    session.close()


def test_a_net_with_ten_times_the_work_takes_longer(tmp_path: Path) -> None:
    small = NetShape(stem_width=8, stem_stride=2, widths=((16, 16),), strides=(2,))
    large = NetShape(stem_width=16, widths=((64, 64), (64, 64)), strides=(1, 1))
    spec, prepared = HERE.runnable[0], Preprocess(mean=(0.5,) * 3, std=(0.2,) * 3)
    models = {
        name: as_model(shape, "abc", (3, 32, 32), prepared, spec, CPU, tmp_path / name)
        for name, shape in (("small", small), ("large", large))
    }
    quickly = Measuring(processes=2, openings=2, rounds=25, time_s=1.0, warmup_runs=5)
    found = compared(models, quickly, Progress(Silent()))
    assert found.speedup_over["small"]["large"].value < 0.3
