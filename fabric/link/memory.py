"""Memory that one end of a local link writes and the other reads: large frames are not sent, only
where they are.

It has no name in any file system, and is gone with the last process that has it: the peer finds it
as a file of the process that made it (https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html). A
peer in another container may not, or may find something else there, which the token tells.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from bisect import insort

_TOKEN = 32
ALIGNED = 64
"""Bytes: at multiples of them messages end, for elements of a tensor that ends one."""
SIZE = 1 << 27
"""Bytes of one end's memory; only those that were written take any."""


class Lent:
    """The memory that this end writes. What it has no room for is sent.

    Raises:
        OSError: the system has no such memory.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._file = os.memfd_create("fabric-link")
        try:
            os.ftruncate(self._file, size)
            self._memory = mmap.mmap(self._file, size)
        except BaseException:
            os.close(self._file)
            raise
        self._memory[:_TOKEN] = token = secrets.token_bytes(_TOKEN)
        self.offer = token + f"/proc/{os.getpid()}/fd/{self._file}".encode()
        """What `Borrowed` finds it by."""
        self.is_taken = False
        """The peer has it before it."""
        self._free = [(ALIGNED, size)]
        """Where nothing is, from begin to end, in order and apart."""
        self._used: dict[int, int] = {}
        """Where something is: its end by its begin."""

    def write(self, parts: tuple[bytes | memoryview, ...], length: int) -> int | None:
        """Where *parts*, of *length* bytes in all, are from now on, until `free`; None if there is
        no room.

        They end at an aligned address: elements of a tensor that ends a message then lie as
        ONNX Runtime has them.
        """
        room = -(-length // ALIGNED) * ALIGNED
        found = next((gap for gap in self._free if gap[1] - gap[0] >= room), None)
        if found is None:
            return None
        begin, end = found
        index = self._free.index(found)
        self._free[index : index + 1] = [(begin + room, end)] if end - begin > room else []
        at = place = begin + room - length
        self._used[place] = begin + room
        for part in parts:
            self._memory[at : at + len(part)] = part
            at += len(part)
        return place

    def free(self, place: int) -> bool:
        """The peer has read what is at *place*; False if nothing is."""
        end = self._used.pop(place, None)
        if end is None:
            return False
        insort(self._free, (place // ALIGNED * ALIGNED, end))
        merged = [self._free[0]]
        for begin, end in self._free[1:]:
            if begin == merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((begin, end))
        self._free = merged
        return True

    @property
    def is_idle(self) -> bool:
        return not self._used

    def shrink(self) -> None:
        """What was written takes no memory any more; only while nothing is there."""
        page = mmap.PAGESIZE
        with contextlib.suppress(OSError):
            self._memory.madvise(mmap.MADV_REMOVE, page, len(self._memory) - page)

    def close(self) -> None:
        """This end is done with it; what the peer still reads stays until it has."""
        os.close(self._file)
        self._memory.close()


def borrowed(offer: bytes | memoryview) -> mmap.mmap | None:
    """The memory of the peer that made *offer*, to be read; None if it is not to be had here."""
    token, path = bytes(offer[:_TOKEN]), bytes(offer[_TOKEN:])
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        memory = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)
    if memory[:_TOKEN] != token:
        memory.close()
        return None
    return memory
