"""Parts of this machine's shared memory that clients pass tensors in.

A region is read and written through its descriptor, never mapped: whatever a client does to the
memory meanwhile, an access to what is not there any more fails instead of killing the process.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fabric.core.errors import AlreadyExists, InvalidRequest, NotFound, Overloaded

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is
_MOST = 1024
_RESERVED = "envoy_shared_memory"
"""How the objects of other Envoys begin, which are not for clients to write in."""


@dataclass(eq=False)
class Region:
    """*byte_size* bytes at *offset* of the shared memory object *key*; closed with the last use."""

    name: str
    key: str
    offset: int
    byte_size: int
    _file: int

    def read(self, offset: int, size: int) -> bytes:
        """Raises InvalidRequest unless all *size* bytes are there; blocks."""
        self.check(offset, size)
        data = os.pread(self._file, size, self.offset + offset)
        while len(data) < size:  # one call reads up to 2 GiB
            more = os.pread(self._file, size - len(data), self.offset + offset + len(data))
            if not more:
                raise self._shrunk()
            data += more
        return data

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Raises InvalidRequest unless there is room for all of *data*; blocks."""
        self.check(offset, len(data))
        if os.fstat(self._file).st_size < self.offset + offset + len(data):
            raise self._shrunk()  # writing would make it larger again
        view, at = memoryview(data), self.offset + offset
        while view:
            done = os.pwrite(self._file, view, at)
            view, at = view[done:], at + done

    def check(self, offset: int, size: int) -> None:
        """Raises InvalidRequest unless so many bytes at *offset* are within the region."""
        if not 0 <= offset < self.byte_size:
            raise InvalidRequest(f"Invalid offset for shared memory region: '{self.name}'")
        if size < 0 or offset + size > self.byte_size:
            raise InvalidRequest(
                f"Invalid offset + byte size for shared memory region: '{self.name}'"
            )

    def _shrunk(self) -> InvalidRequest:
        return InvalidRequest(
            f"Invalid shared memory region: '{self.name}', the object '{self.key}' is smaller "
            "than when it was registered"
        )

    def __del__(self) -> None:
        os.close(self._file)


class Regions:
    """The regions that are registered, by name; at most 1024."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._regions: dict[str, Region] = {}

    def __bool__(self) -> bool:
        return bool(self._regions)

    def get(self, name: str) -> Region:
        """Raises InvalidRequest if there is no region *name*."""
        region = self._regions.get(name)
        if region is None:
            raise InvalidRequest(f"Unable to find shared memory region: '{name}'")
        return region

    def find(self, name: str) -> list[Region]:
        """The region *name*, or all for an empty name. Raises NotFound if there is no such."""
        if not name:
            return list(self._regions.values())
        if name not in self._regions:
            raise NotFound(f"Unable to find system shared memory region: '{name}'")
        return [self._regions[name]]

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """
        Raises:
            AlreadyExists: there is a region *name*.
            InvalidRequest: there is no such object, or not so much of it.
            Overloaded: too many are registered.
        """
        if name in self._regions:
            raise AlreadyExists(f"shared memory region '{name}' already in manager")
        if len(self._regions) >= _MOST:
            raise Overloaded(
                f"{len(self._regions)} shared memory regions are registered: unregister some",
                retry_after=0.0,
            )
        if key.removeprefix("/").startswith(_RESERVED):
            raise InvalidRequest(
                f"cannot register shared memory region '{name}' with key '{key}' as the key "
                f"contains the reserved prefix '{_RESERVED}'"
            )
        file = self._opened(key)
        region = Region(name, key, offset, byte_size, file)
        size = os.fstat(file).st_size
        if not name or byte_size < 1 or offset < 0 or offset + byte_size > size:
            raise InvalidRequest(f"failed to register shared memory region '{name}': invalid args")
        self._regions[name] = region

    def unregister(self, name: str) -> None:
        """Forgets the region *name*, or all for an empty name; who uses one still may."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def _opened(self, key: str) -> int:
        """A descriptor of the object *key*, which names a file of one folder and nothing else."""
        failed = InvalidRequest(f"Unable to open shared memory region: '{key}'")
        plain = key.removeprefix("/")
        if plain in ("", ".", "..") or "/" in plain or "\0" in plain:
            raise failed
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(self._folder / plain, flags)
        except (OSError, ValueError) as error:
            raise failed from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise failed
        return file
