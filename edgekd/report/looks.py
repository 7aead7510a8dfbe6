"""A student beside its teacher, on several sets of samples: numbers, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from edgekd import fidelity
from edgekd.engine.store import Artifact
from edgekd.stats import paired_difference, proportion_interval

HEADER = (
    "| samples | n | teacher % | student % | change, points | agree | loyalty | KL(teacher, student) | ECE | NLL |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def looks(answers: Mapping[str, Artifact]) -> dict[str, Any]:
    """Of `train.student`, `train.teacher` and so on, a row for each set of samples."""
    names = [name.removesuffix(".student") for name in answers if name.endswith(".student")]
    return {name: _row(answers[f"{name}.student"], answers[f"{name}.teacher"]) for name in names}


def _row(student: Artifact, teacher: Artifact) -> dict[str, Any]:
    """How right, how sure and how like its teacher the student is on some samples."""
    own, theirs = (load_file(each.file("predictions.safetensors")) for each in (student, teacher))
    right, n = own["right"], len(own["right"])
    return {
        "n": n,
        "accuracy_percent": list(proportion_interval(int(right.sum()), n)),
        "change_points": list(paired_difference(theirs["right"], right)),
        **fidelity.all_of(own["answers"], theirs["answers"], own["labels"]),
        "teacher": {"accuracy_percent": 100 * float(np.mean(theirs["right"]))},
    }


def table(rows: Mapping[str, Any]) -> list[str]:
    lines = list(HEADER)
    for name, row in rows.items():
        value, low, high = row["change_points"]
        lines.append(
            f"| {name} | {row['n']} | {row['teacher']['accuracy_percent']:.2f} | {row['accuracy_percent'][0]:.2f} | "
            f"{value:+.2f} [{low:+.2f}, {high:+.2f}] | {100 * row['agreement']:.1f} % | "
            f"{row['probability_loyalty']:.3f} | {row['kl']:.3f} | {row['ece']:.3f} | {row['nll']:.3f} |"
        )
    return lines


def taught(targets: Mapping[str, Any] | None) -> list[str]:
    """What a teacher said once for all epochs; nothing of one that answered along."""
    if targets is None:
        return []
    moved = "" if targets["t_stddev"] is None else (
        f" Its mean answer moves by {targets['t_stddev']:.2g} from one view of them all to the next (T.stddev: of two "
        "ways to change pictures, the one that moves it less is said to teach better)."
    )  # fmt: skip
    return [
        f"The teacher answered {targets['views']} views of each training sample once ({targets['form']}), the first "
        f"ones right on {targets['right_percent']:.1f} %.{moved}",
        "",
    ]
