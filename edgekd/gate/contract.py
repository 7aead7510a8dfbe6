"""What an application relies on: the names, shapes and types of inputs and outputs, labels, layout, preprocessing."""

from __future__ import annotations

from typing import Any

from edgekd.data.signature import Signature, TensorIn
from edgekd.errors import ConfigError
from edgekd.hardware.runtime import Described, Tensor


def same_task(baseline: Described, candidate: Described, before: Signature | None, now: Signature | None) -> None:
    """Raises ConfigError where the two answer different questions: nothing else could be compared then."""
    was, is_ = baseline.outputs[0], candidate.outputs[0]
    lengths = [tensor.shape[-1] if tensor.shape else "?" for tensor in (was, is_)]
    if all(isinstance(length, int) for length in lengths) and lengths[0] != lengths[1]:
        raise ConfigError(
            f"--baseline: answers {was}, the candidate {is_}: another task; give a baseline of the same one"
        )
    labels = [set(signature.outputs[0].labels) if signature else set() for signature in (before, now)]
    if before and now and all(labels) and not labels[0] & labels[1]:
        raise ConfigError(
            f"--baseline: its labels ({_some(before)}) share none with the candidate's ({_some(now)}): another task; "
            "give a baseline of the same one"
        )


def differences(
    baseline: Described, candidate: Described, before: Signature | None, now: Signature | None
) -> tuple[str, ...]:
    """A sentence for each; what only one of the two says cannot differ."""
    found = [
        *_tensors("input", baseline.inputs, candidate.inputs),
        *_tensors("output", baseline.outputs, candidate.outputs),
    ]
    if before and now:
        found += _signatures(before, now)
    return tuple(found)


def _tensors(kind: str, before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> list[str]:
    if len(before) != len(now):
        return [f"{len(now)} {kind}s, the baseline has {len(before)}"]
    return [
        f"{kind} {number}: {new}, the baseline has {old}"
        for number, (old, new) in enumerate(zip(before, now, strict=True))
        if (old.name, old.dtype, _axes(old)) != (new.name, new.dtype, _axes(new))
    ]


def _axes(tensor: Tensor) -> tuple[int | None, ...]:
    """A free axis is free, whatever it is called."""
    return tuple(axis if isinstance(axis, int) else None for axis in tensor.shape)


def _signatures(before: Signature, now: Signature) -> list[str]:
    found = []
    for old, new in zip(before.inputs, now.inputs, strict=False):
        was, is_ = _reads(old), _reads(new)
        changed = [key for key in was | is_ if was.get(key) != is_.get(key)]
        found += [f"input {new.name}: {key} {is_.get(key)}, the baseline has {was.get(key)}" for key in changed]
    for out_old, out_new in zip(before.outputs, now.outputs, strict=False):
        if out_old.labels != out_new.labels:
            found.append(f"output {out_new.name}: labels {_first_difference(out_old.labels, out_new.labels)}")
    return found


def _reads(spec: TensorIn) -> dict[str, Any]:
    """Layout and preprocessing, by the words for them."""
    steps = spec.preprocess.model_dump(mode="json") if spec.preprocess else {}
    return {"layout": spec.layout} | {f"preprocessing {step}": value for step, value in steps.items()}


def _first_difference(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    if len(before) != len(now):
        return f"{len(now)}, the baseline has {len(before)}"
    number = next(n for n, (old, new) in enumerate(zip(before, now, strict=True)) if old != new)
    return f"differ, number {number} first: {now[number]!r}, the baseline has {before[number]!r}"


def _some(signature: Signature) -> str:
    labels = signature.outputs[0].labels
    return ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
