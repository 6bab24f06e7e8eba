"""What h2load says, and what it does not know."""

from __future__ import annotations

import pytest

from tests.benchmarks.h2load import parsed
from tests.benchmarks.processes import Failed

SHOWN = """
finished in 480.12ms, 2082.79 req/s, 1.20MB/s
requests: 1000 total, 1000 started, 1000 done, {succeeded} succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 214.34KB (219484) total, 29.39KB (30092) headers (space savings 94.12%), {data}
"""


def test_the_rate_and_the_time_are_read():
    """The time has a unit of its own."""
    shown = SHOWN.format(succeeded=1000, data="176.76KB (181000) data")
    assert parsed(shown, 1000, least=40) == (2082.79, pytest.approx(0.48012))


@pytest.mark.parametrize(
    ("succeeded", "data", "said"),
    [
        (999, "176.76KB (181000) data", "of 1000 requests 999 were answered"),
        (1000, "38.09KB (39000) data", "in 39000 bytes where results take 40000"),
        (1000, "", "h2load said what nobody expected"),
    ],
)
def test_a_refusal_is_no_answer(succeeded, data, said):
    """gRPC's errors look like successes without a body."""
    with pytest.raises(Failed, match=said):
        parsed(SHOWN.format(succeeded=succeeded, data=data), 1000, least=40)
