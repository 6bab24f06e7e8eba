"""What the server counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.conformance.checks import Broken, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.requests import request, tensor
from fabric.conformance.samples import FAILING, FP32, VERSIONS
from fabric.conformance.server import INFER, STATISTICS, Refused

if TYPE_CHECKING:
    from fabric.conformance.server import Server

rules = Rules("statistics", "Triton: statistics extension", FP32, extension="statistics")
_X = np.array([[1.0, 2.0]], np.float32)


async def _of(server: Server, name: str, version: str = "") -> ext.ModelStatistics:
    asked = ext.ModelStatisticsRequest(name=name, version=version)
    answer = await server.call(STATISTICS, asked)
    for each in answer.model_stats:
        if each.name == name and version in ("", each.version):
            return each
    raise Broken(f"statistics of {name!r} {version}", [each.name for each in answer.model_stats])


async def _grown(
    server: Server, rows: int = 1, count: int = 1
) -> tuple[ext.ModelStatistics, ext.ModelStatistics]:
    """Before and after *count* requests of *rows* rows."""
    before = await _of(server, FP32)
    for _ in range(count):
        await server.infer(request(FP32, {"x": np.repeat(_X, rows, 0)}))
    return before, await _of(server, FP32)


@rules()
async def of_one_model(server: Server) -> None:
    """ModelStatistics of a model are of this model only."""
    answer = await server.call(STATISTICS, ext.ModelStatisticsRequest(name=FP32))
    expect_equal({each.name for each in answer.model_stats}, {FP32}, "models")


@rules(VERSIONS)
async def of_all_models(server: Server) -> None:
    """ModelStatistics without a name are of all models."""
    answer = await server.call(STATISTICS, ext.ModelStatisticsRequest())
    names = {each.name for each in answer.model_stats}
    expect({FP32, VERSIONS} <= names, f"{FP32} and {VERSIONS} among the models", sorted(names))


@rules(VERSIONS)
async def of_each_version(server: Server) -> None:
    """Each version of a model has statistics of its own."""
    for version in ("2", "10"):
        before = await _of(server, VERSIONS, version)
        x = np.array([1.0], np.float32)
        await server.infer(request(VERSIONS, {"x": x}, version=version))
        after = await _of(server, VERSIONS, version)
        expect_equal(after.version, version, "version")
        grown = after.inference_stats.success.count - before.inference_stats.success.count
        expect_equal(grown, 1, "success.count grew by")


@rules()
async def of_an_unknown_model(server: Server) -> None:
    """ModelStatistics of a model that does not exist end with an error."""
    refused = await server.refused(STATISTICS, ext.ModelStatisticsRequest(name=UNKNOWN))
    if refused.code == "UNIMPLEMENTED":
        raise refused


@rules()
async def count_successes(server: Server) -> None:
    """success.count grows by one with each request that is answered."""
    before, after = await _grown(server, count=3)
    grown = after.inference_stats.success.count - before.inference_stats.success.count
    expect_equal(grown, 3, "success.count grew by")


@rules()
async def count_rows(server: Server) -> None:
    """inference_count grows by the rows of each request."""
    before, after = await _grown(server, rows=5)
    expect_equal(after.inference_count - before.inference_count, 5, "inference_count grew by")


@rules()
async def count_runs(server: Server) -> None:
    """execution_count grows with each run, and never faster than inference_count."""
    before, after = await _grown(server, rows=5)
    expect_equal(after.execution_count - before.execution_count, 1, "execution_count grew by")
    expect(
        after.execution_count <= after.inference_count,
        f"at most {after.inference_count} runs",
        after.execution_count,
    )


@rules()
async def count_batches(server: Server) -> None:
    """batch_stats count the runs of each number of rows."""

    def runs(of: ext.ModelStatistics) -> int:
        return sum(each.compute_infer.count for each in of.batch_stats if each.batch_size == 7)

    before, after = await _grown(server, rows=7)
    expect_equal(runs(after) - runs(before), 1, "runs of seven rows grew by")


@rules(FAILING)
async def count_failures(server: Server) -> None:
    """fail.count grows by one with each run that fails, and success.count does not."""
    before = await _of(server, FAILING)
    await server.refused(INFER, request(FAILING, {"x": np.array([99])}))
    after = await _of(server, FAILING)
    stats = (after.inference_stats, before.inference_stats)
    expect_equal(stats[0].fail.count - stats[1].fail.count, 1, "fail.count grew by")
    expect_equal(stats[0].success.count - stats[1].success.count, 0, "success.count grew by")


@rules()
async def do_not_count_refusals_as_successes(server: Server) -> None:
    """A request that is refused is no success."""
    before = await _of(server, FP32)
    await server.refused(INFER, request(FP32, [tensor("x", "FP32", [1, 2])], raw=[bytes(7)]))
    after = await _of(server, FP32)
    grown = after.inference_stats.success.count - before.inference_stats.success.count
    expect_equal(grown, 0, "success.count grew by")


@rules()
async def have_times(server: Server) -> None:
    """Nanoseconds grow with what they are of, and success holds at least compute_infer."""
    before, after = await _grown(server, count=5)
    now, then = after.inference_stats, before.inference_stats
    infer = now.compute_infer.ns - then.compute_infer.ns
    success = now.success.ns - then.success.ns
    expect(success > 0, "more nanoseconds of success", success)
    expect(0 < infer <= success, f"compute_infer.ns above 0, at most {success}", infer)


@rules()
async def parts_have_counts(server: Server) -> None:
    """queue, compute_input, compute_infer and compute_output are counted as success is."""
    before, after = await _grown(server, count=4)
    for part in ("queue", "compute_input", "compute_infer", "compute_output"):
        now, then = getattr(after.inference_stats, part), getattr(before.inference_stats, part)
        expect_equal(now.count - then.count, 4, f"{part}.count grew by")


@rules()
async def say_when(server: Server) -> None:
    """last_inference is the time of the last request, in milliseconds since 1970."""
    before, after = await _grown(server)
    expect(after.last_inference > 1_600_000_000_000, "milliseconds since 1970", after)
    expect(after.last_inference >= before.last_inference, "a later time", after.last_inference)


@rules()
async def never_shrink(server: Server) -> None:
    """Counters never shrink."""
    before, after = await _grown(server)
    for field in ("inference_count", "execution_count", "last_inference"):
        then, now = getattr(before, field), getattr(after, field)
        expect(now >= then, f"{field} of at least {then}", now)


@rules()
async def of_an_unknown_version(server: Server) -> None:
    """ModelStatistics of a version that does not exist end with an error, or hold none."""
    asked = ext.ModelStatisticsRequest(name=FP32, version="987654")
    try:
        answer = await server.call(STATISTICS, asked)
    except Refused as refused:
        if refused.code == "UNIMPLEMENTED":
            raise
        return
    expect_equal(len(answer.model_stats), 0, "number of statistics")


PARTS = (rules,)
