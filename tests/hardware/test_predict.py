"""Predictions of analytic latencies: their error, their intervals, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.timed import SPACE, analytic_ms, somewhere, table

from edgekd.errors import ConfigError
from edgekd.hardware.accuracy import held_out
from edgekd.hardware.kernels import features, kernels
from edgekd.hardware.latencies import LatencyTable
from edgekd.hardware.predict import Predictor, fitted, kernel_sum
from edgekd.models.shape import NetShape, resnet
from edgekd.search.space import sample


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return fitted(table(150, seed=1))


def test_a_sum_over_kernels_is_found_though_some_measurements_are_off() -> None:
    """One in ten is a third too long, as beside a neighbour."""
    shapes = sample(SPACE, 120, 0)
    rows = [features(kernels(shape, (3, 32, 32), 10, quantised=True)) for shape in shapes]
    truth = np.array([0.05 + 2e-8 * row["conv.macs"] + 0.004 * row.get("add.calls", 0) for row in rows])
    disturbed = truth * np.where(np.arange(len(truth)) % 10, 1.0, 1.33)
    found = kernel_sum(rows, disturbed)
    assert (found.per_unit >= 0).all()
    error = np.abs(found(rows) / truth - 1)
    assert np.quantile(error, 0.9) < 0.02
    assert error.max() < 0.12


def test_nets_that_were_held_out_are_predicted() -> None:
    found = held_out(table(150, seed=1))
    assert found.within_10_percent.value > 95
    assert found.spearman > 0.99
    assert found.n + found.refused == 150
    assert found.n > 135
    assert "within 10 %" in str(found)


def test_intervals_hold_what_they_promise() -> None:
    """Whatever the noise: a tenth of new measurements lies outside, over tables and their splits."""
    shares = []
    for seed in range(5):
        known = fitted(table(80, seed, noise=0.05))
        new = [shape for shape in sample(SPACE, 120, 100 + seed) if known.why_not(shape) is None]
        errors = np.exp(0.05 * np.random.default_rng(seed).standard_normal(len(new)))
        truth = [analytic_ms(shape) * error for shape, error in zip(new, errors, strict=True)]
        found = known.predict(new)
        shares.append(np.mean([p.low_ms <= ms <= p.high_ms for p, ms in zip(found, truth, strict=True)]))
    assert 0.8 < np.mean(shares) <= 1.0


def test_a_prediction_says_what_it_is(predictor: Predictor) -> None:
    (found,) = predictor.predict([sample(SPACE, 1, seed=1)[0]])
    assert (found.kind, found.statistic) == ("predicted", "least")
    assert found.low_ms < found.latency_ms < found.high_ms
    assert found.confidence == 0.9
    assert predictor.predict([]) == []


def test_the_same_table_predicts_the_same(predictor: Predictor) -> None:
    again = LatencyTable.model_validate_json(table(150, seed=1).model_dump_json(by_alias=True))
    shapes = sample(SPACE, 5, seed=1)
    assert fitted(again).predict(shapes) == predictor.predict(shapes)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (
            NetShape(stem_width=16, widths=((400, 400), (400, 400)), strides=(1, 2)),
            r"net 1: a conv kernel of 400 channels: measured were 8 to 96 \(onnxruntime int8, 1 threads, 3 x 32 x 32\)",
        ),
        (
            NetShape(stem_width=16, widths=((16, 16),), strides=(1,), kernels=(7,)),
            "a conv kernel of 7 x 7, stride 1: none was .*; calibrate with a space that has it .edgekd devices cal",
        ),
        (NetShape(stem_width=16, stem_stride=4, widths=((16, 16),), strides=(1,)), "3 x 3, stride 4: none was"),
        (resnet(56), "multiplications: measured were|kernels: measured were"),
    ],
)  # fmt: skip
def test_what_is_beyond_the_measured_is_refused(shape: NetShape, says: str, predictor: Predictor) -> None:
    with pytest.raises(ConfigError, match=says):
        predictor.predict([shape])
    assert predictor.why_not(shape)


def test_too_few_nets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"30 nets were measured .*a 90% interval needs 36"):
        fitted(table(30, seed=0))


def test_images_of_another_size_are_another_table() -> None:
    assert somewhere().file_name != somewhere(image=(3, 64, 64)).file_name
    assert somewhere().file_name == somewhere().file_name
