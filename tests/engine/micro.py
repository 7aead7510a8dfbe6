"""
A whole pipeline in about a second: real files, a real training on one thread, scripted latencies.

data -> train -> measure (scripted) -> decide -> pack. Run in a forked child, so that it can be killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Stage, Work
from edgekd.engine.store import Artifact, Store
from edgekd.settings import Settings
from edgekd.train.loop import Batch, fit
from edgekd.train.settings import Training

torch.set_num_threads(1)
TRAINING = Training(epochs=6, batch=20, learning_rate=0.05, threads=1)


class Nothing(Settings):
    seed: int = 0


def data(settings: Nothing, inputs: Mapping[str, Artifact], work: Work) -> None:
    generator = torch.Generator().manual_seed(settings.seed)
    x = torch.randn(200, 8, generator=generator)
    save_file({"x": x, "y": (x.sum(1) > 0).long()}, work.out / "data.safetensors")


def train(settings: Nothing, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.manual_seed(settings.seed)
    tensors = load_file(inputs["data"].file("data.safetensors"))
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).train()

    def batches(generator: torch.Generator) -> Iterator[Batch]:
        for rows in torch.randperm(200, generator=generator).split(TRAINING.batch):
            yield Batch(tensors["x"][rows], tensors["y"][rows])

    def objective(batch: Batch) -> Tensor:
        time.sleep(0.004)  # so that there are moments to die in
        return F.cross_entropy(net(batch.x), batch.labels)

    fit(net, batches, 200, objective, TRAINING, work.scratch, work.progress)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, work.out / "model.safetensors")


def measure(settings: Nothing, inputs: Mapping[str, Artifact], work: Work) -> None:
    size = inputs["model"].file("model.safetensors").stat().st_size
    (work.out / "latency.json").write_text(json.dumps({"fp32_ms": size / 1000, "int8_ms": size / 2000}))


def decide(settings: Nothing, inputs: Mapping[str, Artifact], work: Work) -> None:
    latency = inputs["latency"].json("latency.json")
    (work.out / "decision.json").write_text(json.dumps({"variant": min(latency, key=latency.get)}))


def pack(settings: Nothing, inputs: Mapping[str, Artifact], work: Work) -> None:
    (work.out / "deep").mkdir()
    (work.out / "deep" / "model.bin").write_bytes(inputs["model"].file("model.safetensors").read_bytes())
    (work.out / "variant.txt").write_text(inputs["decision"].json("decision.json")["variant"])


DATA = Stage[Nothing]("data", f"{__name__}:data", gives="data")
TRAIN = Stage[Nothing]("train", f"{__name__}:train", takes={"data": "data"}, gives="model", memory="train.batch")
MEASURE = Stage[Nothing](
    "measure", f"{__name__}:measure", takes={"model": "model"}, gives="latency", nature="observation"
)
DECIDE = Stage[Nothing](
    "decide", f"{__name__}:decide", takes={"latency": "latency"}, gives="decision", nature="decision"
)
PACK = Stage[Nothing](
    "pack", f"{__name__}:pack", takes={"model": "model", "decision": "decision"}, gives="bundle"
)  # fmt: skip


def run(root: Path, builder: Builder | None = None) -> dict[str, str]:
    """The whole pipeline; gives the digest of every stage's result."""
    call = (builder or Builder(Store(root), Silent())).call
    made = {"data": call(DATA, Nothing(), {})}
    made["train"] = call(TRAIN, Nothing(), {"data": made["data"]})
    made["measure"] = call(MEASURE, Nothing(), {"model": made["train"]})
    made["decide"] = call(DECIDE, Nothing(), {"latency": made["measure"]})
    made["pack"] = call(PACK, Nothing(), {"model": made["train"], "decision": made["decide"]})
    return {name: artifact.digest for name, artifact in made.items()}


def in_child(
    work: Callable[[], object], *, kill_after_s: float | None = None, kill_when: Callable[[], bool] | None = None
) -> int:
    """Run `work` in a forked child, perhaps killed on the way; gives how the child ended, as waitpid says."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  a child must not run the parent's tests
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    if kill_when is not None:
        while not kill_when():
            time.sleep(0.002)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
    if kill_after_s is not None or kill_when is not None:
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "tempfile.mkstemp", "shutil.rmtree", "os.truncate")


def seams(root: Path, act: Callable[[int], None]) -> None:
    """From now on in this process, call `act(n)` just before the n-th operation that writes below `root`."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path, writes = (arguments[0] if arguments else None), event in WRITES
        if writes and f"{path}/".startswith(f"{root}/") and "/locks" not in str(path):
            count += 1
            act(count)

    sys.addaudithook(hook)


def run_and_die_at(root: Path, seam: int) -> bool:
    """Whether the run got as far as the seam, and died there."""

    def work() -> None:
        seams(root, lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == seam else None)
        run(root)

    return os.WIFSIGNALED(in_child(work))


def moments(count: int, longest_s: float, seed: int) -> list[float]:
    generator = random.Random(seed)
    return [generator.uniform(0, longest_s) for _ in range(count)]
