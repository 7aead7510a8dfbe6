"""
What a search costs before anything is trained: scores of 300 candidates, and int8 latencies of 100, on this machine.

    python benchmarks/search_speed.py [--threads 2]

The space and the teacher of benchmarks/search_cifar.py. Graphs are written and measured 100 at a time,
one thread, as a study does; each runtime by itself.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cifar
import torch
from about import versions
from search_cifar import CANDIDATES, NAMES, QUICK, SPACE

from edgekd.cli.progress import Watcher
from edgekd.data.stages import Preprocess
from edgekd.engine.events import Progress
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.models import checkpoint
from edgekd.models.shape import resnet
from edgekd.resources import cores
from edgekd.search.latency import as_model, compared
from edgekd.search.scores import diswot
from edgekd.search.scores.plugins import PLUGINS, Candidate, Shown
from edgekd.search.space import sample
from edgekd.search.spaces import ResidualCnnSpace
from edgekd.search.stages import QUICKLY

MEASURED = 100
PREPARED = Preprocess(mean=cifar.MEAN, std=cifar.STD)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--threads", type=int, default=cores())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    profile = load_profile("local-cpu")
    print(f"{this_cpu(profile).model}. {versions()}\n\n| what | n | seconds |\n|---|---|---|")
    shown = images()
    for names in (QUICK, NAMES):
        start = time.perf_counter()
        for shape in sample(SPACE, CANDIDATES, 0):
            candidate = Candidate(shape, 0, shown)
            for name in names:
                PLUGINS[name](candidate)
        print(f"| {', '.join(names)}, {asked.threads} threads | {CANDIDATES} | {time.perf_counter() - start:.0f} |")
    small = ResidualCnnSpace.model_validate(SPACE.model_dump() | {"width_max": 64})
    for spec in profile.runnable:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            models = {
                str(number): as_model(
                    shape, cifar.CLASSES, (3, 32, 32), PREPARED, spec, this_cpu(profile), Path(folder) / str(number)
                )
                for number, shape in enumerate(sample(small, MEASURED, 0))
            }
            written = time.perf_counter() - start
            found = compared(models, QUICKLY, Progress(Watcher()))
        took = time.perf_counter() - start
        fast, slow = (pick(m.latency_p50_ms.value for m in found.models.values()) for pick in (min, max))
        span = f"{fast:.3f} to {slow:.3f} ms; graphs {written:.1f} s"
        print(f"| int8 latencies in {spec.name} ({span}) | {MEASURED} | {took:.0f} |")


def images() -> Shown:
    """64 images of noise, and what ResNet-56 with random weights makes of them: scores take as long for any."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(64, 3, 32, 32, generator=generator), torch.arange(64) % 10
    net = checkpoint.build(resnet(56), cifar.CLASSES, 3, seed=1).net
    look = diswot.look(diswot.with_usual_head(net, 1), x, labels)
    return Shown(x, labels, cifar.CLASSES, look, net.eval().features(x).detach())


if __name__ == "__main__":
    main()
