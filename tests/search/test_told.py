"""What a caller says of its shapes is told as it is, or refused before anything is."""

from __future__ import annotations

import pytest

from edgekd.errors import EdgekdError
from edgekd.search.studies.plans import Objective
from edgekd.search.studies.told import Evaluated, check

OBJECTIVES = (Objective("log_parameters", "maximise"), Objective("log_macs", "minimise"))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([], "was given 16 shapes and gave 0 results"),
        ([Evaluated((1.0,))] * 16, "gave the values .* for log_parameters, log_macs"),
        ([Evaluated((1.0, float("nan")))] * 16, "gave the values .*nan"),
        ([Evaluated((1.0, 2.0))] * 15 + [Evaluated((1.0, 2.0), (0.0,))], "as many numbers for each shape"),
        ([Evaluated(None, (0.0,))] * 16, "measured nothing of a shape"),
    ],
)
def test_what_cannot_be_told_is_refused(found: list[Evaluated], says: str) -> None:
    with pytest.raises(EdgekdError, match=says):
        check(found, 16, OBJECTIVES)
