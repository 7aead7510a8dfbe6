"""A build of text that is measured on a device, and whose quality is of what the device answers."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers import bert
from helpers.board import Board, delayed, measured, needs_sshd
from safetensors.numpy import load_file

from edgekd import api, tasks
from edgekd.deploy.bundle import Built
from edgekd.engine.store import Store
from edgekd.errors import UnavailableError
from edgekd.hardware.answering import Feeds
from edgekd.hardware.profile import load_profile
from edgekd.hardware.remote import device
from edgekd.hardware.remote.device import remote_device
from edgekd.settings import read_yaml
from edgekd.text import folders, hub
from edgekd.text.evaluate import Reader
from edgekd.text.stages import ExportText

HERE = str(Path(__file__).parent.parent / "one-runtime.yaml")
WORDS = ["cat", "dog", "mat", "road", "file", "red", "blue", "sat", "ran", "read", "write", "open"]
SETS = [
    f"targets=[{HERE}]", "keep={layers: 1, heads: 2, units: 24, max_positions: 64, texts: 32}", "judged_texts=20",
    "lengths={train: 16, read: 64, measured: 16}", "precision=float32", "variants=[fp32, int8-dynamic]",
    "distill.train={epochs: 1, batch: 16, threads: 1}", "budget={fidelity: 0.01}", "weights=false",
]  # fmt: skip
TURNED = """#!{python}
import base64, json, subprocess, sys
import numpy as np
asked = sys.stdin.read()
done = subprocess.run([{slow!r}, *sys.argv[1:]], input=asked, capture_output=True, text=True)
told = json.loads(done.stdout)
if sys.argv[2] == "answers_worker":
    own = np.frombuffer(base64.b64decode(told["data"]), told["dtype"]).reshape(told["shape"])
    told["data"] = base64.b64encode(np.ascontiguousarray(own[::-1]).tobytes()).decode()
