"""Where replicas run. A host brings what runs towards what the catalog says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.catalog.catalog import Catalog
    from fabric.catalog.feed import Feed
    from fabric.catalog.health import Report
    from fabric.control.settings import ControlSettings
    from fabric.core.cards import Specialist


class Desk(Protocol):
    """What a host works from: the controller."""

    @property
    def catalog(self) -> Catalog:
        """Its replicas are what runs."""

    @property
    def wanted(self) -> Mapping[str, Specialist]:
        """What is to run, and nothing else."""

    @property
    def feed(self) -> Feed:
        """Says when the catalog has changed."""

    async def report(self, revision: int, reports: Mapping[str, Report]) -> None:
        """Takes what the host found of specialists, by key, having seen *revision* to it."""

    async def withdraw(self, replica_id: str) -> None:
        """Takes out a replica whose process is known to be gone."""


class Host(Protocol):
    async def run(self, desk: Desk) -> None:
        """Keeps what runs as the catalog says, until cancelled; what it started then runs on."""


def host_of(settings: ControlSettings, control: str) -> Host:
    """The host that *settings* name; its replicas find the control plane at *control*."""
    if settings.host == "local":
        from fabric.control.hosts.local import LocalHost

        return LocalHost(control)
    from fabric.control.hosts.ray import RayHost

    return RayHost(settings.ray, control)
