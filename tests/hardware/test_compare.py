"""Comparisons of real models in fresh processes, and of scripted clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.onnx_models import one_node, stack_of

import edgekd
from edgekd.engine.events import Progress, Silent
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.measure.compare import Model, observe, paired_ratio
from edgekd.hardware.measure.result import Comparison, verdict
from edgekd.hardware.measure.worker import Clock, Subject, measure, opening_order, warm_up
from edgekd.hardware.profile import DeviceProfile, Measuring, load_profile
from edgekd.hardware.runtime import Array, Described, Tensor
from edgekd.hardware.specs import Runnable
from edgekd.stats import Interval

QUICK = Measuring(processes=3, rounds=40, warmup_runs=10)


@pytest.fixture
def profile() -> DeviceProfile:
    return edgekd.load_profile("local-cpu").model_copy(update={"measure": QUICK})


def test_twice_the_work_is_found_to_be_slower_and_a_copy_is_not(tmp_path: Path, profile: DeviceProfile) -> None:
    models = {name: stack_of(layers, tmp_path / f"{name}.onnx") for name, layers in (("a", 8), ("copy", 8), ("b", 24))}
    found = edgekd.compare(models, profile)
    assert found.verdict("b", "a") == "slower"
    assert found.verdict("a", "b") == "faster"
    assert 0.2 < found.speedup_over["a"]["b"].value < 0.6
    assert found.verdict("copy", "a", minimum_effect=0.05) not in ("slower", "faster")
    assert found.kind == "measured"
    assert found.clock == "cpu"
    assert found.models["a"].n == 120
    assert found.models["a"].latency_p90_ms is not None
    assert found.models["a"].latency_p95_ms is None  # 120 runs support no p95
    assert found.models["a"].size_bytes == models["a"].stat().st_size
    assert Comparison.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.slow
def test_runtimes_are_compared_in_one_observation(tmp_path: Path, profile: DeviceProfile) -> None:
    pytest.importorskip("openvino")
    path = stack_of(4, tmp_path / "m.onnx")
    inputs = {"x": Tensor("x", "float32", (1, 256))}
    models = {name: Model(path, profile.runtime(name), inputs) for name in ("onnxruntime", "openvino")}
    found = observe(models, QUICK, ("onnxruntime",), Progress(Silent()))
    assert found.verdict("openvino", "onnxruntime") in ("faster", "slower", "same", "inconclusive")
    assert 0.05 < found.speedup_over["onnxruntime"]["openvino"].value < 20


def test_a_model_that_does_not_load_is_named(tmp_path: Path, profile: DeviceProfile) -> None:
    good, bad = stack_of(1, tmp_path / "good.onnx"), one_node("NoSuchOperator", tmp_path / "bad.onnx")
    with pytest.raises(UnavailableError, match=r"bad\.onnx: CPUExecutionProvider .* lacks an operator: .*NoSuchOp"):
        edgekd.compare({"bad": bad, "good": good}, profile)


def test_one_model_is_no_comparison(tmp_path: Path, profile: DeviceProfile) -> None:
    with pytest.raises(ConfigError, match="compare: 1 models; two at least"):
        edgekd.compare({"a": stack_of(1, tmp_path / "a.onnx")}, profile)


def test_an_error_of_the_measuring_process_arrives_as_what_it_is(tmp_path: Path, profile: DeviceProfile) -> None:
    """The file goes away between the look at it and the measurement."""
    model = Model(tmp_path / "gone.onnx", profile.runtime(), {})
    with pytest.raises(ConfigError, match=r"gone\.onnx: no such file"):
        observe({"a": model}, QUICK, (), Progress(Silent()))


def test_a_process_that_dies_is_told_with_its_last_words(tmp_path: Path, profile: DeviceProfile) -> None:
    strange = Tensor("x", "float32", (-1, 256))
    model = Model(stack_of(1, tmp_path / "m.onnx"), profile.runtime(), {"x": strange})
    with pytest.raises(UnavailableError, match=r"the process that runs the models ended with 1: .*negative dimensions"):
        observe({"a": model}, QUICK, (), Progress(Silent()))


@pytest.mark.parametrize("slowdown", [0.0, 0.10])
def test_an_injected_wait_is_measured_as_what_it_is(tmp_path: Path, slowdown: float) -> None:
    path, inputs = stack_of(16, tmp_path / "m.onnx"), {"x": Tensor("x", "float32", (1, 256))}
    spec = load_profile("local-cpu").runtime()
    models = {"a": Model(path, spec, inputs), "b": Model(path, spec, inputs, slowdown=slowdown)}
    measuring = Measuring(processes=5, rounds=80)
    found = observe(models, measuring, ("a",), Progress(Silent())).speedup_over["a"]["b"]
    assert found.value == pytest.approx(1 / (1 + slowdown), abs=0.03)


def process(
    slower: float, bias: float = 0.005, busy: float = 1.0, wall_slower: float = 0.0
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Stands in for the measuring process: 1 ms for the first model, slower or biased for the second."""

    def run(request: dict[str, Any]) -> dict[str, Any]:
        draw = np.random.default_rng(request["seed"])
        factors = (1.0, (1 + slower) * (1 + bias * draw.standard_normal()))
        answer = {}
        for number, name in enumerate(request["models"]):
            cpu = 1e6 * factors[number] * (1 + min(bias, 0.01) * draw.standard_normal(request["rounds"]))
            answer[name] = {
                "cpu": [cpu.astype(int).tolist()],
                "wall": [(cpu * busy * (1 + wall_slower * number)).astype(int).tolist()],
                "load_ns": 5e6,
                "first_ns": 2e6,
                "warmup_runs": 10,
                "instructions": None,
            }
        return answer

    return run


