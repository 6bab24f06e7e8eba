"""Settings of the control plane's process."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Read from FABRIC_LISTEN, FABRIC_STORE and so on, see `fabric.processes.from_environ`."""

    listen: str = "127.0.0.1:9090"
    """`host:port` of the services; port 0 takes a free one."""
    advertise: str = ""
    """`host:port` at which replicas reach the control plane; empty for the one it listens at."""
    store: str = "sqlite+aiosqlite:///fabric.db"
    """A database URL of SQLAlchemy: sqlite+aiosqlite:///PATH or postgresql+asyncpg://…"""
    host: str = "ray"
    """Where replicas run: `ray` or `local`."""
    ray: str = "http://127.0.0.1:8265"
    """The Ray dashboard, whose REST API takes Ray Serve's configuration."""
    uploads: str = ""
    """Folder for models that clients bring along when they load one; all replicas must find it
    under the same path. Empty takes none."""
    lease: float = 10.0
    """Seconds that a replica is kept without a renewal."""
    records: int = 50_000
    """Requests of a route that it can learn from: the newest are kept."""

    def __post_init__(self) -> None:
        if self.host not in ("ray", "local"):
            raise ValueError(f"host is {self.host!r}; use ray or local")
        if self.lease <= 0 or self.records < 1:
            raise ValueError("lease is above zero, records at least 1")
        if ":" not in self.listen:
            raise ValueError(f"listen is {self.listen!r}, it must read host:port")

    def address(self, port: int) -> str:
        """Where replicas reach the control plane that listens on *port*."""
        if self.advertise:
            return self.advertise
        host = self.listen.rpartition(":")[0]
        return f"{socket.gethostname() if host in ('0.0.0.0', '[::]') else host}:{port}"  # noqa: S104
