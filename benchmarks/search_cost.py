"""
What a whole search costs beside distilling every candidate: CIFAR-10, ResNet-56 as teacher, 300 candidates.

    python benchmarks/search_cost.py DATA [--folder cost] [--threads 2]

`edgekd search` as it is by default: all candidates scored, 16 measured, 12 distilled for a twentieth of 30 epochs and
the better four for three twentieths, under a budget of three times the teacher's int8 speed. Prints the search's table,
with the sentence that every report has. An interrupted run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import bakeoff_cifar
from about import versions

from edgekd import find_student
from edgekd.cli.progress import Watcher
from edgekd.hardware.fingerprint import cpu
from edgekd.pipeline import pipeline_of
from edgekd.report import search_page


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("cost"))
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    tree = bakeoff_cifar.tree(asked) | {
        "search": {"candidates": 300},
        "budget": {"speedup_over_teacher_int8": 3.0},
    }
    told = find_student(
        pipeline_of(tree, "cost"), out=asked.folder / "found", workspace=asked.folder / "workspace", listener=Watcher()
    )
    print(f"{cpu().model}; {asked.threads} threads train. {versions()}\n")
    print("\n".join(search_page.markdown(told)))


if __name__ == "__main__":
    main()