def scripted(slower: float, threads: int = 1, runtime: Runnable | None = None, **script: float) -> Comparison:
    spec = runtime or load_profile("local-cpu").runtime().model_copy(update={"threads": threads})
    models = {name: Model(Path(__file__), spec, {}) for name in ("a", "b")}
    return observe(models, Measuring(), ("a",), Progress(Silent()), process(slower, **script))


@pytest.mark.parametrize(
    ("slower", "bias", "says"),
    [
        (0.0, 0.005, "same"),
        (0.05, 0.005, "slower"),
        (-0.05, 0.005, "faster"),
        (0.02, 0.005, "inconclusive"),
        (0.05, 0.08, "inconclusive"),
    ],
)
def test_verdicts_on_scripted_clocks(slower: float, bias: float, says: str) -> None:
    assert scripted(slower, bias=bias).verdict("b", "a") == says


def test_figures_on_scripted_clocks() -> None:
    found = scripted(0.0, bias=0.0).models["a"]
    assert found.latency_p50_ms == Interval(1.0, 1.0, 1.0)
    assert (found.latency_p90_ms, found.latency_p95_ms, found.latency_p99_ms) == (1.0, 1.0, 1.0)
    assert (found.n, found.load_ms, found.first_inference_ms, found.warmup_runs) == (960, 5.0, 2.0, 10)


@pytest.mark.parametrize(("name", "clock"), [("local-cpu", "cpu"), ("intel-npu", "wall"), ("nvidia-cuda", "wall")])
def test_what_computes_beside_the_thread_that_calls_is_timed_by_the_wall(name: str, clock: str) -> None:
    found = scripted(0.0, runtime=load_profile(name).runtime(), wall_slower=1.0)
    assert found.clock == clock
    assert found.verdict("b", "a") == ("slower" if clock == "wall" else "same")


def test_a_busy_machine_is_told_and_does_not_change_the_ratio() -> None:
    quiet, busy = scripted(0.05), scripted(0.05, busy=1.6)
    assert quiet.noise.reasons == ()
    assert busy.noise.noisy
    assert busy.noise.contention == pytest.approx(1.6, abs=0.01)
    assert "wall time is 1.60 times CPU time" in busy.noise.reasons[0]
    assert busy.speedup_over == quiet.speedup_over


def test_with_more_threads_it_is_wall_time_that_counts() -> None:
    """The CPU time of two threads is no latency: here it is the same, and the second model waits twice as long."""
    found = scripted(0.0, threads=2, busy=0.6, wall_slower=1.0)
    assert found.clock == "wall"
    assert found.verdict("b", "a") == "slower"
    assert scripted(0.0, threads=1, wall_slower=1.0).verdict("b", "a") == "same"
    assert found.noise.contention is None
    assert found.noise.reasons == ()


def test_models_that_want_other_cores_are_not_compared() -> None:
    spec = load_profile("local-cpu").runtime()
    models = {str(n): Model(Path("m"), spec.model_copy(update={"affinity": (n,)}), {}) for n in (0, 1)}
    with pytest.raises(ConfigError, match="name different cores"):
        observe(models, Measuring(), (), Progress(Silent()), process(0.0))


def test_every_pair_of_models_is_opened_in_both_orders_equally_often() -> None:
    names = ["a", "b", "c", "d"]
    orders = [opening_order(names, seed, opening) for seed in range(10) for opening in range(2)]
    assert all(sorted(order) == names for order in orders)
    assert len({tuple(order) for order in orders}) > 4
    for one in names:
        for other in set(names) - {one}:
            assert sum(order.index(one) < order.index(other) for order in orders) == 10


