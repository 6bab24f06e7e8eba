"""For tests of fabric and of what is built on it: fakes with the behaviour of the real thing."""

from __future__ import annotations

from typing import Any

from fabric.core.cards import Card, Hosting, Specialist
from fabric.core.plans import ChainEntry, Route
from fabric.core.replicas import Replica


class ManualClock:
    """A clock that stands still until it is told to move; call it for the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def specialist(name: str, version: str = "1", **hosting: Any) -> Specialist:
    """A specialist that says little: *hosting* are fields of `Hosting`."""
    if not {"model", "python"} & hosting.keys():
        hosting["python"] = "package.module:Class"
    return Specialist(card=Card(name=name, version=version), hosting=Hosting(**hosting))


def route(name: str, *chain: str) -> Route:
    """A route along *chain*, whose entries read `name` or `name:version`."""
    entries = (ChainEntry(name=n, version=v) for n, _, v in (each.partition(":") for each in chain))
    return Route(name=name, chain=tuple(entries))


def replica(replica_id: str, key: str, **fields: Any) -> Replica:
    """A replica of the specialist `name:version` that nobody can reach."""
    name, _, version = key.partition(":")
    said = {"address": "127.0.0.1:1", **fields}
    return Replica(id=replica_id, specialist=name, version=version, **said)
