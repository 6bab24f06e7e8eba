"""Requests that belong together, by sequence_id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.requests import outputs_of, request
from fabric.conformance.samples import CONTROLS, FP32, SEQUENCE
from fabric.conformance.server import INFER, within

if TYPE_CHECKING:
    from fabric.api.inference.v2 import open_inference_pb2 as pb
    from fabric.conformance.requests import Parameter
    from fabric.conformance.server import Server

rules = Rules("sequences", "Triton: sequence extension", SEQUENCE, extension="sequence")
controls = Rules(
    "sequences.controls", "Triton: sequence batcher, control inputs", CONTROLS, extension="sequence"
)
_number = 1000


def fresh() -> int:
    """An id that no other sequence has."""
    global _number
    _number += 1
    return _number


def step(
    x: float, of: Parameter, start: bool = False, end: bool = False, model: str = SEQUENCE
) -> pb.ModelInferRequest:
    given = {"x": np.array([[x]], np.float32)}
    flags = {"sequence_id": of, "sequence_start": start, "sequence_end": end}
    return request(model, given, parameters=flags)


async def _sum(server: Server, *given: pb.ModelInferRequest) -> list[float]:
    return [float(outputs_of(await server.infer(each))["y"].flat[0]) for each in given]


async def _end(server: Server, of: Parameter) -> None:
    await server.infer(step(0, of, end=True))


@rules()
async def remember(server: Server) -> None:
    """What a model remembers lasts from one request of a sequence to the next."""
    of = fresh()
    got = await _sum(server, step(1, of, start=True), step(2, of), step(4, of, end=True))
    expect_equal(got, [1.0, 3.0, 7.0], "sums")


@rules()
async def are_apart(server: Server) -> None:
    """Sequences of several callers at a time know nothing of each other."""
    one, two = fresh(), fresh()
    got = await _sum(
        server,
        step(1, one, start=True),
        step(10, two, start=True),
        step(2, one),
        step(20, two),
        step(3, one, end=True),
        step(30, two, end=True),
    )
    expect_equal(got, [1.0, 10.0, 3.0, 30.0, 6.0, 60.0], "sums")


@rules()
async def may_have_ids_of_text(server: Server) -> None:
    """A sequence_id may be a text."""
    of = f"sequence-{fresh()}"
    got = await _sum(server, step(1, of, start=True), step(2, of), step(4, of, end=True))
    expect_equal(got, [1.0, 3.0, 7.0], "sums")


@rules()
async def of_one_request(server: Server) -> None:
    """A request may start and end its sequence."""
    of = fresh()
    got = await _sum(server, step(5, of, start=True, end=True), step(7, of, True, True))
    expect_equal(got, [5.0, 7.0], "sums")


@rules()
async def start_again(server: Server) -> None:
    """sequence_start with the id of a running sequence starts it anew."""
    of = fresh()
    got = await _sum(server, step(1, of, start=True), step(2, of), step(10, of, start=True))
    await _end(server, of)
    expect_equal(got, [1.0, 3.0, 10.0], "sums")


@rules()
async def ended_and_used_again(server: Server) -> None:
    """After its end an id starts another sequence from nothing."""
    of = fresh()
    first = await _sum(server, step(1, of, start=True), step(2, of, end=True))
    again = await _sum(server, step(5, of, start=True), step(0, of, end=True))
    expect_equal((first, again), ([1.0, 3.0], [5.0, 5.0]), "sums")


@rules()
async def without_a_start(server: Server) -> None:
    """A request of a sequence that nobody started is refused."""
    await server.refused(INFER, step(1, fresh()))


@rules()
async def after_the_end(server: Server) -> None:
    """A request of a sequence that has ended is refused."""
    of = fresh()
    await _sum(server, step(1, of, start=True), step(1, of, end=True))
    await server.refused(INFER, step(1, of))


@rules()
async def without_an_id(server: Server) -> None:
    """A model that takes sequences refuses a request without sequence_id."""
    await server.refused(INFER, request(SEQUENCE, {"x": np.array([[1]], np.float32)}))


@rules()
async def with_the_id_zero(server: Server) -> None:
    """sequence_id 0 means none, which a model that takes sequences refuses."""
    await server.refused(INFER, step(1, 0, start=True))


@rules(FP32)
async def of_a_model_without_memory(server: Server) -> None:
    """A model that takes no sequences answers a request with sequence_id as any other."""
    answer = await server.infer(step(1, fresh(), start=True, model=FP32))
    expect_equal(float(outputs_of(answer)["y"].flat[0]), 1.0, "y")


@rules()
async def many_at_once(server: Server) -> None:
    """Many sequences at a time each get their own sums."""

    async def run(factor: int) -> list[float]:
        of = fresh()
        steps = [step(factor * n, of, start=n == 1, end=n == 4) for n in range(1, 5)]
        return await _sum(server, *steps)

    for factor, got in enumerate(await within(30, *map(run, range(6)))):
        expect_equal(got, [factor * total for total in (1.0, 3.0, 6.0, 10.0)], "sums")


@rules()
async def on_a_stream(server: Server) -> None:
    """The requests of a sequence on a stream are answered in their order."""
    of = fresh()
    async with server.stream() as stream:
        steps = [step(1, of, start=n == 0, end=n == 9) for n in range(10)]
        await stream.send(*steps)
        answers = await stream.answers(10)
    got = [float(outputs_of(answer)["y"].flat[0]) for answer in answers]
    expect_equal(got, [float(n) for n in range(1, 11)], "sums")


@rules()
async def unsigned_ids(server: Server) -> None:
    """A sequence_id may be as large as 64 bits are."""
    of = 2**63 - 1 - fresh()
    got = await _sum(server, step(1, of, start=True), step(2, of, end=True))
    expect_equal(got, [1.0, 3.0], "sums")


# ------------------------------------------------------------------ controls
async def _told(server: Server, asked: pb.ModelInferRequest) -> tuple[int, ...]:
    """Whether the sequence starts and ends, and its id."""
    found = outputs_of(await server.infer(asked))
    return tuple(int(found[name].flat[0]) for name in ("started", "ended", "id"))


@controls()
async def are_told_to_the_model(server: Server) -> None:
    """A model hears by its control inputs when a sequence starts and ends, and its id."""
    of = fresh()
    got = [
        await _told(server, step(0, of, start=True, model=CONTROLS)),
        await _told(server, step(0, of, model=CONTROLS)),
        await _told(server, step(0, of, end=True, model=CONTROLS)),
    ]
    expect_equal(got, [(1, 0, of), (0, 0, of), (0, 1, of)], "start, end and id")


@controls()
async def are_no_inputs_of_requests(server: Server) -> None:
    """Control inputs are the server's to fill: a request that gives one is refused."""
    of = fresh()
    asked = step(0, of, start=True, end=True, model=CONTROLS)
    asked.inputs.add(name="start", datatype="INT32", shape=[1, 1])
    asked.raw_input_contents.append(bytes(4))
    refused = await server.refused(INFER, asked)
    expect(refused.text, "a text", "none")


PARTS = (rules, controls)
