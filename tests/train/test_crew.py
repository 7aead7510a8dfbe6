"""Several processes train as one does: the same gradient, the same weights after a kill, its errors as its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.crew_run import linear
from helpers.killed import Dying, KilledError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError
from edgekd.pipeline import load_pipeline
from edgekd.train.crew import Crew, statistics_of
from edgekd.train.settings import Training


def place(rank: int, processes: int) -> Crew:
    return Crew(SimpleNamespace(num_processes=processes, process_index=rank, is_main_process=rank == 0))


@pytest.mark.parametrize("rows", [2, 5, 6, 7, 9, 64])
def test_every_row_of_a_batch_is_somebodys_and_shares_add_up_to_it(rows: int) -> None:
    x, labels = torch.arange(rows * 2).view(rows, 2), torch.arange(rows)
    found = [place(rank, 3).mine((x, labels, None)) for rank in range(3)]
    assert sum(share for _, share in found) == pytest.approx(1)
    if rows < 6:
        assert all(torch.equal(parts[0], x) for parts, _ in found if parts[0] is not None)
        return
    taken = torch.cat([parts[1] for parts, _ in found if parts[1] is not None])
    assert sorted(taken.tolist()) == list(range(rows))
    for parts, share in found:
        assert parts[2] is None
        assert parts[0] is not None
        assert parts[1] is not None
        assert torch.equal(parts[0], x[parts[1]])
        assert share == pytest.approx(len(parts[1]) / rows)


def test_statistics_of_batch_norms_are_found_and_nothing_else() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3)))
    assert [tuple(value.shape) for value in statistics_of(net)] == [(2,), (2,), (3,), (3,)]


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["distill.processes=3", "distill.threads=2"], "processes: 3 are more than the 2 threads; lower them"),
        (["distill.processes=2", "distill.threads=2", "distill.batch=2"], "leave less than two of 2 samples to each"),
        (["distill.processes=2", "distill.threads=2", "distill.losses=[{name: taid}]"],
         "taid remembers what it saw, in one process"),
        (["quantize.qat={epochs: 2, processes: 2, threads: 2}"], "ranges are observed in one process"),
        (["distill.processes=2", "distill.threads=2", "distill.unlabelled={path: more}"],
         "with unlabelled pictures labels of a batch would count unequally"),
    ],
)  # fmt: skip
def test_what_several_processes_cannot_do_is_refused(assignments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", assignments)


def trained(folder: Path, processes: int, listener: Silent | None = None, rate: float = 0.2) -> dict[str, Tensor]:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = Training(
        epochs=3, batch=9, learning_rate=rate, threads=2, processes=processes, snapshot_s=1e-9, clip_norm=1e9
    )
    linear(settings, {}, Work(folder / "out", folder / "scratch", Progress(listener or Silent())))
    return load_file(folder / "out" / "net.safetensors")


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one_even_if_killed(tmp_path: Path) -> None:
    alone, both = trained(tmp_path / "alone", 1), trained(tmp_path / "both", 2)
    for name, value in alone.items():
        torch.testing.assert_close(value, both[name], atol=1e-6, rtol=1e-5)
    with pytest.raises(KilledError):
        trained(tmp_path / "killed", 2, Dying(at=4))
    again = trained(tmp_path / "killed", 2)
    assert all(torch.equal(value, again[name]) for name, value in both.items())


@pytest.mark.slow
def test_a_members_error_is_its_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the (loss|gradient) became .*; lower learning_rate"):
        trained(tmp_path, 2, rate=1e38)
