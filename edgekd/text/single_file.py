"""One ONNX file that reads text itself: onnxruntime-extensions' WordPiece in front of the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgekd.data import signature
from edgekd.data.signature import Signature
from edgekd.deploy import exporter
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError, UnsupportedError
from edgekd.hardware.specs import OnnxRuntimeSpec
from edgekd.text import held
from edgekd.text.evaluate import Reader
from edgekd.text.folders import TOKENIZER
from edgekd.text.stages import SingleFile

FILE, ABOUT = "model_with_tokenizer.onnx", "model_with_tokenizer.json"
DOMAIN, INPUT = "ai.onnx.contrib", "text"
TOLERANCE = 1e-3
NORMALISER = {"type": "BertNormalizer", "clean_text": True}


def run(settings: SingleFile, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Of what ships, or where that is no file of ONNX Runtime's, of the best that is one."""
    files = {name.removeprefix("model."): model for name, model in inputs.items() if name.startswith("model.")}
    name = best_of(inputs["report"].json("report.json"), files)
    hub = inputs["hub"].path
    graph = with_tokenizer(onnx.load(exporter.entry(files[name])), hub / TOKENIZER, signature.read(hub))
    onnx.save(graph, work.out / FILE)
    texts = held.read(inputs["texts"].path).texts["val"][: settings.texts]
    apart = sum(not same for same in alike(work.out / FILE, files[name], Reader(hub), texts))
    told = {"schema": 1, "variant": name, "texts": len(texts), "read_otherwise": apart}
    (work.out / ABOUT).write_text(json.dumps(told, indent=1), "utf-8")
    work.progress.say(f"{FILE}: {name}; {apart} of {len(texts)} val texts get another answer than by {TOKENIZER}")


def best_of(report: Mapping[str, Any], files: Mapping[str, Artifact]) -> str:
    """The first of ONNX Runtime's in the order in which they were ranked."""
    ranked = (report["shipped"], *report["rejected"])
    for name in ranked:
        if isinstance(exporter.runtime(files[name]), OnnxRuntimeSpec) and not exporter.read(files[name])["refused"]:
            return str(name)
    raise UnsupportedError("single_file: no variant is ONNX Runtime's, in which alone the tokenizer runs")


def with_tokenizer(graph: onnx.ModelProto, path: Path, described: Signature) -> onnx.ModelProto:
    """
    The graph with one input, `text` [1]. Raises UnsupportedError for another tokenizer than BERT's, and for a fixed
    length, to which nothing in the file would pad.
    """
    if signature.padded_to(described):
        raise UnsupportedError("single_file: texts are padded to a fixed length here, which the file cannot do")
    assert described.text is not None
    told = json.loads(path.read_text("utf-8"))
    read = helper.make_node(
        "BertTokenizer", [INPUT], ["ids", "types", "mask"], domain=DOMAIN, name="tokenizer",
        max_length=described.text.max_length, **settings_of(told),
    )  # fmt: skip
    known = [tensor.name for tensor in graph.graph.input]
    made = {"input_ids": "ids", "attention_mask": "mask"}
    batches = [helper.make_node("Unsqueeze", [made[name], "tokenizer.axes"], [name]) for name in known]
    for place, node in enumerate((read, *batches)):
        graph.graph.node.insert(place, node)
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "tokenizer.axes"))
    del graph.graph.input[:]
    graph.graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.STRING, [1]))
    graph.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return graph


def settings_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of the tokenizer's node, from a `tokenizer.json`. Raises UnsupportedError for what it cannot do."""
    model, normalizer = told["model"], told["normalizer"] or {}
    numbers = model["vocab"] if model.get("type", "WordPiece") == "WordPiece" else {}
    if not numbers or NORMALISER.items() - normalizer.items() or sorted(numbers.values()) != [*range(len(numbers))]:
        raise UnsupportedError("single_file: onnxruntime-extensions reads BERT's WordPiece, and this tokenizer is none")
    lower, accents = normalizer["lowercase"], normalizer["strip_accents"]
    return {
        "vocab_file": "\n".join(sorted(numbers, key=numbers.__getitem__)),
        "do_lower_case": int(lower),
        "strip_accents": int(lower if accents is None else accents),
        "tokenize_chinese_chars": int(normalizer["handle_chinese_chars"]),
        "unk_token": model["unk_token"],
    }


def opened(path: Path) -> ort.InferenceSession:
    from onnxruntime_extensions import get_library_path

    options = ort.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    return ort.InferenceSession(path, options)


def alike(path: Path, model: Artifact, reader: Reader, texts: list[str]) -> list[bool]:
    """Of each text, whether the file answers as the model does to what the tokenizer makes of it."""
    whole, session = opened(path), exporter.opened(model, 1)
    known = [tensor.name for tensor in session.describe().inputs]
    found = []
    for text in texts:
        feeds = reader(text)
        expected = session.run({name: feeds[name] for name in known})[0]
        found.append(np.allclose(whole.run(None, {INPUT: np.array([text])})[0], expected, atol=TOLERANCE))
    session.close()
    if texts and not any(found):
        raise EdgekdError("single_file: answers no text as the model with its tokenizer does; the file is not shipped")
    return found
