"""Settings of a replica that runs as a process of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings:
    specialist: str
    """JSON of `fabric.api.catalog.v1.Specialist`."""
    control: str
    """`host:port` of the control plane."""
    node: str = ""
    """The machine, as the host names it."""
