"""What exporters for devices elsewhere share: whose runtime it is, whether the compiler is there, who answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import onnx

from edgekd.data.feeds import laid_out
from edgekd.data.signature import Signature
from edgekd.deploy.exporter import Deployable, Parity
from edgekd.deploy.proof import compared, family, step_of
from edgekd.deploy.reference import first, read
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.answering import predict
from edgekd.hardware.runtime import Array, Described, Session, Tensor
from edgekd.hardware.specs import CompilerSpec, RuntimeSpec

SAMPLES = 64


class Asked:
    """A session whose answers are some other process's, for any number of samples a call: starting it takes longest."""

    def __init__(self, described: Signature, ask: Callable[[Mapping[str, Array]], Array]) -> None:
        inputs = (Tensor(one.name, one.dtype, ("batch", *one.shape[1:])) for one in described.inputs)
        outputs = (Tensor(one.name, "float32", ("batch", "?")) for one in described.outputs)
        self._described, self._ask = Described(tuple(inputs), tuple(outputs)), ask

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        return [self._ask(feeds)]

    def describe(self) -> Described:
        return self._described

    def close(self) -> None:
        pass


def parity_of(session: Session, described: Signature, deployable: Deployable) -> Parity:
    """What answers for the device against the graph's own arithmetic, on the first samples: it is slow to ask."""
    known, graph = read(deployable.reference), onnx.load(deployable.onnx)
    feeds = {spec.name: laid_out(known.feeds[spec.name][:SAMPLES], spec) for spec in described.inputs}
    answers = predict(deployable.onnx.name, session, feeds, batch=SAMPLES)
    step, meaning = step_of(graph, known.answers), described.outputs[0].meaning
    return compared(answers, first(known, SAMPLES), step, family(graph), meaning)


def own(exporter: str, name: str, runtime: RuntimeSpec) -> CompilerSpec:
    """The runtime, where it is the one that the exporter writes for. Raises ConfigError for any other."""
    if not isinstance(runtime, CompilerSpec) or runtime.name != name:
        raise ConfigError(f"exporter {exporter}: writes files for {name}, not for {runtime.name}")
    return runtime


def check_installed(exporter: str, module: str, extra: str | None = None) -> None:
    """Raises UnavailableError with what installs the compiler; it is not imported."""
    if find_spec(module) is None:
        raise UnavailableError(
            f"exporter {exporter!r} needs {module!r}, which is not installed; pip install 'edgekd[{extra or exporter}]'"
        )
