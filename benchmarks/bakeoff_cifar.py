"""
Which loss distils best on CIFAR-10, beside its controls: ResNet-56 to ResNet-8 and ResNet-20, rates tuned alike.

    python benchmarks/bakeoff_cifar.py DATA [--folder bakeoff] [--student resnet8] [--minutes 150] [--threads 2]
        [--precision bfloat16] [--second]

10,000 training images; the teacher answered 8 views of each once, and every arm sees these views and no others. First
every recipe on ResNet-8 at three rates, 10 epochs and one seed; then the three best and the controls (cross-entropy,
KD, a teacher with random weights) at their best rates on `--student`, 30 epochs and five seeds. Rates and recipes are
chosen on 2,000 images that were held out; the table's accuracy is of the 2,000 clean images of the test split.
With --second the first round is one epoch for form's sake, and the second goes on with what docs/distillation.md says
that the first found: DKD, DIST and BD-KD, and the rate 0.2 for all six. Interrupted runs go on, and what is there so
far is printed with its n.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import cifar
from about import versions

from edgekd import baking
from edgekd.bakeoff import BakeOff
from edgekd.cli.progress import Watcher
from edgekd.models.shape import resnet
from edgekd.pipeline import pipeline_of
from edgekd.teacher.stages import KeptViews
from edgekd.train.settings import Precision

FOUND = ("dkd", "dist", "bd-kd")
DEPTHS = {"resnet8": 8, "resnet20": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("bakeoff"))
    parser.add_argument("--student", choices=DEPTHS, default="resnet8")
    parser.add_argument("--minutes", type=float, default=150)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--second", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    found: dict[str, Any] = {"recipes": FOUND, "rates": (0.2,), "epochs": 1} if asked.second else {}
    pipeline = pipeline_of(tree(asked), "bakeoff")
    plan = BakeOff(
        student=resnet(8),
        final_student=resnet(DEPTHS[asked.student]),
        final_seeds=asked.seeds,
        kept=KeptViews(views=8),
        **found,
    )  # fmt: skip
    done = baking.bakeoff(
        pipeline, plan, out=asked.folder / asked.student, workspace=asked.folder / "workspace",
        time_s=60 * asked.minutes, listener=Watcher(),
    )  # fmt: skip
    print(versions(), "", (done / "bakeoff.md").read_text("utf-8"), sep="\n")


def tree(asked: argparse.Namespace) -> dict:
    return json.loads(
        json.dumps(
            {
                "schema": 1,
                "name": "cifar10",
                "task": "image-classification",
                "data": {
                    "source": "npz",
                    "path": str(cifar.dev_npz(asked.data, asked.folder)),
                    "labels": cifar.CLASSES,
                },
                "preprocess": {"mean": cifar.MEAN, "std": cifar.STD},
                "views": {"pad": 4, "rotate_degrees": 0.0, "scale": 0.0, "shift": 0.0, "flip": True},
                "teacher": {"from": str(cifar.as_folder("resnet56", asked.data, asked.folder))},
                "targets": ["local-cpu"],
                "distill": {
                    "start": "fresh",
                    "epochs": 30,
                    "batch": 128,
                    "threads": asked.threads,
                    "precision": asked.precision,
                },
            }
        )
    )


if __name__ == "__main__":
    main()
