"""What goes into a bundle of text besides the model: its tokenizer, `run.py`, and the float student for others."""

from __future__ import annotations

from pathlib import Path

from edgekd.deploy.bundle import RUNTIMES, Parts
from edgekd.engine.lock import Lock
from edgekd.engine.store import Artifact
from edgekd.text.held import FILE
from edgekd.text_chain import TextChain

CODE = {"run.py": ("edgekd.text", "run_text.py")} | RUNTIMES
TOKENIZER, WHY = "tokenizer.json", "why_not.txt"
SINGLE = ("model_with_tokenizer.onnx", "model_with_tokenizer.json")
STOCK, OWN = "transformers", "edgekd-encoder"  # one of the two: the second loads once edgekd is imported


def text_parts(done: TextChain, model: Artifact, lock: Lock, samples: int) -> Parts:
    """`samples` test texts go with it, because the person asked."""
    assert isinstance(done.report, Artifact)
    assert isinstance(done.hub, Artifact)
    more: dict[str, Path | str] = {TOKENIZER: done.hub.file(TOKENIZER)}
    if isinstance(done.stock, Artifact):
        stock = not (done.stock.path / WHY).is_file()
        more |= _files(done.stock.path, STOCK if stock else OWN)
        if not stock and isinstance(done.student, Artifact):
            more |= _files(done.student.path, OWN)
    if isinstance(done.single, Artifact):
        more |= {name: done.single.file(name) for name in SINGLE}
    if samples and isinstance(done.texts, Artifact):
        texts = done.texts.json(FILE)["texts"]["test"][:samples]
        more["samples/texts.txt"] = "\n".join(" ".join(text.split()) for text in texts) + "\n"
    return Parts(model, done.report, lock, code=CODE, more=more)


def _files(folder: Path, place: str) -> dict[str, Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {f"{place}/{path.relative_to(folder).as_posix()}": path for path in found}
