"""Several teachers as one, which gives the logits of their mean."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import foreign
from edgekd.models.foreign import Foreign
from edgekd.teacher.stages import PoolTeachers


def run(settings: PoolTeachers, inputs: Mapping[str, Artifact], work: Work) -> None:
    total = sum(settings.shares)
    for number in range(len(settings.shares)):
        shutil.copytree(inputs[f"teacher.{number}"].path, work.out / str(number))
    about = Foreign(kind="pool", order=None, shares=tuple(share / total for share in settings.shares))
    (work.out / foreign.FILE).write_text(about.model_dump_json(indent=1), "utf-8")
