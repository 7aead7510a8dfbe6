"""Files of schema 1 stay readable: these were written once and are never written again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgekd import formats, tasks
from edgekd.cli.schema import NAMES, schema
from edgekd.deploy.subject import find
from edgekd.engine import lock
from edgekd.engine.store import Store
from edgekd.errors import ConfigError
from edgekd.gate.limits import read_limits
from edgekd.gate.result import GateResult
from edgekd.hardware.latencies import LatencyTable
from edgekd.hardware.measure.result import Measured
from edgekd.hardware.profile import load_profile
from edgekd.hardware.remote.farm import read_farm
from edgekd.pipeline import Pipeline, load_pipeline

GOLDEN = Path(__file__).parent / "golden" / "schema-1"


def test_a_pipeline_of_schema_1() -> None:
    loaded = load_pipeline(str(GOLDEN / "pipeline.yaml"))
    assert loaded.distill.losses[0].name == "kd"
    assert loaded.quantize.margin_points == 0.5


@pytest.mark.parametrize("task", ["sentence-embedding", "text-classification"])
def test_a_pipeline_of_text_of_schema_1(task: str) -> None:
    loaded = tasks.load(str(GOLDEN / f"{task}.yaml"), ["student=tiny"])
    assert not isinstance(loaded, Pipeline)
    assert (loaded.task, loaded.keep.layers, loaded.lengths.measured) == (task, 1, 32)


def test_a_device_of_schema_1() -> None:
    assert load_profile(str(GOLDEN / "device.yaml")).runtimes[0].dialect.activation == "uint8-affine"


def test_a_farm_of_schema_1() -> None:
    farm = read_farm(GOLDEN / "devices.yaml")
    assert farm.devices["pi5"].address == "ssh://pi@10.0.0.7:2222"
    assert farm.devices["gateway"].runtime == "openvino"


def test_a_lock_of_schema_1() -> None:
    read = lock.read(GOLDEN / "edgekd.lock")
    assert read.target == "local-cpu"
    decision = read.row("select", "local-cpu")
    assert decision is not None
    assert json.loads(decision.files["decision.json"])["variant"] == "int8"


@pytest.mark.parametrize("kind", ["manifest", "report"])
def test_a_json_file_of_schema_1(kind: formats.Kind) -> None:
    assert formats.read_json(kind, GOLDEN / f"{kind}.json")["pipeline"] == "digits"


def test_a_report_of_schema_1_gets_a_noise_meter() -> None:
    how = formats.read_json("report", GOLDEN / "report.json")["measurement"]
    assert how["noise"]["contention"] == pytest.approx(1, abs=0.2)
    assert how["noise"]["reasons"] == []


def test_limits_of_schema_1() -> None:
    limits = read_limits(GOLDEN / "limits.yaml")
    assert (limits.latency_regression_percent, limits.size_growth_percent, limits.peak_memory_mib) == (5, None, 32)


def test_a_baseline_of_schema_1(tmp_path: Path) -> None:
    """Of a model file that holds just `test`."""
    shutil.copyfile(GOLDEN / "baseline.json", tmp_path / "baseline.json")
    (tmp_path / "model.onnx").write_text("test")
    subject = find(tmp_path, load_profile("local-cpu"))
    assert subject.path == tmp_path / "model.onnx"
    assert subject.evaluation is not None
    assert subject.evaluation.n == 1000


def test_a_check_and_a_measurement_of_schema_1() -> None:
    result = GateResult.model_validate_json((GOLDEN / "check.json").read_text())
    assert result.checks[1].verdict is not None
    measured = Measured.model_validate_json((GOLDEN / "measurement.json").read_text())
    assert measured.figures.latency_p50_ms.value == 1.0


def test_a_table_of_latencies_of_schema_1() -> None:
    table = LatencyTable.model_validate_json(json.dumps(formats.read_json("latencies", GOLDEN / "latencies.json")))
    assert table.conditions.image == (3, 32, 32)
    assert len(table.latencies_ms()) == 2


def test_a_record_of_schema_1(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "select" / "key"
    folder.mkdir(parents=True)
    (folder / "0001.json").write_text((GOLDEN / "record.json").read_text())
    record = Store(tmp_path).record("select", "key")
    assert record is not None
    assert record["kind"] == "selection"


def test_an_older_schema_goes_through_every_step_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.CURRENT, "lock", 3)
    monkeypatch.setitem(formats.UPGRADES, ("lock", 1), lambda tree: {**tree, "two": True})
    monkeypatch.setitem(formats.UPGRADES, ("lock", 2), lambda tree: {**tree, "three": tree["two"]})
    assert formats.upgraded("lock", {"schema": 1}, "x") == {"schema": 1, "two": True, "three": True}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (2, "x: schema 2 of a pipeline file is newer than this edgekd reads .1.; upgrade edgekd"),
        ("one", "x: schema: expected a whole number from 1 on, got 'one'"),
        (0, "x: schema: expected a whole number from 1 on, got 0"),
        (True, "x: schema: expected a whole number from 1 on, got True"),
    ],
)
def test_a_schema_that_cannot_be_read_is_named(schema: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        formats.upgraded("pipeline", {"schema": schema}, "x")


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_that_is_printed_accepts_our_own_files(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema
    from ruamel.yaml import YAML

    schema(name)
    described = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(described)
    if (GOLDEN / f"{name}.yaml").is_file():
        own = YAML(typ="safe").load((GOLDEN / f"{name}.yaml").read_text())
    elif name == "signature":
        own = json.loads((GOLDEN / "manifest.json").read_text())["signature"]
    else:
        own = json.loads((GOLDEN / ("edgekd.lock" if name == "lock" else f"{name}.json")).read_text())
    jsonschema.validate(own, described)
    with pytest.raises(jsonschema.ValidationError, match="strange"):
        jsonschema.validate({**own, "strange": 1}, described)
