"""`RoutingService`: what the gateway says of its decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from fabric.api.routing.v1 import learning_service_pb2 as learning_pb
from fabric.api.routing.v1 import route_pb2 as route_pb
from fabric.api.routing.v1 import routing_service_pb2 as pb
from fabric.core.decisions import Decision
from fabric.core.errors import InvalidRequest
from fabric.core.routes import Requirements
from fabric.gateway.grpc import decoded
from fabric.gateway.mirror import AWAY
from fabric.wire.cards import from_message, to_message
from fabric.wire.status import from_rpc

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceStub
    from fabric.core.plans import Plan
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.records import Kept
    from fabric.gateway.view import View

_PATIENCE = 3.0
"""Seconds for the control plane to remember."""


class Routing:
    """How this gateway decides, and has decided."""

    def __init__(self, view: View, learning: LearningServiceStub) -> None:
        self._view = view
        self._learning = learning

    def handlers(self) -> dict[str, Handler]:
        return {"/fabric.api.routing.v1.RoutingService/Explain": self.explain}

    async def explain(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ExplainRequest, payload)
        if not request.request_id:
            asked = _read(request.requirements) if request.HasField("requirements") else None
            plan = self._view.planner.explained(request.model, request.version, asked)
            response = self._planned(plan, request.model)
        elif (kept := self._view.records.find(request.request_id)) is not None:
            response = self._kept(kept)
        else:
            response = await self._recorded(request.request_id)
        return (response.SerializeToString(),)

    def _planned(self, plan: Plan, model: str) -> pb.ExplainResponse:
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
        return pb.ExplainResponse(
            model=model,
            route=plan.route,
            candidates=candidates,
            refusals=refusals,
            revision=self._view.catalog.revision,
            weights=preferences.weighted if preferences else {},
            given=[to_message(entry, route_pb.ChainEntry) for entry in plan.given],
        )

    def _kept(self, kept: Kept) -> pb.ExplainResponse:
        """What this gateway has decided of late."""
        response = self._planned(kept.plan, kept.plan.route)
        for candidate, score in zip(response.candidates, kept.decision.scores, strict=True):
            candidate.score = score
        response.decision.CopyFrom(to_message(kept.decision, learning_pb.Decision))
        response.outcomes.extend(to_message(each, learning_pb.Outcome) for each in kept.outcomes)
        return response

    async def _recorded(self, request: str) -> pb.ExplainResponse:
        """What the control plane knows of a decision, which may be another gateway's.

        Raises:
            NotFound: it knows none.
            Unavailable: it is away.
        """
        asked = learning_pb.ListDecisionsRequest(request=request, limit=1)
        try:
            (record,) = (await self._learning.ListDecisions(asked, timeout=_PATIENCE)).records
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, AWAY) from None
        decision = from_message(record.decision, Decision)
        candidates = [
            pb.Candidate(
                specialist=key.rpartition(":")[0],
                version=key.rpartition(":")[2],
                replicas=self._view.pool.count(key),
            )
            for key in decision.candidates
        ]
        return pb.ExplainResponse(
            model=decision.route,
            route=decision.route,
            candidates=candidates,
            revision=self._view.catalog.revision,
            decision=record.decision,
            outcomes=record.outcomes,
            feedback=record.feedback,
        )


def _read(message: Message) -> Requirements:
    try:
        return from_message(message, Requirements)
    except ValueError as error:
        raise InvalidRequest(f"requirements: {error}") from error
