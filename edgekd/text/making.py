"""The stages from texts and a teacher to a trained student."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from edgekd.data import table
from edgekd.data.stages import SPLITS, Split
from edgekd.engine.digest import digest_file, digest_tree
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, DataError
from edgekd.text import corpus, folders, held, staging, tokens, train, truncate, vocabulary
from edgekd.text.folders import TOKENIZER_FILES, Model
from edgekd.text.held import Scored, Texts
from edgekd.text.plans import Pairs
from edgekd.text.settings import DistillEmbedding, TeachClasses
from edgekd.text.stages import Answer, CutStudent, ReadTexts, TakeTeacher, TeachInStages, Tokenize

TARGETS = "targets.safetensors"
LOG = "training.json"
COVERAGE = "vocabulary.json"
FEWEST = 8  # texts of each split


def read_pairs(settings: Pairs, _inputs: Mapping[str, Artifact], work: Work) -> None:
    path = Path(settings.path)
    if digest_file(path) != settings.digest:
        raise ConfigError(f"{path}: changed while the build began, or since its lock was written")
    names = (settings.first, settings.second, settings.score)
    columns = corpus.jsonl(path) if path.suffix == ".jsonl" else {n: list(table.column_of(path, n)) for n in names}
    if missing := [name for name in names if name not in columns]:
        raise DataError(f"{path}: has no column {missing[0]!r}, only {', '.join(columns)}")
    first, second, scores = (columns[name] for name in names)
    try:
        numbers = np.asarray([float(score) for score in scores])
    except (TypeError, ValueError):
        raise DataError(f"{path}: column {settings.score!r} has values that are no numbers") from None
    held_back = np.random.default_rng(0).permutation(len(numbers)) < settings.val_share * len(numbers)
    parts: dict[Split, np.ndarray] = {"val": held_back, "test": ~held_back}
    held.write_pairs(
        {
            name: Scored([first[n] for n in np.flatnonzero(rows)], [second[n] for n in np.flatnonzero(rows)],
                         numbers[rows])
            for name, rows in parts.items()
        },
        work.out,
    )  # fmt: skip


def read(settings: ReadTexts, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Without the texts of the pairs that judge: nothing learns from them."""
    found = corpus.read(settings.source)
    judged = held.all_of(inputs["pairs"].path) if "pairs" in inputs else set()
    rows = found.rows(settings.source)
    kept = {name: [int(n) for n in rows[name] if found.texts[n] not in judged] for name in SPLITS}
    labels = found.labels
    check_enough(kept)
    Texts(
        {name: [found.texts[n] for n in kept[name]] for name in SPLITS},
        None if labels is None else {name: [labels[n] for n in kept[name]] for name in SPLITS},
        found.names,
        found.about | {"left_out": len(found.texts) - sum(map(len, kept.values()))},
    ).write(work.out)
    work.progress.say(", ".join(f"{len(kept[name])} {name}" for name in SPLITS) + " texts")


def check_enough(rows: Mapping[Split, Sequence[int]]) -> None:
    """Raises DataError where too few texts are left to judge by."""
    if few := [name for name in SPLITS if len(rows[name]) < FEWEST]:
        raise DataError(
            f"data: {len(rows[few[0]])} {few[0]} texts, at least {FEWEST} are needed; give more, or a larger share "
            "(data.val_share, data.test_share)"
        )


def take(settings: TakeTeacher, _inputs: Mapping[str, Artifact], work: Work) -> None:
    folder = Path(settings.path)
    if digest_tree(folder) != settings.digest:
        raise ConfigError(f"{folder}: changed while the build began, or since its lock was written")
    folders.save(folders.load(folder), work.out, folder)


def cut_texts(settings: Tokenize, inputs: Mapping[str, Artifact], work: Work) -> None:
    texts = held.read(inputs["texts"].path).texts["train"]
    made = tokens.tokenize(texts, inputs["model"].path, settings.length)
    made.save(work.out)
    for sentence in tokens.sentences(made):
        work.progress.say(sentence)


