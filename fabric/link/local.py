"""The short cut of links within one machine: a Unix socket beside the TCP port.

Who listens on `host:port` listens on an abstract Unix socket of that name as well, which takes less
of the kernel for each frame and each byte. Such names are Linux's, are those of one network
namespace, as loopback is, and are gone with the process: who finds nobody there goes by TCP.
"""

from __future__ import annotations

import socket
import sys

_HAS_NAMES = sys.platform == "linux"
_BACKLOG = 128
_BUFFER = 1 << 20
"""Bytes on their way, or as many as the system allows: each pause for want of room costs a wake."""


def listening(address: str) -> socket.socket | None:
    """A socket that listens beside *address*; None where there is no such thing."""
    if not _HAS_NAMES:
        return None
    made = _made()
    try:
        made.bind(_name(address))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        return None
    return made


def connected(address: str) -> socket.socket | None:
    """A socket that is connected to who listens beside *address*; None if nobody does here."""
    if not _HAS_NAMES:
        return None
    made = _made()
    try:
        made.connect(_name(address))  # at once, or not at all
    except OSError:
        made.close()
        return None
    return made


def _made() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return made


def _name(address: str) -> str:
    return f"\0fabric/{address}"
