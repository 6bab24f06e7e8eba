"""`PipelinesService`: what the gateway says of the pipelines that it has run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError

from fabric.api.inference.v2 import extensions_pb2
from fabric.api.pipelines.v1 import pipelines_service_pb2 as pb
from fabric.core.deadlines import Deadline
from fabric.core.errors import NotFound
from fabric.core.runs import Profile, StepProfile
from fabric.gateway.grpc import decoded
from fabric.link.latencies import quantile
from fabric.pipelines.profiling import advice, critical
from fabric.wire.cards import to_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.prepared import Prepared, StepTally
    from fabric.gateway.view import View

T = TypeVar("T", Profile, StepProfile)
_SERVICE = "/fabric.api.pipelines.v1.PipelinesService/"
_PATIENCE = 1.0
"""Seconds that replicas have for their statistics."""


class Profiles:
    """How the runs of this gateway went."""

    def __init__(self, view: View) -> None:
        self._view = view

    def handlers(self) -> dict[str, Handler]:
        return {f"{_SERVICE}GetRun": self.get_run, f"{_SERVICE}GetProfile": self.get_profile}

    async def get_run(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.GetRunRequest, payload).request_id
        run = self._view.pipelines.runs.get(request)
        if run is None:
            raise NotFound(f"this gateway remembers no run of a pipeline for request '{request}'")
        return (pb.GetRunResponse(run=to_message(run, pb.PipelineRun)).SerializeToString(),)

    async def get_profile(self, payload: bytes, scope: Scope) -> Parts:
        """Raises what `Preparing.of` raises."""
        prepared = self._view.prepared(decoded(pb.GetProfileRequest, payload).name)
        profile = await self._profile(prepared)
        return (pb.GetProfileResponse(profile=to_message(profile, pb.Profile)).SerializeToString(),)

    async def _profile(self, prepared: Prepared) -> Profile:
        tallies = prepared.tally.steps
        seconds = {name: _mean(tally) for name, tally in tallies.items()}
        way = critical(prepared.graph, seconds)
        total = sum(seconds.get(name, 0.0) for name in way)
        waiting = await self._waiting(prepared)
        steps = []
        for step in prepared.pipeline.all_steps:
            tally = tallies.get(step.name)
            profile = StepProfile(
                step=step.name,
                does=step.call or step.operation or step.kind,
                share=seconds[step.name] / total if step.name in way and total else 0.0,
                waiting=waiting.get(step.call),
            )
            steps.append(profile if tally is None else _told(profile, tally))
        known = Profile(pipeline=prepared.pipeline.name, steps=tuple(steps), advice=advice(steps))
        return _told(known, prepared.tally.whole)

    async def _waiting(self, prepared: Prepared) -> Mapping[str, float]:
        """Of the time of calls at the replicas, by whom is called, the share in queues."""
        keys = {name: self._view.answerers(name) for name in prepared.pipeline.calls}
        told = await self._view.pool.statistics(
            {key for each in keys.values() for key in each}, Deadline.after(_PATIENCE)
        )
        shares: dict[str, float] = {}
        for name, answerers in keys.items():
            replicas = [each for key in answerers for each in told.get(key, ())]
            if (share := _queued(replicas)) is not None:
                shares[name] = share
        return shares


def _queued(replicas: Iterable[bytes]) -> float | None:
    """The share in queues of all the time of requests at *replicas*, by their statistics."""
    waited = worked = 0
    for encoded in replicas:
        try:
            stats = extensions_pb2.ModelStatistics.FromString(encoded).inference_stats
        except DecodeError:
            continue
        waited += stats.queue.ns
        worked += stats.compute_input.ns + stats.compute_infer.ns + stats.compute_output.ns
    return waited / (waited + worked) if waited + worked else None


def _mean(tally: StepTally) -> float:
    return tally.seconds / tally.runs if tally.runs else 0.0


def _told(known: T, tally: StepTally) -> T:
    """*known* with what *tally* tells."""
    recent = [tally.latencies.recent()]
    return replace(
        known,
        runs=tally.runs,
        failures=tally.failures,
        mean=_mean(tally),
        p50=quantile(recent, 0.5),
        p99=quantile(recent, 0.99),
    )