def ask(settings: Answer, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    model = folders.load(inputs["model"].path)
    said = train.answers(model, tokens.load(inputs["tokens"].path), work.progress, settings.precision)
    save_file({"targets": said}, work.out / TARGETS)


def cut(settings: CutStudent, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    folder = inputs["model"].path
    teacher, made, texts = folders.load(folder), tokens.load(inputs["tokens"].path), held.read(inputs["texts"].path)
    names = texts.names if settings.classes else ()
    if settings.keep is None:
        folders.save(with_head(teacher, names), work.out, folder)
        return
    if names:
        check_classes(teacher, names)
    kept = None
    if settings.keep.vocabulary is not None:
        kept = vocabulary.chosen(folder, made, settings.keep.vocabulary)
        vocabulary.trim(folder, kept, work.out)
        covered = vocabulary.coverage(texts.texts["val"], folder, work.out, kept)
        sentence = covered.sentence(len(kept))
        told = {"schema": 1, "size": len(kept), "sentence": sentence}
        (work.out / COVERAGE).write_text(json.dumps(told), "utf-8")
        work.progress.say(sentence)
    model = truncate.student_of(teacher, settings.keep, made, names, kept)
    folders.save(model, work.out, folder if kept is None else None)


def check_classes(teacher: Model, names: tuple[str, ...]) -> None:
    """Raises ConfigError for a teacher that does not know just these classes, in this order."""
    if teacher.net.classifier is None:
        raise ConfigError("teacher.from: has no classes; say with teacher.train how it learns the data's")
    if (own := folders.classes_of(teacher)) != names:
        raise ConfigError(
            f"teacher.from: its classes are {', '.join(own)}, and the data's are {', '.join(names)}; name them alike "
            "and in its order with data.labels, or let it learn the data's by teacher.train"
        )


def with_head(encoder: Model, names: tuple[str, ...]) -> Model:
    """The whole encoder as a classifier of these classes, which are read from its first token as BERT reads them."""
    shape = encoder.net.shape.model_copy(update={"pooling": "cls", "pooler": True, "normalize": False})
    layers = range(shape.layers)
    return truncate.truncated(encoder, shape, layers, truncate.by_magnitude(encoder.net), names)


def distil(settings: DistillEmbedding, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.train.threads)
    student, teacher = (folders.load(inputs[name].path) for name in ("student", "teacher"))
    theirs = tokens.load(inputs["teacher_tokens"].path) if "teacher_tokens" in inputs else None
    watch = train.distil(
        student, tokens.load(inputs["tokens"].path), load_file(inputs["targets"].file(TARGETS))["targets"], settings,
        work.scratch, work.progress, teacher, teacher_tokens=theirs,
    )  # fmt: skip
    _keep(student, inputs["student"], watch.told(), work.out)


def teach(settings: TeachClasses, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.train.threads)
    student = folders.load(inputs["student"].path)
    made = tokens.load(inputs["tokens"].path)
    labels = held.read(inputs["texts"].path).labels
    assert labels is not None
    targets = load_file(inputs["targets"].file(TARGETS))["targets"] if "targets" in inputs else None
    teacher = folders.load(inputs["teacher"].path) if "teacher" in inputs else None
    watch = train.teach(
        student, made, torch.tensor(labels["train"]), settings, work.scratch, work.progress, targets=targets,
        teacher=teacher,
    )  # fmt: skip
    _keep(student, inputs["student"], watch.told(), work.out)


def teach_in_stages(settings: TeachInStages, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    student, pretrained, tuned = (folders.load(inputs[name].path) for name in ("student", "pretrained", "tuned"))
    task, labels = tokens.load(inputs["tokens"].path), held.read(inputs["texts"].path).labels
    assert labels is not None
    general = tokens.load(inputs["general"].path) if "general" in inputs else task
    staging.staged(
        student, settings.stages, staging.Texts(general, task, torch.tensor(labels["train"])),
        staging.Teachers(pretrained, tuned), work.scratch, work.progress,
    )  # fmt: skip
    _keep(student, inputs["student"], {"stages": [one.model_dump(mode="json") for one in settings.stages]}, work.out)


def _keep(model: Model, began: Artifact, log: object, out: Path) -> None:
    folders.save(model, out)
    for name in (*TOKENIZER_FILES, COVERAGE):
        if (began.path / name).is_file():
            shutil.copyfile(began.path / name, out / name)
    (out / LOG).write_text(json.dumps({"schema": 1, "training": log}), "utf-8")
