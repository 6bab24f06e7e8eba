"""Content codings of HTTP: which one an answer gets, and bodies in and out of them."""

from __future__ import annotations

import gzip
import zlib
from enum import Enum

from fabric.core.errors import InvalidRequest, Overloaded, Unimplemented

_BOTH = zlib.MAX_WBITS | 32  # the header of gzip's form or zlib's, whichever is there


class Coding(Enum):
    """By preference, where a client has none."""

    GZIP = "gzip"
    DEFLATE = "deflate"
    IDENTITY = "identity"


def accepted(header: bytes) -> Coding:
    """What an `Accept-Encoding` likes best of what we have (RFC 9110, 12.5.3)."""
    qualities: dict[str, float] = {}
    for item in header.decode("latin-1").lower().split(","):
        name, _, weight = item.partition(";")
        try:
            qualities[name.strip()] = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            qualities[name.strip()] = 0.0
    others = qualities.get("*", 0.0)
    codings = (Coding.GZIP, Coding.DEFLATE)
    best = max(codings, key=lambda coding: qualities.get(coding.value, others))
    quality = qualities.get(best.value, others)
    return best if quality > 0 and quality >= qualities.get("identity", 0.0) else Coding.IDENTITY


def deflated(body: bytes, coding: Coding) -> bytes:
    """*body* in *coding*; quick rather than small."""
    if coding is Coding.GZIP:
        return gzip.compress(body, 1)
    return zlib.compress(body, 1) if coding is Coding.DEFLATE else body


def inflated(body: bytes, header: bytes, max_bytes: int) -> bytes:
    """*body* out of the coding that a `Content-Encoding` names.

    Raises:
        InvalidRequest: it is not in that coding.
        Overloaded: it has more than *max_bytes*, of which no more are ever made.
        Unimplemented: nobody here knows the coding.
    """
    coding = header.decode("latin-1").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Unimplemented(f"Content-Encoding '{coding}' is not supported; use gzip or deflate")
    stream = zlib.decompressobj(_BOTH)
    try:
        inflated = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {coding}: {error}") from error
    if len(inflated) > max_bytes:
        text = f"the body has over {max_bytes} bytes, which is the limit"
        raise Overloaded(text, retry_after=0.0)
    if not stream.eof or stream.unused_data:
        raise InvalidRequest(f"the body is not one whole {coding} stream")
    return inflated