def test_what_the_order_of_opening_does_cancels() -> None:
    """Whatever was opened first is slower by 2 %."""
    base, model = [[1020] * 9, [1000] * 9], [[1000] * 9, [1020] * 9]
    assert paired_ratio(base, model) == pytest.approx(1.0)


def test_a_ratio_is_of_pairs_and_not_of_sides() -> None:
    """Both models slow down together in half the rounds, as on a busy machine: their pairs do not care."""
    busy = np.where(np.arange(100) % 2, 1.0, 5.0)
    assert paired_ratio([(2000 * busy).astype(int).tolist()], [(1000 * busy).astype(int).tolist()]) == pytest.approx(
        2.0
    )


def test_interrupted_runs_do_not_count() -> None:
    base = np.full(100, 1000)
    base[:15] = 50_000
    assert paired_ratio([base.tolist()], [[1000] * 100]) == pytest.approx(1.0)


@dataclass
class Script:
    """A session whose runs take what a script says, on a clock that only they move."""

    times: Iterator[int]
    now: int = 0
    closed: bool = False
    fed: list[dict[str, Any]] = field(default_factory=list)

    def run(self, feeds: Any) -> list[Array]:
        self.now += next(self.times)
        self.fed.append(feeds)
        return []

    def describe(self) -> Described:
        return Described((), ())

    def close(self) -> None:
        self.closed = True

    def tick(self) -> int:
        self.now += 1  # reading a clock takes time too
        return self.now

    @property
    def clock(self) -> Clock:
        return Clock(self.tick, self.tick)


def constant(ns: int) -> Iterator[int]:
    while True:
        yield ns


def falling(*levels: int, runs: int = 5) -> Iterator[int]:
    for level in levels:
        for _ in range(runs):
            yield level
    yield from constant(levels[-1])


def test_loading_a_model_is_timed_without_the_import_of_its_runtime(tmp_path: Path) -> None:
    """Else the model that is opened first takes fifty times as long."""
    path, inputs = stack_of(8, tmp_path / "m.onnx"), {"x": Tensor("x", "float32", (1, 256))}
    model = Model(path, load_profile("local-cpu").runtime(), inputs)
    found = observe({"a": model, "b": model}, QUICK, (), Progress(Silent())).models
    assert 1 / 8 < found["a"].load_ms / found["b"].load_ms < 8  # the first session of a process costs something too


def test_warming_up_goes_on_until_medians_settle() -> None:
    for times, runs in (
        (constant(10**6), 10),
        (falling(10**7, 5 * 10**6, 2 * 10**6, 10**6), 25),
    ):
        script = Script(times)
        assert warm_up(Subject(script, {}), script.clock, at_least=10, time_s=1e6) == runs


def test_a_primed_run_is_the_second_of_two() -> None:
    script = Script(iter([5000, 1000, 4000, 900]))
    subject = Subject(script, {}, primed=True)
    assert [subject.once(script.clock)[0] for _ in range(2)] == pytest.approx([1000, 900], abs=5)


def test_warming_up_ends_though_nothing_settles() -> None:
    script = Script(iter(range(10**6, 10**9, 10**6)))  # slower and slower
    assert warm_up(Subject(script, {}), script.clock, at_least=10, time_s=0.5) < 60


def test_a_slow_model_stops_early_but_not_before_25_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(constant(10**8))  # a tenth of a second
    monkeypatch.setattr("edgekd.hardware.measure.worker.open_session", lambda *_: script)
    model = {"path": "m", "runtime": load_profile("local-cpu").runtime().model_dump_json(), "inputs": {}}
    request = {
        "seed": 0,
        "threads": 1,
        "warmup_runs": 10,
        "time_s": 1.0,
        "rounds": 120,
        "openings": 2,
        "models": {"a": model},
    }
    answer = measure(request | {"models": {"a": model}}, script.clock)["a"]
    assert [len(row) for row in answer["wall"]] == [len(row) for row in answer["cpu"]] == [13, 13]
    assert min(answer["cpu"][0]) >= 10**8
    assert answer["first_ns"] >= 10**8
    assert script.closed


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (Interval(1.1, 1.05, 1.2), "faster"),
        (Interval(0.9, 0.85, 0.95), "slower"),
        (Interval(1.0, 0.99, 1.01), "same"),
        (Interval(1.03, 0.99, 1.06), "inconclusive"),
        (Interval(1.03, 1.01, 1.06), "inconclusive"),
    ],
)
def test_a_difference_below_the_smallest_that_matters_is_none(interval: Interval, says: str) -> None:
    assert verdict(interval) == says
