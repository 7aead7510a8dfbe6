"""The noise meter and the kernel's counters, and what is said where there are none."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from edgekd.hardware.measure.counters import Instructions, cpu_jiffies, energy_between, energy_uj
from edgekd.hardware.measure.noise import noise, spread_percent, stolen_percent


def rows(*medians: float) -> list[np.ndarray]:
    return [np.full(20, 1e6 * median).astype(np.int64) for median in medians]


def test_a_quiet_machine_has_nothing_to_say() -> None:
    found = noise({"m": rows(1, 1.01, 0.99)}, {"m": rows(1, 1.01, 0.99)}, ((0, 0), (1000, 10)), one_thread=True)
    assert (found.contention, found.steal_percent, found.reasons) == (1.0, 1.0, ())
    assert found.spread_percent == pytest.approx(1.0, abs=0.01)
    assert not found.noisy


@pytest.mark.parametrize(
    ("wall", "cpu", "after", "says"),
    [
        (rows(1.5, 1.5), rows(1, 1), (1000, 0), "wall time is 1.50 times CPU time"),
        (rows(1, 1), rows(1, 1), (1000, 90), "the hypervisor took 9 % of the time"),
        (rows(1, 1.4), rows(1, 1.4), (1000, 0), "the processes' medians differ by 24 %"),
    ],
)
def test_each_kind_of_noise_is_named(
    wall: list[np.ndarray], cpu: list[np.ndarray], after: tuple[int, int], says: str
) -> None:
    found = noise({"m": wall}, {"m": cpu}, ((0, 0), after), one_thread=True)
    assert found.noisy
    assert len(found.reasons) == 1
    assert says in found.reasons[0]


def test_contention_of_several_threads_is_not_known() -> None:
    found = noise({"m": rows(2, 2)}, {"m": rows(1, 1)}, (None, None), one_thread=False)
    assert found.contention is None
    assert found.reasons == ()
    assert str(found).startswith("contention (wall / CPU) not known of several threads, spread")


def test_what_the_kernel_does_not_tell_is_absent() -> None:
    found = noise({"m": rows(1, 1)}, {"m": rows(1, 1)}, (None, None), one_thread=True)
    assert found.steal_percent is None
    assert stolen_percent((10, 1), (10, 1)) is None
    assert spread_percent(rows(1)) == 0


def test_energy_is_counted_across_the_end_of_its_counter(tmp_path: Path) -> None:
    (tmp_path / "max_energy_range_uj").write_text("1000\n")
    (tmp_path / "energy_uj").write_text("40\n")
    assert energy_uj(tmp_path) == 40
    assert energy_between(40, 90, tmp_path) == 50
    assert energy_between(990, 40, tmp_path) == 50
    assert energy_between(None, 40, tmp_path) is None
    assert energy_uj(tmp_path / "nowhere") is None


def test_stolen_time_is_the_eighth_column_of_all_cores(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
    assert cpu_jiffies(stat) == (36, 8)
    assert cpu_jiffies(tmp_path / "nowhere") is None


def test_instructions_are_counted_or_it_is_said_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Instructions()
    before = counter.read()
    sum(range(10_000))
    after = counter.read()
    if counter.why_not is None:
        assert before is not None and after is not None and after - before > 10_000  # noqa: PT018
    else:
        assert (before, after) == (None, None)
        assert counter.why_not.startswith("the kernel gives none: ")
    counter.close()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert Instructions().why_not == "not known on riscv64"
