"""One model alone: memory, throughput, energy; and inputs of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.onnx_models import save, stack_of
from onnx import TensorProto, helper

import edgekd
from edgekd.errors import ConfigError, DataError, UnavailableError
from edgekd.hardware.inputs import batch_of, random_feeds, read_feeds, resolved
from edgekd.hardware.measure.compare import size_bytes
from edgekd.hardware.measure.result import Measured
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import DeviceProfile, Measuring
from edgekd.hardware.runtime import Described, Tensor


@pytest.fixture
def profile() -> DeviceProfile:
    quick = Measuring(processes=2, rounds=25, warmup_runs=5)
    return edgekd.load_profile("local-cpu").model_copy(update={"measure": quick})


@pytest.mark.slow
def test_a_model_is_measured_from_its_start_to_its_throughput(tmp_path: Path, profile: DeviceProfile) -> None:
    path = stack_of(8, tmp_path / "m.onnx", width=1024)  # 4 MiB of weights
    found = edgekd.measure(path, profile, batches=(1, 16), sessions=(2,))
    assert found.figures.load_ms > 0
    assert found.figures.first_inference_ms > 0
    assert found.figures.size_bytes == path.stat().st_size
    assert found.inputs == ("x float32 [1, 1024]",)
    assert found.alone.peak_memory_mib is not None
    assert 4 <= found.alone.peak_memory_mib.value <= 80  # ONNX Runtime packs the weight anew for each of the layers
    assert found.alone.process_peak_mib is not None
    assert found.alone.process_peak_mib.value > found.alone.peak_memory_mib.value
    one, sixteen, two = found.alone.throughput
    assert (one.batch, sixteen.batch, two.sessions) == (1, 16, 2)
    assert sixteen.items_per_s.value > 1.5 * one.items_per_s.value  # one pass over the weights serves sixteen
    assert (found.alone.energy_mj is None) == (found.alone.energy_none_because is not None)
    assert Measured.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.slow
def test_a_larger_model_takes_more_memory(tmp_path: Path, profile: DeviceProfile) -> None:
    peaks = []
    for width in (256, 2048):
        alone = edgekd.measure(stack_of(2, tmp_path / f"{width}.onnx", width), profile).alone
        assert alone.peak_memory_mib is not None
        peaks.append(alone.peak_memory_mib.value)
    assert peaks[1] > peaks[0] + 10  # 16 MiB of weights against a quarter


@pytest.mark.slow
def test_tflite_is_measured_by_its_suffix(tmp_path: Path, profile: DeviceProfile) -> None:
    pytest.importorskip("ai_edge_litert")
    from helpers.tflite_models import linear

    found = edgekd.measure(linear(np.ones((3, 8), np.float32), tmp_path / "m.tflite"), profile)
    assert found.runtime["name"] == "litert"


def test_a_device_elsewhere_measures_nothing_here(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="device rpi5: hardware elsewhere"):
        edgekd.measure(stack_of(1, tmp_path / "m.onnx"), "rpi5")


TEXT = Described((Tensor("ids", "int64", ("batch", "length")), Tensor("scale", "float32", (4,))), ())


def test_a_free_axis_that_is_no_batch_must_be_said() -> None:
    with pytest.raises(ConfigError, match=r"ids int64 \[batch, length\]: how long is 'length'\? .*--shape ids=2,128"):
        resolved("m", TEXT, {}, batch=2)
    fixed = resolved("m", TEXT, {"ids": (1, 32)}, batch=2)
    assert {name: tensor.shape for name, tensor in fixed.items()} == {"ids": (2, 32), "scale": (4,)}
    as_said = resolved("m", TEXT, {"ids": (1, 32)}, batch=None)
    assert as_said["ids"].shape == (1, 32)


def test_a_batch_that_the_model_fixes_is_not_reported_as_another(tmp_path: Path, profile: DeviceProfile) -> None:
    """Eight times the runs a second, for a model that takes one sample at a time."""
    graph = onnx.load(stack_of(1, tmp_path / "m.onnx"))
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(graph, tmp_path / "fixed.onnx")
    with pytest.raises(ConfigError, match=r"its batch is fixed at 1, so that 8 cannot be measured"):
        edgekd.measure(tmp_path / "fixed.onnx", profile, batches=(8,))
    assert batch_of("m", TEXT, resolved("m", TEXT, {"ids": (3, 32)}, batch=None)) == 3


@pytest.mark.slow
def test_sessions_read_the_data_that_was_given(tmp_path: Path, profile: DeviceProfile) -> None:
    path = stack_of(1, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((3, 256), np.float32))
    found = edgekd.measure(path, profile, data=tmp_path / "x.npy", sessions=(2,))
    assert found.inputs == ("x float32 [3, 256]",)
    assert (found.comparison.batch, found.alone.throughput[0].batch) == (3, 3)
    with pytest.raises(ConfigError, match="--batch: inputs from --data have a batch of their own"):
        edgekd.measure(path, profile, data=tmp_path / "x.npy", batches=(2,))


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"id": (1, 32)}, "--shape id: m has no such input; its inputs: ids, scale"),
        ({"ids": (1, 32), "scale": (5,)}, r"m: scale float32 \[4\] is given the shape \[5\]"),
        ({"ids": (32,)}, r"m: ids int64 \[batch, length\] is given the shape \[32\]"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shapes: dict[str, tuple[int, ...]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        resolved("m", TEXT, shapes, batch=1)


def test_random_inputs_are_valid_token_ids_pixels_and_numbers() -> None:
    inputs = {
        name: Tensor(name, dtype, (2, 50))
        for name, dtype in (("ids", "int64"), ("mask", "bool"), ("pixels", "uint8"), ("q", "int8"), ("x", "float32"))
    }
    feeds = random_feeds(inputs, seed=0)
    assert all(feeds[name].dtype == inputs[name].dtype and feeds[name].shape == (2, 50) for name in inputs)
    assert set(feeds["ids"].ravel()) == {1}
    assert feeds["mask"].all()
    assert feeds["pixels"].max() > 200
    assert feeds["q"].min() < -100
    assert abs(float(feeds["x"].mean())) < 0.5
    np.testing.assert_array_equal(feeds["x"], random_feeds(inputs, seed=0)["x"])


def test_inputs_come_from_a_file(tmp_path: Path, profile: DeviceProfile) -> None:
    one = Described((Tensor("x", "float32", ("batch", 256)),), ())
    x = np.zeros((3, 256), np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    for name in ("x.npy", "x.npz"):
        assert read_feeds(tmp_path / name, "m", one)["x"].shape == (3, 256)
    path = stack_of(1, tmp_path / "m.onnx")
    assert edgekd.compare({"a": path, "b": path}, profile, data=tmp_path / "x.npz").models["a"].n == 52


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    one = Described((Tensor("x", "float32", ("batch", 256)),), ())
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", y=np.zeros(1))
    np.save(tmp_path / "objects.npy", np.array([object()]), allow_pickle=True)
    for name, error, says in (
        ("gone.npz", DataError, "gone.npz: no such file"),
        ("bad.npz", DataError, "bad.npz: not a numpy file that can be read safely"),
        ("objects.npy", DataError, "objects.npy: not a numpy file that can be read safely"),
        ("other.npz", ConfigError, "m: input 'x' gets nothing; given: y"),
    ):
        with pytest.raises(error, match=says):
            read_feeds(tmp_path / name, "m", one)


def test_the_size_of_a_model_is_that_of_all_its_files(tmp_path: Path) -> None:
    graph = onnx.load(stack_of(1, tmp_path / "m.onnx"))
    onnx.save(graph, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    assert parts_of(tmp_path / "split.onnx") == [tmp_path / "split.data", tmp_path / "split.onnx"]
    assert size_bytes(tmp_path / "split.onnx") > 256 * 256 * 4
    (tmp_path / "m.xml").write_bytes(b"12")
    (tmp_path / "m.bin").write_bytes(b"345")
    assert size_bytes(tmp_path / "m.xml") == 5


def test_external_data_outside_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
    (tmp_path / "inside").mkdir()
    assert parts_of(save(graph, tmp_path / "inside" / "m.onnx")) == [tmp_path / "inside" / "m.onnx"]
