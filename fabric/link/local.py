"""The short cut of links within one machine: a Unix socket beside the TCP port.

Who listens on `host:port` listens on an abstract Unix socket of that name as well, which takes less
of the kernel for each frame and each byte. Such names are Linux's, are those of one network
namespace, as loopback is, and are gone with the process: who finds nobody there goes by TCP.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HAS_NAMES = sys.platform == "linux"
_BACKLOG = 128
_BUFFER = 1 << 20
"""Bytes on their way, or as many as the system allows: each pause for want of room costs a wake."""


def listening(address: str) -> socket.socket | None:
    """A socket that listens beside *address*; None where there is no such thing."""

    def listen(made: socket.socket, name: str) -> None:
        made.bind(name)
        made.listen(_BACKLOG)

    return _made(address, listen)


def connected(address: str) -> socket.socket | None:
    """A socket that is connected to who listens beside *address*; None if nobody does here."""
    return _made(address, socket.socket.connect)  # at once, or not at all


def _made(address: str, attach: Callable[[socket.socket, str], None]) -> socket.socket | None:
    if not _HAS_NAMES:
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    try:
        attach(made, f"\0fabric/{address}")
    except OSError:
        made.close()
        return None
    return made
