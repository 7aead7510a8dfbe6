"""Tables of latencies: what they are of, and how batches are aligned."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.timed import RUNTIME, somewhere, table

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.latencies import LatencyTable, conditions, read_table
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.models.shape import resnet
from edgekd.search.space import sample
from edgekd.search.spaces import ResidualCnnSpace

HERE = load_profile("local-cpu")


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = table(50, seed=0)
    made.save(tmp_path / "deep" / "table.json")
    assert read_table(tmp_path / "deep" / "table.json", somewhere()) == made


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"versions": {"onnxruntime": "2"}}, r"of versions \{'onnxruntime': '1'\}, and here it is .*'2'.*calibrate"),
        ({"device": somewhere().device.model_copy(update={"model": "Z80"})}, r"device\.model .*, and here it is Z80"),
        ({"runtime": RUNTIME.model_copy(update={"threads": 2})}, r"runtime\.threads 1, and here it is 2"),
        ({"runtime": HERE.runtime("litert")}, "runtime "),
        ({"quantised": False}, "quantised True, and here it is False"),
        ({"image": (3, 64, 64)}, r"image \(3, 32, 32\), and here it is \(3, 64, 64\)"),
    ],
)  # fmt: skip
def test_a_table_of_anything_else_is_refused(other: dict[str, object], says: str, tmp_path: Path) -> None:
    table(50, seed=0).save(tmp_path / "table.json")
    with pytest.raises(UnavailableError, match=says):
        read_table(tmp_path / "table.json", somewhere(**other))


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"schema": 1, "nets": 3}')
    with pytest.raises(ConfigError, match=r"table\.json: .*conditions: required, and not there"):
        read_table(tmp_path / "table.json", somewhere())


def test_the_least_of_the_processes_counts_and_the_yardstick_aligns() -> None:
    """All of the second batch took twice as long, as on a core whose clock was halved."""
    shapes = sample(ResidualCnnSpace(), 3, seed=0)
    made = LatencyTable(schema=1, conditions=somewhere()).planned(shapes, 1)
    first = made.batches[0].with_process(1.3, (5.0,)).with_process(1.0, (6.0,))
    second = made.batches[1].with_process(2.0, (8.0,))
    found = made.with_batch(0, first).with_batch(1, second).latencies_ms()
    assert found == {shapes[0]: 5.0 * 1.5, shapes[1]: 8.0 * 0.75}  # the median yardstick is 1.5; one was not measured


def test_only_new_shapes_are_planned() -> None:
    shapes = [resnet(8), resnet(14), resnet(8)]
    made = LatencyTable(schema=1, conditions=somewhere()).planned(shapes, 40)
    assert [len(batch.nets) for batch in made.batches] == [2]
    assert [len(batch.nets) for batch in made.planned([*shapes, resnet(20)], 40).batches] == [2, 1]


def test_float_files_for_litert_are_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="litert: edgekd writes only int8 files for it; leave --float out"):
        conditions(this_cpu(HERE), HERE.runtime("litert"), (3, 32, 32), 10, quantised=False)
