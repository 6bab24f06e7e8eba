"""What a replica has done, in the numbers of Triton's statistics extension."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fabric.api.inference.v2 import extensions_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.core.deadlines import Clock
    from fabric.runtime.runs import Run


@dataclass(slots=True)
class Spent:
    """How often something was done, and the seconds that its three parts took."""

    count: int = 0
    input: float = 0.0
    infer: float = 0.0
    output: float = 0.0


@dataclass(slots=True)
class Statistics:
    """Counts requests and runs; every time is in seconds on the clock of the runner.

    A request succeeds when it has its answer, and fails for reasons of the model or the queue;
    one whose caller has left does neither. All requests of one run have spent its whole time.
    """

    requests: Spent = field(default_factory=Spent)
    """Those that succeeded."""
    runs: dict[int, Spent] = field(default_factory=dict)
    """By their rows."""
    rows: int = 0
    """In requests that succeeded."""
    queued: float = 0.0
    success: float = 0.0
    failures: int = 0
    failure: float = 0.0
    last: float = 0.0
    """When the last run was over."""

    def ran(self, run: Run, now: float, count: int, rows: int, arrived: float) -> None:
        """Counts *run*, whose answers were given by *now*.

        *count* requests with *rows* rows have succeeded in it; *arrived* is the sum of the times
        when they came. Written out, because it is done for every lone request.
        """
        begun, stacked, ended = run.begun, run.stacked, run.ended
        spent = self.runs.get(run.rows)
        if spent is None:
            spent = self.runs[run.rows] = Spent()
        spent.count += 1
        spent.input += stacked - begun
        spent.infer += ended - stacked
        spent.output += now - ended
        spent = self.requests
        spent.count += count
        spent.input += count * (stacked - begun)
        spent.infer += count * (ended - stacked)
        spent.output += count * (now - ended)
        self.rows += rows
        self.queued += count * begun - arrived
        self.success += count * now - arrived
        self.last = now

    def failed(self, count: int, seconds: float) -> None:
        """Counts *count* requests that took *seconds* all together until they failed."""
        self.failures += count
        self.failure += seconds

    def message(
        self, name: str, version: str, clock: Clock, wall: Callable[[], float] = time.time
    ) -> pb.ModelStatistics:
        """The statistics of the model *name*; *clock* is the runner's."""
        spent, count = self.requests, self.requests.count
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=int((wall() - clock() + self.last) * 1000) if self.runs else 0,
            inference_count=self.rows,
            execution_count=sum(run.count for run in self.runs.values()),
            inference_stats=pb.InferStatistics(
                success=_duration(count, self.success),
                fail=_duration(self.failures, self.failure),
                queue=_duration(count, self.queued),
                compute_input=_duration(count, spent.input),
                compute_infer=_duration(count, spent.infer),
                compute_output=_duration(count, spent.output),
                cache_hit=_duration(0, 0),
                cache_miss=_duration(0, 0),
            ),
            batch_stats=[
                pb.InferBatchStatistics(
                    batch_size=rows,
                    compute_input=_duration(run.count, run.input),
                    compute_infer=_duration(run.count, run.infer),
                    compute_output=_duration(run.count, run.output),
                )
                for rows, run in sorted(self.runs.items())
            ],
        )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=max(0, round(seconds * 1e9)))
