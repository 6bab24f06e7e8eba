"""Whatever a client sends, both front doors say what is wrong, and live on."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from fuzz_cases import Case, case, connection, infer, rest, streamed
from fuzz_running import Fuzz, fabric, judge, processes, resident
from fuzz_wires import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATIENCE = 60.0
QUICK = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Running:
    """A fabric and one that fuzzes it, in a thread of their own: hypothesis is not async."""

    def __init__(self, folder):
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fuzz")

    def __enter__(self):
        self._thread.start()
        self._fabric = fabric(self._folder)
        self.fabric = self.run(self._fabric.__aenter__())
        self.fuzz = Fuzz(self.fabric.server)
        return self

    def __exit__(self, *exc):
        self.run(self.fuzz.close())
        self.run(self._fabric.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work):
        """What the coroutine *work* gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def check(self, of: Case):
        """Sends *of*; an AssertionError says what must not be."""
        faults = self.fuzz.tally.fault_count

        async def send():
            await self.fuzz.send(of)
            await self.fuzz.drain()

        self.run(send())
        assert self.fuzz.tally.fault_count == faults, self.fuzz.tally.faults[-1][:2]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Running(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@QUICK
@given(r=st.randoms(use_true_random=False))
@pytest.mark.parametrize("draw", [infer, streamed, rest])
def test_odd_requests_are_the_callers_fault(running, draw, r):
    """Whatever inputs, shapes, contents, parameters, frames and headers are; those that are right
    are answered."""
    running.check(draw(r))


@settings(QUICK, max_examples=60)
@given(data=st.binary(max_size=200), kind=st.sampled_from(["infer", "stream", "control"]))
def test_random_bytes_are_the_callers_fault(running, data, kind):
    """As the message of a call, and as its frames."""
    paths = {
        "infer": "/inference.GRPCInferenceService/ModelInfer",
        "stream": "/inference.GRPCInferenceService/ModelStreamInfer",
        "control": "/fabric.api.catalog.v1.CatalogService/Get",
    }
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", paths[kind].encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"3S"),
    )
    whole = b"\0" + len(data).to_bytes(4, "big") + data
    running.check(Case(f"grpc {kind}", headers, whole))
    if kind != "control":  # its frames are read by gRPC's own server
        running.check(Case(f"grpc {kind}", headers, data))


@settings(QUICK, max_examples=100)
@given(r=st.randoms(use_true_random=False))
def test_broken_connections_end(running, r):
    """Wrong frames, lengths, flags, resets, settings and headers; and HTTP/1.1 that is none."""
    block = running.run(running.fuzz.infer_block())
    faults = running.fuzz.tally.fault_count
    running.run(running.fuzz.pour(connection(r, block)))
    assert running.fuzz.tally.fault_count == faults, running.fuzz.tally.faults[-1][:2]


def test_everything_lives_on_and_holds_no_more_memory(running):
    """After as many cases again no process is another one, and none has grown by much."""
    before = running.run(processes(running.fabric))
    r = random.Random(7)
    running.run(running.fuzz.run(2000, r))
    at_half = resident(before)
    running.run(running.fuzz.run(2000, r))
    at_end = resident(before)
    assert running.fuzz.tally.faults == []
    assert running.run(processes(running.fabric)) == before
    grown = {name: at_end[name] - at_half[name] for name in before}
    assert max(grown.values()) < 32 * 1024, grown


def test_a_case_that_fails_is_found():
    """The judge is told of an INTERNAL, of 500, and of a right request that is refused."""
    of = Case("grpc infer", (), b"", valid=False)
    internal = Response({b":status": b"200", b"grpc-status": b"13", b"grpc-message": b"a bug"})
    assert judge(of, internal) == ("200 grpc 13", "INTERNAL: a bug")
    assert judge(Case("rest", (), b""), Response({b":status": b"500"}))[1].startswith("500")
    refused = Response({b":status": b"200", b"grpc-status": b"3"})
    assert judge(of, refused)[1] == ""
    assert "is right" in judge(Case("grpc infer", (), b"", valid=True), refused)[1]


def test_cases_are_drawn_again_from_the_same_seed():
    """A long run can be repeated."""
    one, other = ([case(random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert one == other
