"""What models have done: specialists as their replicas tell it, others as this gateway saw them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.core.deadlines import Deadline
from fabric.core.errors import FabricError, NotFound
from fabric.dispatch import Tally
from fabric.gateway.grpc import SERVICE, decoded
from fabric.routing.planner import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.cards import Specialist
    from fabric.gateway.cache import Count, Uses
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.view import View

_PATIENCE = 1.0
"""Seconds that replicas have for their answers."""


class ModelStatistics:
    """The protocol's statistics extension.

    The numbers of a specialist are those of the replicas that are there now, one entry a version,
    and of the answers that this gateway keeps.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    def handlers(self) -> dict[str, Handler]:
        return {f"{SERVICE}ModelStatistics": self.model_statistics}

    async def model_statistics(self, payload: bytes, scope: Scope) -> Parts:
        """Of one version, of all versions of a model, or of all models.

        Raises:
            NotFound: no such model or version.
        """
        request = decoded(pb.ModelStatisticsRequest, payload)
        self._view.check_ready()
        specialists, virtual = self._asked(request.name, request.version)
        told = await self._view.pool.statistics(
            {specialist.key for specialist in specialists}, Deadline.after(_PATIENCE)
        )
        uses = self._view.cache.uses
        of_specialists = (
            with_uses(
                summed(each.card.name, each.card.version, told.get(each.key, ())),
                uses.get(each.key),
            )
            for each in specialists
        )
        of_others = (of_virtual(each, self._tally(each)) for each in virtual)
        response = pb.ModelStatisticsResponse(model_stats=[*of_specialists, *of_others])
        return (response.SerializeToString(),)

    def _tally(self, name: str) -> Tally | None:
        """Of a route or a pipeline."""
        if name not in self._view.catalog.pipelines:
            return self._view.tallies.get(name)
        try:
            whole = self._view.prepared(name).tally.whole
        except FabricError:
            return None  # it cannot be run
        return Tally(
            answers=whole.runs - whole.failures,
            answering=whole.seconds - whole.failing,
            failures=whole.failures,
            failing=whole.failing,
            last=whole.last,
        )

    def _asked(self, name: str, version: str) -> tuple[Iterable[Specialist], Iterable[str]]:
        catalog = self._view.catalog
        if not name:
            return tuple(catalog.specialists.values()), (*catalog.routes, *catalog.pipelines)
        if name in catalog.pipelines:
            self._view.check_unversioned(name, version)
            return (), (name,)
        if name in catalog.routes and not version:
            return (), (name,)
        found = catalog.find(name, version)
        if found is None:
            raise NotFound(unknown(name, version))
        return (found,) if version else catalog.versions(name), ()


def summed(name: str, version: str, replicas: Iterable[bytes]) -> pb.ModelStatistics:
    """The encoded statistics of *replicas* added up; one that cannot be read is left out."""
    total = pb.ModelStatistics(name=name, version=version)
    total.inference_stats.SetInParent()
    by_size: dict[int, pb.InferBatchStatistics] = {}
    for encoded in replicas:
        try:
            one = pb.ModelStatistics.FromString(encoded)
        except DecodeError:
            continue
        total.last_inference = max(total.last_inference, one.last_inference)
        total.inference_count += one.inference_count
        total.execution_count += one.execution_count
        _add(total.inference_stats, one.inference_stats)
        for batch in one.batch_stats:
            size = batch.batch_size
            _add(by_size.setdefault(size, pb.InferBatchStatistics(batch_size=size)), batch)
        for key, responses in one.response_stats.items():
            _add(total.response_stats[key], responses)
    total.batch_stats.extend(by_size[size] for size in sorted(by_size))
    return total


def with_uses(total: pb.ModelStatistics, uses: Uses | None) -> pb.ModelStatistics:
    """*total* with how often an answer was kept, or not; the former are successes without a run."""
    if uses is not None:
        stats = total.inference_stats
        _count(stats.cache_hit, uses.hits)
        _count(stats.cache_miss, uses.misses)
        _count(stats.success, uses.hits)
    return total


def of_virtual(name: str, tally: Tally | None) -> pb.ModelStatistics:
    """The own numbers of a route or a pipeline; what others did for it is in theirs."""
    total = pb.ModelStatistics(name=name)
    total.inference_stats.SetInParent()
    if tally is None:
        return total
    ago = time.monotonic() - tally.last
    total.last_inference = int((time.time() - ago) * 1000) if tally.answers else 0
    total.inference_count = total.execution_count = tally.answers
    success, fail = total.inference_stats.success, total.inference_stats.fail
    success.count, success.ns = tally.answers, round(tally.answering * 1e9)
    fail.count, fail.ns = tally.failures, round(tally.failing * 1e9)
    return total


def _count(total: pb.StatisticDuration, more: Count) -> None:
    total.count += more.count
    total.ns += round(more.seconds * 1e9)


_Durations = pb.InferStatistics | pb.InferBatchStatistics | pb.InferResponseStatistics


def _add(total: _Durations, more: _Durations) -> None:
    """Adds every duration of *more* to that of *total*."""
    for descriptor in total.DESCRIPTOR.fields:
        if descriptor.message_type is not None:
            into, value = getattr(total, descriptor.name), getattr(more, descriptor.name)
            into.count += value.count
            into.ns += value.ns
