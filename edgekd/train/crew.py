"""
Several processes that train one net: each takes its rows of every batch, and they go on with the mean gradient.

Batch norms see their own process's rows, as in torch's DistributedDataParallel; their statistics are averaged.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Run, Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, DataError, DivergedError, EdgekdError, UnavailableError
from edgekd.train.norms import batch_norms

KINDS = {kind.__name__: kind for kind in (ConfigError, DivergedError, DataError, UnavailableError)}
MEMBER = "EDGEKD_CREW_MEMBER"
LOOK_S = 0.05


def together(run: Run[Any], settings: Any, inputs: Mapping[str, Artifact], work: Work, processes: int) -> None:
    """
    Run a stage's function in so many processes at once; the first one's `out` and progress count.

    Raises what a member raised, or UnavailableError for one that died; then the others are ended.
    """
    from torch import multiprocessing
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

    told = multiprocessing.get_context("spawn").Queue()
    with tempfile.TemporaryDirectory(dir=work.scratch.parent, prefix=".crew-") as folder:
        context = start_processes(
            _member, (run, settings, dict(inputs), work.out, work.scratch, Path(folder), told, processes),
            nprocs=processes, join=False, start_method="spawn",
        )  # fmt: skip
        try:
            while not context.join(timeout=LOOK_S):
                _pass_on(told, work.progress)
            _pass_on(told, work.progress)
        except (ProcessRaisedException, ProcessExitedException) as error:
            _pass_on(told, work.progress)
            raise UnavailableError(f"training: one of {processes} processes ended: {_last_line(error)}") from error
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.kill()


def _last_line(error: Exception) -> str:
    """Of the member's traceback: what was raised."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _pass_on(told: Any, progress: Progress) -> None:
    """What members said meanwhile. Raises the first error among it."""
    while True:
        try:
            kind, *what = told.get(timeout=LOOK_S)
        except queue.Empty:
            return
        if kind in KINDS:
            raise KINDS[kind](*what)
        if kind == "said":
            progress.say(*what)
        elif kind == "warned":
            progress.warned.extend(*what)
        else:
            done, total, unit, facts = what
            progress.step(done, total, unit, **facts)


class _Telling(Silent):
    def __init__(self, told: Any) -> None:
        self._told = told

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        self._told.put(("step", done, total, unit, facts))

    def said(self, sentence: str) -> None:
        self._told.put(("said", sentence))


def _member(
    rank: int, run: Run[Any], settings: Any, inputs: Mapping[str, Artifact], out: Path, scratch: Path, folder: Path,
    told: Any, processes: int,
) -> None:  # fmt: skip
    places = {MEMBER: rank, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(value) for name, value in places.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # accelerate asks for them; the file stands for both
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # they meet on this machine alone
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=processes
    )
    own = out if rank == 0 else folder / str(rank)
    own.mkdir(exist_ok=True)
    try:
        progress = Progress(_Telling(told) if rank == 0 else Silent())
        run(settings, inputs, Work(own, scratch, progress))
        if rank == 0:
            told.put(("warned", progress.warned))
    except EdgekdError as error:
        told.put((type(error).__name__ if type(error).__name__ in KINDS else "UnavailableError", str(error)))
        told.close()
        told.join_thread()
        sys.exit(error.exit_code)
    torch.distributed.destroy_process_group()


def is_member() -> bool:
    """Whether this process is one of several that train together."""
    return MEMBER in os.environ


@cache
def here() -> Crew | None:
    """The crew that this process belongs to."""
    if not is_member():
        return None
    from accelerate import Accelerator

    # else it sets the threads itself, by the machine's cores
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    return Crew(Accelerator(cpu=True))


@dataclass(frozen=True)
class Crew:
    accelerator: Any

    @property
    def first(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def mine(self, parts: Sequence[Tensor | None]) -> tuple[list[Tensor | None], float]:
        """This process's rows of a batch, and its share of them; all of it where they are not two for everyone."""
        size, rank = self.accelerator.num_processes, self.accelerator.process_index
        rows = len(next(part for part in parts if part is not None))
        if rows < 2 * size:
            return list(parts), 1 / size
        mine = [None if part is None else part[rank::size] for part in parts]
        return mine, len(range(rank, rows, size)) / rows

    @torch.no_grad()
    def add_up(self, tensors: Sequence[Tensor], share: float) -> None:
        """In place: the sum over all processes, each with its share."""
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]) * share
        whole: Tensor = self.accelerator.reduce(flat, "sum")
        for tensor, part in zip(tensors, whole.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def agreed(self, value: int) -> int:
        """What the first process found."""
        found = self.accelerator.reduce(torch.tensor(value if self.first else 0), "sum")
        return int(found)


def statistics_of(net: nn.Module) -> list[Tensor]:
    """The running means and variances of batch norms."""
    found = [value for norm in batch_norms(net) for value in (norm.running_mean, norm.running_var)]
    return [value for value in found if value is not None]
