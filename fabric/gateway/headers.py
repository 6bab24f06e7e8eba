"""Header blocks of HTTP/2: each decoded once for all requests of a connection that have the same.

The rules are those of RFC 9113 (https://www.rfc-editor.org/rfc/rfc9113) and RFC 7541, HPACK.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import hpack
from hpack.table import HeaderTable

from fabric.gateway.grpc import Handler, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_BYTES = 60 * 1024
"""Of the headers of one request, as RFC 9113 counts them in SETTINGS_MAX_HEADER_LIST_SIZE."""
_MOST_KEPT = 256
_PSEUDO = (b":method", b":scheme", b":path", b":authority")
_OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


class Malformed(Exception):
    """What the headers say is no request; it ends its own stream only."""


@dataclass(slots=True, eq=False)
class Head:
    """What the headers of a request say, shared by all requests that have the same."""

    scope: Scope
    """For everybody to read, and for nobody to write."""
    length: int | None
    """Of the body, if the client says it."""
    handler: Handler | None
    """What answers it, if it is a unary gRPC call without anything special to it."""


class _Table(HeaderTable):
    """The dynamic table, which says whether it has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.has_changed = False

    def add(self, name: bytes, value: bytes) -> None:
        self.has_changed = True
        super().add(name, value)

    def _shrink(self) -> None:
        self.has_changed = True
        super()._shrink()


class Heads:
    """The heads of one connection. What all have in common is *shared*, the ends it is between."""

    def __init__(self, shared: Scope, handler: Callable[[Scope], Handler | None]) -> None:
        self._shared = shared
        self._handler = handler
        self._decoder = hpack.Decoder(MOST_BYTES)
        self._table = self._decoder.header_table = _Table()
        self._known: dict[bytes, Head] = {}
        """Those whose blocks mean the same for as long as the dynamic table stays as it is."""

    def of(self, block: bytes) -> Head:
        """The head that *block* encodes.

        Raises:
            Malformed: it is none of a request.
            hpack.HPACKError: the connection cannot go on.
        """
        head = self._known.get(block)
        if head is None:
            fields = self.fields(block)
            head = self._made(fields)
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            if not self._table.has_changed:
                self._known[block] = head
        return head

    def fields(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Raises hpack.HPACKError."""
        self._table.has_changed = False
        fields = [
            (bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)
        ]
        if self._table.has_changed:
            self._known.clear()
        return fields

    def _made(self, fields: list[tuple[bytes, bytes]]) -> Head:
        pseudo, headers = _parted(fields)
        path, _, query = pseudo[b":path"].partition(b"?")
        if b":authority" in pseudo:
            headers.insert(0, (b"host", pseudo[b":authority"]))
        length = dict(headers).get(b"content-length")
        if length is not None and not (length.isdigit() and len(length) < 20):
            raise Malformed("content-length is no number")
        scope: Scope = {
            **self._shared,
            "method": pseudo[b":method"].decode("latin-1"),
            "scheme": pseudo[b":scheme"].decode("latin-1"),
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
        }
        return Head(scope, None if length is None else int(length), self._handler(scope))


def _parted(
    fields: list[tuple[bytes, bytes]],
) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    """The pseudo-headers, and the others (RFC 9113, sections 8.2 and 8.3). Raises Malformed."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise Malformed("a pseudo-header is unknown, or out of place")
            pseudo[name] = value
        elif name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
            raise Malformed("a header is for connections of HTTP/1.1")
        elif not name or name != name.lower():
            raise Malformed("the name of a header is not in lower case")
        elif b"\n" in value or b"\r" in value or b"\0" in value:
            raise Malformed("the value of a header has a line break in it")
        else:
            headers.append((name, value))
    if not all(pseudo.get(name) for name in _PSEUDO[:3]):
        raise Malformed("a pseudo-header is missing")
    return pseudo, headers


def encoded(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A block that leaves the client's dynamic table alone: literals with new names."""
    parts = bytearray()
    for name, value in fields:
        parts += b"\0" + _integer(len(name)) + name + _integer(len(value)) + value
    return bytes(parts)


def status(code: int) -> bytes:
    """The block of `:status`, which stands before those of all other fields."""
    return b"\x88" if code == 200 else b"\x08\x03%d" % code


NO_TABLE = b"\x20"
"""Tells a client, at the start of a block, that the table it is decoded with has no entries."""


def _integer(number: int) -> bytes:
    """With a prefix of 7 bits (RFC 7541, section 5.1)."""
    if number < 127:
        return bytes((number,))
    parts = bytearray((127,))
    number -= 127
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
