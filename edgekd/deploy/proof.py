"""Is the exported file what was handed in? Its runtime's answers against the hub graph's own arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekd.data.feeds import laid_out
from edgekd.data.signature import Signature
from edgekd.deploy.exporter import Deployable, Parity
from edgekd.deploy.reference import Reference, read
from edgekd.errors import EdgekdError
from edgekd.hardware.answering import predict
from edgekd.hardware.runtime import Session

Array = NDArray[Any]
FLOAT_TOLERANCE = 1e-3  # of the largest answer
AGREEMENT = 0.98  # of top-1, for a quantised graph
COSINE = 0.99  # of answers that are no logits: below it a sample does not agree
STEPS = {"conv": 2, "transformer": 5}  # of the output's scale, in 99 of 100 answers
LESS_NOISE_DB = 0.5  # how much further from the float graph a runtime may be that rounds elsewhere
QUANTISED = ("QuantizeLinear", "DynamicQuantizeLinear")
ATTENTION = ("Softmax", "LayerNormalization", "Attention")


def prove(
    session: Session, described: Signature, deployable: Deployable, *, exact: bool = True
) -> tuple[Parity, str | None]:
    """
    What the runtime answers against the reference, and why the file must not ship, where it must not.

    A float graph is not `exact` where its runtime computes with 16 bits: it is judged as a quantised one.
    Raises EdgekdError for a float graph that answers otherwise: that is a fault of the export, not of a method.
    """
    reference = read(deployable.reference)
    feeds = {spec.name: laid_out(reference.feeds[spec.name], spec) for spec in described.inputs}
    answers = predict(deployable.onnx.name, session, feeds, batch=64)
    graph = onnx.load(deployable.onnx)
    quantised = is_quantised(graph)
    step = step_of(graph, reference.answers) if quantised else None
    parity = compared(answers, reference, step, family(graph), described.outputs[0].meaning)
    if not deployable.trained:
        return parity, None
    if not quantised and exact:
        check_float(parity, float(np.abs(reference.answers).max()))
        return parity, None
    return parity, refusal(parity)


def compared(answers: Array, reference: Reference, step: float | None, kind: str, meaning: str = "logits") -> Parity:
    """Answers [N, ...] of a runtime against those of the reference; `step` is the scale of the output."""
    apart = np.abs(reference.answers.astype(np.float64) - answers)
    floats = reference.floats
    return Parity(
        max_abs_diff=float(apart.max()),
        top1_agreement=float(agrees(reference.answers, answers, meaning).mean()),
        samples=len(answers),
        step=step,
        steps_p99=None if step is None else float(np.percentile(apart, 99)) / step,
        steps_max=None if step is None else float(apart.max()) / step,
        steps_limit=None if step is None else STEPS[kind],
        snr_db=signal_to_noise_db(reference.answers, answers),
        float_snr_db=None if floats is None else signal_to_noise_db(floats, answers),
        file_float_snr_db=None if floats is None else signal_to_noise_db(floats, reference.answers),
    )


def agrees(expected: Array, answers: Array, meaning: str = "logits") -> NDArray[np.bool_]:
    """Which samples [N] get the same class of logits [N, C]; of other answers, which point the same way."""
    if meaning != "embedding" and expected.ndim == 2 and expected.shape[1] > 1:
        return np.asarray(expected.argmax(1) == answers.argmax(1))
    a, b = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (expected, answers))
    if a.shape[1] == 1:  # one number a sample: within a hundredth of what they range over
        return np.abs(a - b)[:, 0] <= (1 - COSINE) * max(float(np.ptp(a)), 1e-12)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(((a * b).sum(1) >= COSINE * np.maximum(lengths, 1e-12)) | (a == b).all(1))


def signal_to_noise_db(signal: Array, noisy: Array) -> float:
    """10 log10 of the mean square of the signal over that of the difference; at most 200, NaN counts as noise."""
    a, b = signal.astype(np.float64), noisy.astype(np.float64)
    power, noise = float(np.square(a).mean()), float(np.square(a - b).mean())
    if not np.isfinite(noise) or power == 0:
        return -200.0 if noise != 0 else 200.0
    return float(min(200.0, 10 * np.log10(power / max(noise, power * 1e-20))))


def step_of(graph: onnx.ModelProto, answers: Array) -> float:
    """The scale of the output where it is quantised, else the 255th part of what it ranges over."""
    makers = {name: node for node in graph.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    maker = makers.get(graph.graph.output[0].name)
    if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[1] in constants:
        scale = numpy_helper.to_array(constants[maker.input[1]])
        if scale.size == 1:
            return float(scale.reshape(()))
    return float(np.ptp(answers)) / 255 or 1.0


def is_quantised(graph: onnx.ModelProto) -> bool:
    return any(node.op_type in QUANTISED for node in graph.graph.node)


def family(graph: onnx.ModelProto) -> str:
    """Rounding adds up further where attention is: its own limit of steps."""
    return "transformer" if any(node.op_type in ATTENTION for node in graph.graph.node[:-3]) else "conv"


def check_float(parity: Parity, largest: float) -> None:
    if not parity.max_abs_diff <= FLOAT_TOLERANCE * max(largest, 1e-3):  # NaN fails too
        raise EdgekdError(
            f"export: answers differ from the reference's by {parity.max_abs_diff:.2e}, "
            f"tolerance {FLOAT_TOLERANCE:.0e} of {largest:.2g}; the file is not shipped"
        )


def refusal(parity: Parity) -> str | None:
    """
    Why a quantised file must not ship: its runtime has kernels that round, or overflow, otherwise than the file says.

    More steps are borne where the runtime is no further from the float graph than the file is: it rounds less often
    (OpenVINO adds residuals before it rounds). Where no float graph is known (QAT), agreement alone decides.
    """
    if not parity.top1_agreement >= AGREEMENT:
        return (
            f"the runtime agrees with the quantised graph on {parity.top1_agreement:.1%} of {parity.samples} "
            f"samples, at least {AGREEMENT:.0%} are needed"
        )
    if within_steps(parity) or rounds_less(parity):
        return None
    return (
        f"the runtime is {parity.steps_p99:.1f} steps of the output's scale from the quantised graph (99th percentile),"
        f" {parity.steps_limit} are allowed"
    )


def within_steps(parity: Parity) -> bool:
    if parity.steps_p99 is None or parity.steps_limit is None:
        return True
    return parity.steps_p99 <= parity.steps_limit + 1e-3  # steps are whole but for the last bits of a float


def rounds_less(parity: Parity) -> bool:
    if parity.float_snr_db is None or parity.file_float_snr_db is None:
        return True
    return parity.float_snr_db >= parity.file_float_snr_db - LESS_NOISE_DB
