"""`RoutingService`: what the gateway says of its decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.api.routing.v1 import routing_service_pb2 as pb
from fabric.core.errors import InvalidRequest
from fabric.core.routes import Requirements
from fabric.gateway.grpc import decoded
from fabric.wire.cards import from_message

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.view import View


class Routing:
    """How this gateway decides."""

    def __init__(self, view: View) -> None:
        self._view = view

    def handlers(self) -> dict[str, Handler]:
        return {"/fabric.api.routing.v1.RoutingService/Explain": self.explain}

    async def explain(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ExplainRequest, payload)
        asked = _read(request.requirements) if request.HasField("requirements") else None
        plan = self._view.planner.explained(request.model, request.version, asked)
        candidates = [
            pb.Candidate(
                specialist=candidate.card.name,
                version=candidate.card.version,
                reason=candidate.reason,
                replicas=self._view.pool.count(candidate.card.key),
                cost=candidate.card.cost,
                score=candidate.score,
                parts=dict(candidate.parts),
            )
            for candidate in plan.candidates
        ]
        refusals = [
            pb.Refusal(specialist=refusal.name, version=refusal.version, reason=refusal.reason)
            for refusal in plan.refusals
        ]
        route = self._view.catalog.routes.get(plan.route)
        preferences = route.preferences if route and route.order == "scored" else None
        response = pb.ExplainResponse(
            model=request.model,
            route=plan.route,
            candidates=candidates,
            refusals=refusals,
            revision=self._view.catalog.revision,
            weights=preferences.weighted if preferences else {},
        )
        return (response.SerializeToString(),)


def _read(message: Message) -> Requirements:
    try:
        return from_message(message, Requirements)
    except ValueError as error:
        raise InvalidRequest(f"requirements: {error}") from error
