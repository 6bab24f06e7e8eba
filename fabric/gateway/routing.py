"""`RoutingService`: what the gateway says of its decisions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import grpc.aio

from fabric.api.routing.v1 import learning_service_pb2 as learning_pb
from fabric.api.routing.v1 import route_pb2 as route_pb
from fabric.api.routing.v1 import routing_service_pb2 as pb
from fabric.core.decisions import Decision
from fabric.core.errors import FabricError, InvalidRequest
from fabric.core.routes import Requirements
from fabric.gateway.grpc import decoded
from fabric.gateway.mirror import AWAY
from fabric.routing.allowance import Allowance
from fabric.wire.cards import from_message, to_message
from fabric.wire.status import from_rpc

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceStub
    from fabric.core.plans import Plan
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.records import Kept
    from fabric.gateway.view import View

_SERVICE = "/fabric.api.routing.v1.RoutingService/"
_PATIENCE = 3.0
"""Seconds for the control plane to remember."""
_SHARE = 0.1
"""Of the time, for explaining plans, which name all cards and are made for each call,"""
_MOST_SAVED = 1.0
"""and the seconds of it that are saved."""
_TOO_OFTEN = (
    "plans are explained too often for the time that there is: ask again later, or for what was "
    "decided by the id of a request"
)


class Routing:
    """How this gateway decides, and has decided."""

    def __init__(
        self, view: View, learning: LearningServiceStub, allowance: Allowance | None = None
    ) -> None:
        self._view = view
        self._learning = learning
        self._allowance = allowance or Allowance(_SHARE, _MOST_SAVED, _TOO_OFTEN)

    def handlers(self) -> dict[str, Handler]:
        return {f"{_SERVICE}Explain": self.explain, f"{_SERVICE}Health": self.health}

    async def health(self, payload: bytes, scope: Scope) -> Parts:
        found = self._view.health(decoded(pb.HealthRequest, payload).name)
        specialists = [to_message(each, pb.SpecialistHealth) for each in found]
        return (pb.HealthResponse(specialists=specialists).SerializeToString(),)

    async def explain(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ExplainRequest, payload)
        if not request.request_id:
            with self._allowance.taken():
                return (self._explained(request).SerializeToString(),)
        if (kept := self._view.records.find(request.request_id)) is not None:
            response = self._kept(kept)
            if kept.is_reported:
                with suppress(FabricError):  # the rest is known here
                    response.feedback.extend((await self._record(request.request_id)).feedback)
        else:
            response = await self._recorded(request.request_id)
        return (response.SerializeToString(),)

    def _explained(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """What a request of this kind would meet now."""
        asked = _read(request.requirements) if request.HasField("requirements") else None
        plan = self._view.planner.explained(request.model, request.version, asked)
        return self._planned(plan, request.model)

    def _planned(self, plan: Plan, model: str) -> pb.ExplainResponse:
        candidates = [
            pb.Candidate(
                specialist=candidate.card.name,
                version=candidate.card.version,
                reason=candidate.reason,
                replicas=self._view.pool.linked(candidate.card.key),
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
        """What there is to say of a decision that this gateway does not remember.

        Raises as `_record`.
        """
        record = await self._record(request)
        decision = from_message(record.decision, Decision)
        candidates = [
            pb.Candidate(
                specialist=key.rpartition(":")[0],
                version=key.rpartition(":")[2],
                replicas=self._view.pool.linked(key),
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

    async def _record(self, request: str) -> learning_pb.Record:
        """What the control plane knows of a decision, which may be another gateway's.

        Raises:
            NotFound: it knows none.
            Unavailable: it is away.
        """
        asked = learning_pb.ListDecisionsRequest(request=request, limit=1)
        try:
            listed = await self._learning.ListDecisions(asked, timeout=_PATIENCE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, AWAY) from None
        record: learning_pb.Record = listed.records[0]
        return record


def _read(message: Message) -> Requirements:
    try:
        return from_message(message, Requirements)
    except ValueError as error:
        raise InvalidRequest(f"requirements: {error}") from error
