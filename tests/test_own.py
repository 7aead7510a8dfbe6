"""From a folder of pictures and a teacher of one's own to a gated bundle, by documented commands alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import own
from PIL import Image

from edgekd.data.stages import Preprocess
from edgekd.errors import EdgekdError
from edgekd.pipeline import pipeline_of
from edgekd.settings import read_yaml
from edgekd.starting import Wanted, drafted

QUICK = Path(__file__).parent / "one-runtime.yaml"
SMALL = ("--set", "search.candidates=8", "--set", "search.measure=1", "--set", "search.space.width_max=24",
         "--set", "budget={accuracy_drop_points: 60}", "--set", "distill.epochs=3")  # fmt: skip


def edgekd(folder: Path, *arguments: str, code: int | tuple[int, ...] = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgekd", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "200", "EDGEKD_HOME": str(folder / "home")},
    )  # fmt: skip
    assert done.returncode in ((code,) if isinstance(code, int) else code), done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    own.pictures(folder / "photos", 1200)
    own.teacher(folder)
    return folder


@pytest.fixture(scope="module")
def begun(home: Path) -> Path:
    done = edgekd(
        home, "init", "--data", "photos", "--teacher", "teacher.py", "--weights", "teacher.safetensors", "--size", "28",
        "--mean", str(own.MEAN), "--std", str(own.STD), "--labels", ",".join(own.NAMES), "--target", str(QUICK),
        "--out", "mine.yaml",
    )  # fmt: skip
    assert (
        "Next: edgekd data inspect mine.yaml, edgekd plan mine.yaml, edgekd build mine.yaml --allow-code" in done.stdout
    )
    return home / "mine.yaml"


@pytest.mark.slow
def test_init_writes_a_pipeline_that_validates_and_inspect_shows_the_data(begun: Path) -> None:
    home = begun.parent
    assert "good (image-classification" in edgekd(home, "pipelines", "validate", "mine.yaml").stdout
    shown = edgekd(home, "data", "inspect", "mine.yaml")
    assert "three/broken.png" in shown.stdout
    told = json.loads(edgekd(home, "data", "inspect", "mine.yaml", "--json").stdout)
    assert told["image"] == [1, 28, 28]
    assert sum(sum(counts.values()) for counts in told["classes"].values()) == 1200
    assert "is there already" in edgekd(home, "init", "--data", "photos", "--out", "mine.yaml", code=2).stderr


@pytest.mark.slow
def test_code_runs_only_where_it_was_allowed(begun: Path) -> None:
    done = edgekd(begun.parent, "build", "mine.yaml", *SMALL, code=2)
    assert "teacher.py: is code, which edgekd runs only with --allow-code; read it first" in done.stderr


@pytest.mark.slow
def test_from_pictures_and_a_teacher_to_a_gated_bundle(begun: Path) -> None:
    home = begun.parent
    older = edgekd(home, "build", "mine.yaml", *SMALL, "--allow-code", "--out", "older", code=(0, 3))
    assert "the teacher is right on 9" in older.stderr
    assert "1 cannot be read and are left out: three/broken.png" in older.stderr
    edgekd(home, "build", "mine.yaml", *SMALL, "--set", "distill.epochs=6", "--allow-code", "--out", "newer",
           "--include-samples", "2", code=(0, 3))  # fmt: skip
    old, new = (home / name / "mine" / "local-cpu" for name in ("older", "newer"))
    model = json.loads((new / "manifest.json").read_text())["model"]
    assert "p50" in edgekd(home, "profile", str(new / model), "--target", str(QUICK)).stdout
    checked = edgekd(home, "check", str(new), "--baseline", str(old), "--target", str(QUICK), code=(0, 3, 4, 5))
    assert "contract" in checked.stdout
    three = home / "three.png"
    (first, *_) = sorted((home / "photos" / "three").iterdir())
    Image.open(first).resize((61, 53)).save(three)
    run = [sys.executable, "-I", str(new / "run.py"), "--json"]
    told = json.loads(subprocess.run([*run, str(three)], capture_output=True, text=True, check=True).stdout)
    assert told["label"] in own.NAMES
    assert _pictures_in(old) == []
    assert len(_pictures_in(new)) == 2


def _pictures_in(bundle: Path) -> list[Path]:
    """A person's data, in whatever form: files of samples, or a name of a picture in any text."""

    def shows(path: Path) -> bool:
        return re.search(r"\d{4}\.png|broken", path.read_text("utf-8", "replace")) is not None

    files = [path for path in bundle.rglob("*") if path.is_file()]
    texts = (".json", ".md", ".lock", ".py")
    return [p for p in files if p.suffix in (".png", ".npy", ".npz") or (p.suffix in texts and shows(p))]


