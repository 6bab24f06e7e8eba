"""What happens to a catalog, and how its resources are named."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fabric.core.cards import Specialist
from fabric.core.pipelines import Pipeline
from fabric.core.policies import Policy
from fabric.core.replicas import Replica, Status
from fabric.core.routes import Route


class Kind(StrEnum):
    SPECIALIST = "specialist"
    ROUTE = "route"
    REPLICA = "replica"
    POLICY = "policy"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names a resource: `name:version` of a specialist, name of a route or a pipeline, id of a
    replica, `route:version` of a policy."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Hosted:
    """A specialist, and how it fares."""

    specialist: Specialist
    status: Status


Resource = Hosted | Route | Replica | Policy | Pipeline
"""What a catalog holds."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What makes a catalog of an earlier revision one of this revision."""

    revision: int
    snapshot: bool = False
    """Everything: what is not in it is not in the catalog."""
    specialists: tuple[Hosted, ...] = ()
    routes: tuple[Route, ...] = ()
    replicas: tuple[Replica, ...] = ()
    policies: tuple[Policy, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    removed: tuple[Key, ...] = ()
