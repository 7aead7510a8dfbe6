"""One model at a time: peak memory, throughput for batches and for sessions at once, energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.engine.events import Progress
from edgekd.hardware.measure.compare import Model
from edgekd.hardware.measure.process import Launch, launch
from edgekd.hardware.measure.result import Alone, Throughput
from edgekd.stats import Interval, mean_interval

WORKER = "edgekd.hardware.measure.alone_worker"


@dataclass(frozen=True)
class Load:
    """What throughput is measured of: a model with inputs of one batch, and how many sessions run it at once."""

    model: Model
    batch: int
    sessions: int


def observe_alone(
    model: Model,
    loads: Sequence[Load],
    progress: Progress,
    processes: int = 3,
    seconds: float = 0.5,
    run_process: Launch | None = None,
) -> Alone:
    """Each load runs for `seconds` in each of `processes` fresh processes, as does one inference after the other."""
    run_process = run_process or launch(WORKER)
    request = {
        "model": model.asked(),
        "loads": [[load.sessions, load.model.asked()] for load in loads],
        "seconds": seconds,
        "affinity": model.runtime.affinity,
    }
    seeds = progress.over(range(processes), processes, "process")
    answers = [run_process({**request, "seed": seed}) for seed in seeds]
    energies = [answer["energy_uj"] for answer in answers if answer["energy_uj"] is not None]
    return Alone(
        processes=processes,
        peak_memory_mib=_mib(answers, "peak_memory_bytes"),
        process_peak_mib=_mib(answers, "process_peak_bytes"),
        throughput=tuple(
            Throughput(
                batch=load.batch,
                sessions=load.sessions,
                items_per_s=mean_interval([load.batch * answer["runs_per_s"][n] for answer in answers]),
            )
            for n, load in enumerate(loads)
        ),
        energy_mj=sum(energies) / len(energies) / 1e3 if energies else None,
        energy_none_because=None if energies else "RAPL does not answer here (no such counter, or no right to read it)",
    )


def _mib(answers: Sequence[Mapping[str, Any]], key: str) -> Interval | None:
    values = [answer[key] / 2**20 for answer in answers if answer[key] is not None]
    return mean_interval(values) if len(values) == len(answers) else None