def test_what_init_writes_for_an_archive_trains_its_own_teacher(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", images=draw.integers(0, 256, (60, 20, 20, 3), np.uint8), labels=np.arange(60) % 3)
    edgekd(tmp_path, "init", "--data", "data.npz", "--labels", "a,b,c", "--out", "mine.yaml")
    edgekd(tmp_path, "pipelines", "validate", "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    assert "read as they are, 20 x 20" in text
    assert re.search(r"mean: \[0\.\d+, 0\.\d+, 0\.\d+\] +# of these pictures / 255", text)


def test_names_with_any_mark_come_back_as_they_were(tmp_path: Path) -> None:
    names = ("a: b", 'say "hi"', "x#y", "[z]", "d\x7fe", "ü\x85", "it's, so")
    for name in names:
        (tmp_path / "pics" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "pics" / name / "1.png")
    text, _ = drafted(Wanted(data=str(tmp_path / "pics"), teacher="t.onnx", labels=names), "mine")
    assert pipeline_of(read_yaml(text, "mine"), "mine").teacher.labels == names


@pytest.mark.parametrize(
    ("told", "geometry"),
    [
        ({"size": {"height": 224, "width": 224}}, Preprocess(resize=(224, 224))),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
         Preprocess(resize=256, crop=(224, 224))),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, Preprocess(resize=256, crop=(224, 224))),
        ({"size": 96}, Preprocess(resize=(96, 96))),
        ({"size": None}, Preprocess()),
        ({"size": [224, 224]}, Preprocess()),
    ],
)  # fmt: skip
def test_a_teachers_preprocessing_is_taken_over(tmp_path: Path, told: dict[str, Any], geometry: Preprocess) -> None:
    for name in ("a", "b"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "pics" / name / "1.png")
    (tmp_path / "teacher").mkdir()
    about = told | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "teacher" / "preprocessor_config.json").write_text(json.dumps(about))
    text, _ = drafted(Wanted(data=str(tmp_path / "pics"), teacher=str(tmp_path / "teacher")), "mine")
    preprocess = pipeline_of(read_yaml(text, "mine"), "mine").preprocess
    assert preprocess.geometry == geometry.geometry
    assert preprocess.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"data": "none.csv"}, r"none\.csv: no such file"),
        ({"data": "latin.csv"}, "not a table that can be read"),
        ({"data": "header.csv"}, "which of a, b is the image"),
        ({"data": "floats.npz"}, r"data\.labels: float64"),
        ({"data": "empty"}, "no pictures in it; put them into empty/<class>/"),
        ({"data": "empty", "mean": (0.5,)}, "--mean has 1 values and --std 0; give both"),
        ({"data": "empty", "weights": "w.pt"}, r"--weights w\.pt: goes with a teacher that is a \.py file"),
        ({"data": "nowhere"}, "a folder of pictures, .npz, .csv, .parquet, .py or a hub name is needed"),
    ],
)
def test_what_cannot_be_drafted_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("latin.csv").write_bytes("image,label\na.png,Käse\n".encode("latin-1"))
    Path("header.csv").write_text("a,b\n")
    np.savez("floats.npz", images=np.zeros((4, 2, 2), np.uint8), labels=np.zeros(4))
    with pytest.raises(EdgekdError, match=says):
        drafted(Wanted(**asked), "mine")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "needed, as nobody is here to ask"),
        (("--data", "empty", "--out", "mine.txt"), r"a pipeline's file ends in \.yaml"),
        (("--data", "empty", "--target", "nothing"), "nothing"),
    ],
)
def test_what_init_cannot_do_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = edgekd(tmp_path, "init", *arguments, code=2)
    assert re.search(says, done.stderr.replace("\n", " ")), done.stderr
    assert list(tmp_path.glob("*.yaml")) == []
