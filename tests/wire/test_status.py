"""Errors on the wire."""

from __future__ import annotations

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from fabric.core.errors import InvalidRequest, NotFound, Overloaded, Unavailable
from fabric.wire.status import from_details, to_details


def delay(details):
    retry = RetryInfo()
    found = [d for d in Status.FromString(details).details if d.Unpack(retry)]
    return retry.retry_delay.ToMilliseconds() / 1000 if found else None


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Overloaded("full"), 0.1),
        (Overloaded("full", retry_after=2.5), 2.5),
        (Overloaded("too large", retry_after=0.0), None),
        (Unavailable("nobody"), 1.0),
        (NotFound("nothing"), None),
        (InvalidRequest("wrong", retry_after=0.25), 0.25),
    ],
    ids=repr,
)
def test_an_error_says_when_it_is_worth_while_to_come_again(error, seconds):
    """In `google.rpc.RetryInfo`; what waiting does not help has none."""
    details = to_details(error)
    assert delay(details) == seconds
    again = from_details(error.code, error.message, details)
    assert (type(again), again.message) == (type(error), error.message)
    assert again.retry_after == (seconds or 0.0)


def test_what_has_no_details_is_what_its_code_says():
    """As other servers answer."""
    assert from_details(14, "away", None).retry_after == 1.0
    assert from_details(14, "away", b"nonsense").retry_after == 1.0