sys.stdout.write(json.dumps(told)); sys.stderr.write(done.stderr); sys.exit(done.returncode)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("text"), random.Random(0)
    bert.folder(folder / "teacher")
    texts = sorted({" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(240)})
    (folder / "lines.txt").write_text("\n".join(texts[:200]) + "\n", "utf-8")
    pairs = [f"{first},{second},{draw.random():.2f}" for first, second in zip(texts[:40], texts[200:], strict=False)]
    (folder / "pairs.csv").write_text("\n".join(["sentence1,sentence2,score", *pairs]) + "\n", "utf-8")
    return folder


def run(home: Path, out: Path, *more: str, device: str | None = None) -> Built:
    data = f"data={{source: lines, path: {home / 'lines.txt'}, val_share: 0.15, test_share: 0.15}}"
    given = [data, f"teacher.from={home / 'teacher'}", f"pairs.path={home / 'pairs.csv'}"]
    pipeline = tasks.load("sentence-embedding", [*SETS, *given, *more])
    (done,) = api.build(pipeline, workspace=home / "workspace", out=out, device=device)
    return done


@needs_sshd
@pytest.mark.slow
def test_what_the_device_measures_and_answers_decides(home: Path, board: Board, tmp_path: Path) -> None:
    """What ships here is slow there; and there each text gets another one's answer."""
    here = run(home, tmp_path)
    delayed(board, here.report["shipped"])
    (board.home / "bin" / "python3").rename(board.home / "bin" / "slow")
    board.instead_of("python3", TURNED.format(python=sys.executable, slow=str(board.home / "bin" / "slow")))
    there = run(home, tmp_path, device=str(board.address))
    assert there.report["shipped"] not in (here.report["shipped"], "teacher-fp32")
    assert there.report["measurement"]["kind"] == "measured"
    assert {"teacher-fp32", "fp32", "int8-dynamic"} <= measured(board)
    stages = {row["stage"] for row in json.loads((there.folder / "edgekd.lock").read_text("utf-8"))["rows"]}
    assert {"measure.compare.there", "text.evaluate.there"} <= stages
    assert not {"measure.compare", "text.evaluate"} & stages
    answers = [predictions(home, stage) for stage in ("text.evaluate", "text.evaluate.there")]
    assert len(answers[0]) == len(answers[1]) == 7  # on test both models in fp32 and int8; on val without the slowest
    for model, own in answers[0].items():
        np.testing.assert_array_equal(answers[1][model], own[::-1])
    assert board.left() == []


def predictions(home: Path, stage: str) -> dict[tuple[str, str], np.ndarray]:
    """By model and split, all answers: of texts, and of both sides of pairs."""
    store, found = Store(home / "workspace"), {}
    for record in store.records(stage):
        kept = load_file(store.root / "objects" / record["digest"] / "predictions.safetensors")
        key = record["recipe"]["inputs"]["model"], record["recipe"]["settings"]["split"]
        found[key] = np.concatenate([kept[name] for name in ("texts", "first", "second")])
    return found


@needs_sshd
@pytest.mark.slow
def test_texts_of_any_length_are_answered_there_each_alone(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are answered here, one by one and without padding, which int8 as it comes would feel; in parts."""
    monkeypatch.setattr(device, "EACH_AT_ONCE", 2)
    model = folders.load(bert.folder(tmp_path / "teacher"))
    bert_graph = hub.to_onnx(model.net, hub.described_as(model, ExportText(length=8, max_length=64), 0))
    path = tmp_path / "model.onnx"
    path.write_bytes(bert_graph.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ids = np.zeros((3, 9), np.int64)
    for row, length in enumerate(lengths := (9, 1, 4)):
        ids[row, :length] = range(5, 5 + length)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}  # a mask that padding would not be hidden by
    spec = load_profile("local-cpu").runtime()
    with remote_device(board.address, spec.packages) as there:
        found = there.answers(path, spec, Feeds(arrays, lengths=lengths))
    for row, length in enumerate(lengths):
        alone = {name: array[row : row + 1, :length] for name, array in arrays.items()}
        np.testing.assert_allclose(found[row], session.run(None, alone)[0][0], atol=1e-6)


def test_a_reader_keeps_each_text_as_long_as_it_is(tmp_path: Path) -> None:
    folder = bert.folder(tmp_path / "teacher")
    model = folders.load(folder)
    (tmp_path / "hub").mkdir()
    described = hub.described_as(model, ExportText(length=8, max_length=6), 0)
    (tmp_path / "hub" / "signature.json").write_text(described.model_dump_json(by_alias=True), "utf-8")
    (tmp_path / "hub" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    reader = Reader(tmp_path / "hub")
    feeds = reader.feeds(["cat", "", "cat sat on the red mat and ran"], ["attention_mask", "input_ids"])
    assert feeds.lengths == (3, 2, 6)
    assert feeds.arrays["attention_mask"].sum(1).tolist() == [3, 2, 6]
    for row, text in enumerate(["cat", "", "cat sat on the red mat and ran"]):
        alone = reader(text)["input_ids"]
        np.testing.assert_array_equal(alone[0], feeds.arrays["input_ids"][row, : alone.shape[1]])
    assert reader.longer(["cat", "cat sat on the red mat and ran"]) == 1


def test_a_device_of_another_kind_is_refused_before_anything_is_read(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="device intel-npu: edgekd measures CPUs over ssh, and this is a npu"):
        run(home, tmp_path, "targets=[intel-npu]", device="ssh://pi")


def test_a_device_whose_runtimes_take_no_floats_is_told_before_anything_is_read(home: Path, tmp_path: Path) -> None:
    profile = tmp_path / "tflite.yaml"
    tree = read_yaml(Path(HERE).read_text("utf-8"), HERE)
    profile.write_text(
        json.dumps({**tree, "runtimes": [{"name": "litert", "dialect": {"activation": "int8-affine"}}]}), "utf-8"
    )
    with pytest.raises(UnavailableError, match="device local-cpu: no runtime here takes graphs of free length"):
        run(home, tmp_path, f"targets=[{profile}]")
