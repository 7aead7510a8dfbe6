"""Embed or classify text with this bundle: needs numpy, tokenizers and the runtime, nothing of edgekd.

python run.py "A cat sat on the mat."               # the embedding, or the class with its probability
python run.py "A cat sat." "A dog slept." --alike   # how alike embeddings are, as cosines
python run.py --lines texts.txt --json              # a JSON object a line, for each line of a file
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import runtimes  # the file beside this one


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", nargs="*", help="each is one text")
    parser.add_argument("--lines", type=Path, help="a UTF-8 file with a text a line")
    parser.add_argument("--alike", action="store_true", help="print how alike the texts are instead")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    try:
        texts = arguments.texts + (arguments.lines.read_text("utf-8").splitlines() if arguments.lines else [])
    except (OSError, UnicodeDecodeError) as error:
        print(f"{arguments.lines}: {error}", file=sys.stderr)
        return 2
    if not texts:
        parser.error("no text given")
    manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
    output = manifest["signature"]["outputs"][0]
    answers = answered(HERE, manifest, texts)
    if arguments.alike and output["meaning"] != "embedding":
        parser.error("--alike: this model gives classes, no embeddings")
    if arguments.alike:
        print("\n".join(" ".join(f"{value:.3f}" for value in row) for row in alike(answers)))
        return 0
    for text, answer in zip(texts, answers, strict=True):
        row = {"text": text, **told(answer, output)}
        print(json.dumps(row, ensure_ascii=False) if arguments.json else short(row))
    return 0


def answered(folder, manifest, texts):
    """[N, D] or [N, C]: each text alone, as it was measured."""
    run = runtimes.open_model(folder, manifest)
    inputs = manifest["signature"]["inputs"]
    tokenizer = opened_tokenizer(folder, manifest["signature"]["text"], inputs[0]["shape"][1])
    names = [spec["name"] for spec in inputs]
    return np.stack([np.asarray(run(feeds(tokenizer, text, names)))[0] for text in texts])


def opened_tokenizer(folder, reads, length):
    """Texts are padded where the model's length is a number."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / reads["tokenizer"]))
    tokenizer.no_padding()
    tokenizer.enable_truncation(reads["max_length"])
    if isinstance(length, int):
        tokenizer.enable_padding(length=length, pad_id=reads["padding"])
    return tokenizer


def feeds(tokenizer, text, names):
    read = tokenizer.encode(text)
    found = {"input_ids": read.ids, "attention_mask": read.attention_mask}
    return {name: np.asarray([found[name]], np.int64) for name in names}


def alike(answers):
    """Cosines of all with all, [N, N]."""
    unit = answers / np.maximum(np.linalg.norm(answers, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def told(answer, output):
    """The embedding; of logits the likeliest class."""
    if output["meaning"] == "embedding":
        return {"embedding": [round(float(value), 6) for value in answer]}
    shares = np.exp(answer - answer.max())
    shares /= shares.sum()
    best = int(shares.argmax())
    labels = output.get("labels") or [str(number) for number in range(len(shares))]
    return {"label": labels[best], "probability": round(float(shares[best]), 4)}


def short(row):
    if "label" in row:
        return f"{row['label']} ({row['probability']:.3f}): {row['text']}"
    shown = ", ".join(f"{value:.4f}" for value in row["embedding"][:4])
    return f"[{shown}, ... {len(row['embedding'])} values]: {row['text']}"


if __name__ == "__main__":
    sys.exit(main())
