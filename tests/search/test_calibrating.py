"""Building a table: what is due, what is kept when it ends early, how long it says it will take, and for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.timed import SPACE, analytic_ms, somewhere

from edgekd.cli.calibrate import conditions_of
from edgekd.engine.events import Progress, Silent
from edgekd.errors import ConfigError
from edgekd.hardware.latencies import YARDSTICK, LatencyTable, conditions, opened, read_table
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.models.shape import NetShape
from edgekd.search.calibrate import InProcesses, calibrated, estimated_s
from edgekd.search.space import drawn, sample
from edgekd.search.spaces import NAMED, MobileCnnSpace, PlainCnnSpace, read_space

SMALL = "name: residual-cnn\nstages: [2]\nblocks: [1]\nwidth_max: 64\nstem_strides: [2]\n"


def planned(nets: int = 6, size: int = 2) -> LatencyTable:
    return LatencyTable(schema=1, conditions=somewhere()).planned(sample(SPACE, nets, 0), size)


class Scripted:
    """Takes what is analytic, and ends like a killed process after so many batches."""

    def __init__(self, ends_after: int = 99) -> None:
        self.ends_after, self.asked = ends_after, list[tuple[NetShape, ...]]()

    def __call__(self, shapes: Sequence[NetShape], seed: int) -> list[float]:
        if len(self.asked) == self.ends_after:
            raise KeyboardInterrupt
        self.asked.append(tuple(shapes))
        return [analytic_ms(shape) for shape in shapes]


def test_all_batches_are_measured_once_before_any_is_measured_twice() -> None:
    assert list(planned().due(2)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_what_was_measured_is_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    path, first, second = tmp_path / "table.json", Scripted(ends_after=4), Scripted()
    with pytest.raises(KeyboardInterrupt):
        calibrated(planned(), 2, path, first, Progress(Silent()))
    again = opened(path, somewhere())
    assert list(again.due(2)) == [(1, 1), (1, 2)]
    done = calibrated(again, 2, path, second, Progress(Silent()))
    assert len(second.asked) == 2
    assert all(shapes[0] == YARDSTICK for shapes in first.asked + second.asked)
    assert read_table(path, somewhere()) == done
    assert done.latencies_ms() == pytest.approx({shape: analytic_ms(shape) for shape in sample(SPACE, 6, 0)})


def test_nothing_is_measured_twice_where_nothing_is_due(tmp_path: Path) -> None:
    calibrated(planned(), 1, tmp_path / "table.json", Scripted(), Progress(Silent()))
    again = opened(tmp_path / "table.json", somewhere()).planned(sample(SPACE, 6, 0), 2)
    assert list(again.due(1)) == []
    assert estimated_s(again, 1, Scripted(ends_after=0)) == 0


def test_the_estimate_is_of_every_process_that_is_left() -> None:
    """A process takes 2 s, and each net in it half a second."""
    clock = iter([0.0, 2.0, 2.0, 6.0])
    assert estimated_s(planned(), 3, Scripted(), lambda: next(clock)) == 3 * (3 * 2 + 6 * 0.5)


def test_nets_are_of_all_spaces_alike() -> None:
    found = drawn([PlainCnnSpace(), MobileCnnSpace()], 41, seed=0)
    mobile = [shape for shape in found if "inverted" in shape.kinds]
    assert (len(found), len(mobile)) == (41, 20)
    assert 5 <= sum("inverted" in shape.kinds for shape in found[:20]) <= 15
    assert found == drawn([PlainCnnSpace(), MobileCnnSpace()], 41, seed=0)


def test_spaces_are_read_by_name_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    assert read_space(str(tmp_path / "small.yaml")).axes()["stages"] == (2,)
    assert read_space("mobile-cnn") is NAMED["mobile-cnn"]
    with pytest.raises(ConfigError, match="space mobile: no such space; there are residual-cnn, plain-cnn, mobile-cnn"):
        read_space("mobile")
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file"):
        read_space("no.yaml")
    (tmp_path / "code.yaml").write_text("name: code\npath: mine.py\n")
    with pytest.raises(ConfigError, match="space"):
        read_space(str(tmp_path / "code.yaml"))


def test_larger_nets_take_longer_for_real(tmp_path: Path) -> None:
    profile = load_profile("local-cpu")
    where = conditions(this_cpu(profile), profile.runtime("onnxruntime"), (3, 32, 32), 10, quantised=True)
    small = NetShape(stem_width=8, stem_stride=2, widths=((16, 16),), strides=(2,))
    large = NetShape(stem_width=16, widths=((64, 64), (64, 64)), strides=(1, 1))
    first, second = InProcesses(where, tmp_path)((small, large), 0)
    assert 0 < 5 * first < second < 100


def test_a_device_that_was_throttled_while_its_table_was_made_says_so(tmp_path: Path) -> None:
    profile, net = load_profile("local-cpu"), NetShape(stem_width=8, widths=((8, 8),), strides=(2,))
    where = conditions(this_cpu(profile), profile.runtime("onnxruntime"), (3, 8, 8), 10, quantised=True)
    cool = {"temperature_c": 48.0, "clock_mhz": 2400.0, "throttled": []}
    looks = iter([cool, {"temperature_c": 84.0, "clock_mhz": 1500.0, "throttled": ["throttled"]}])
    least = InProcesses(where, tmp_path, lambda _: {"net0": {"cpu": [[1_000_000]], "looks": [next(looks)]}})
    assert list(conditions_of(least.seen)) == []
    for seed, says in enumerate(("throttled: no", "throttled: throttled")):
        least((net,), seed)
        assert says in next(conditions_of(least.seen))
    _, sentence = conditions_of(least.seen)
    assert sentence.startswith("the device was throttled while it measured (throttled)")


def command(*arguments: str, home: Path) -> list[str]:
    return [sys.executable, "-m", "edgekd", "devices", "calibrate", *arguments, "--workspace", str(home)]


@pytest.mark.slow
def test_the_command_says_how_long_it_takes_and_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    asked = command("--space", str(tmp_path / "small.yaml"), "--nets", "50", "--passes", "2", "--image", "16", "--json",
                    home=tmp_path)  # fmt: skip
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 120
        while not (kept := list(tmp_path.glob("latencies/*.json"))) and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(running.pid, signal.SIGKILL)
    (before,) = [LatencyTable.model_validate_json(path.read_text()) for path in kept]
    assert before.batches[0].yardstick_ms
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "300"})
    assert "50 nets, " in done.stderr
    assert ", about " in done.stderr
    told = json.loads(done.stdout)
    assert (told["nets"], told["conditions"]["image"]) == (50, [3, 16, 16])
    assert told["held_out"]["n"] + told["held_out"]["refused"] == 50
    after = LatencyTable.model_validate_json(Path(told["table"]).read_text())
    assert [len(batch.yardstick_ms) for batch in after.batches] == [2, 2]
    assert (
        after.batches[0].nets[0].least_ms[: len(before.batches[0].yardstick_ms)] == before.batches[0].nets[0].least_ms
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--space", "small"], 2, "space small: no such space; there are residual-cnn"),
        (["--runtime", "litert", "--float"], 2, "litert: edgekd writes only int8 files for it; leave --float out"),
        (["rpi5"], 6, "device rpi5"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = subprocess.run(command(*arguments, home=tmp_path / "home"), capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()
