"""Content codings."""

from __future__ import annotations

import gzip
import zlib

import pytest

from fabric.core.errors import InvalidRequest, Overloaded, Unimplemented
from fabric.gateway.coding import Coding, accepted, deflated, inflated

GZIP, DEFLATE, IDENTITY = Coding


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"", IDENTITY),
        (b"identity", IDENTITY),
        (b"br", IDENTITY),
        (b"gzip", GZIP),
        (b"deflate", DEFLATE),
        (b"deflate, gzip", GZIP),
        (b"GZIP;q=0.1, deflate ; q=0.9", DEFLATE),
        (b"gzip;q=0", IDENTITY),
        (b"gzip;q=soon", IDENTITY),
        (b"gzip;q=0.5, identity", IDENTITY),
        (b"*", GZIP),
        (b"gzip;q=0, *", DEFLATE),
    ],
)
def test_an_answer_gets_what_its_caller_likes_best(header, coding):
    """Of what there is; gzip where all are liked the same."""
    assert accepted(header) is coding


@pytest.mark.parametrize("coding", Coding)
def test_bodies_come_out_as_they_went_in(coding):
    """And no body is larger than it may be, however small it came."""
    packed = deflated(bytes(1000), coding)
    assert inflated(packed, coding.value.upper().encode(), 1000) == bytes(1000)
    if coding is not IDENTITY:
        with pytest.raises(Overloaded, match="over 999 bytes"):
            inflated(packed, coding.value.encode(), 999)


@pytest.mark.parametrize(
    "body", [b"", b"plain", gzip.compress(b"a")[:-1], zlib.compress(b"a") + b"b"]
)
def test_what_is_not_one_whole_stream_is_refused(body):
    """By the coding's name."""
    with pytest.raises(InvalidRequest, match="gzip"):
        inflated(body, b"gzip", 100)


def test_a_coding_that_nobody_knows_is_refused():
    """It says which are known."""
    with pytest.raises(Unimplemented, match="'br' is not supported; use gzip or deflate"):
        inflated(b"", b"br", 100)
