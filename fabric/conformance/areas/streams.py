"""ModelStreamInfer: requests and answers on one stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.conformance.checks import Broken, NotOffered, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.requests import expect_output, outputs_of, request, tensor
from fabric.conformance.samples import ADD_SUB, FP32, REPEAT, SLOW
from fabric.conformance.server import Refused

if TYPE_CHECKING:
    from fabric.api.inference.v2 import extensions_pb2 as ext
    from fabric.api.inference.v2 import open_inference_pb2 as pb
    from fabric.conformance.server import Server

rules = Rules("streams", "Triton: ModelStreamInfer", FP32, extension="stream", dialect="triton")
decoupled = Rules(
    "streams.decoupled", "Triton: decoupled models", REPEAT, extension="stream", dialect="triton"
)
FINAL = "triton_final_response"
_X = np.array([[1.0, 2.0]], np.float32)
_EMPTY_FINAL = {"triton_enable_empty_final_response": True}


def _numbered(n: int) -> pb.ModelInferRequest:
    return request(FP32, {"x": _X * n}, id=str(n))


def repeat(count: int, pause: int = 0, id: str = "", final: bool = False) -> pb.ModelInferRequest:
    """A request for *count* responses with *pause* milliseconds before each; with *final*, an
    empty one may follow."""
    given = {"count": np.array([count], np.int32), "pause": np.array([pause], np.int32)}
    return request(REPEAT, given, id=id, parameters=_EMPTY_FINAL if final else None)


def _index(answer: pb.ModelInferResponse) -> int:
    return int(outputs_of(answer)["index"][0])


def _expect_error(message: ext.ModelStreamInferResponse) -> None:
    expect(message.error_message, "an error_message", message)


# ------------------------------------------------------------------ one answer a request
@rules()
async def one_answer_for_each_request(server: Server) -> None:
    """Each request has one answer, with its id."""
    async with server.stream() as stream:
        for n in range(3):
            await stream.send(_numbered(n))
            (answer,) = await stream.answers(1)
            expect_equal(answer.id, str(n), "id")
            expect_output(answer, "y", _X * n)


@rules()
async def answers_in_the_order_of_requests(server: Server) -> None:
    """The answers of a model that is not decoupled come in the order of its requests."""
    async with server.stream() as stream:
        await stream.send(*map(_numbered, range(50)))
        answers = await stream.answers(50)
    expect_equal([answer.id for answer in answers], [str(n) for n in range(50)], "ids")
    for n, answer in enumerate(answers):
        expect_output(answer, "y", _X * n)


@rules(FP32, ADD_SUB)
async def several_models(server: Server) -> None:
    """Requests of one stream may be for several models."""
    ab = {"a": np.ones((1, 4), np.int32), "b": np.ones((1, 4), np.int32)}
    async with server.stream() as stream:
        await stream.send(_numbered(1), request(ADD_SUB, ab, id="2"))
        found = {answer.id: answer.model_name for answer in await stream.answers(2)}
    expect_equal(found, {"1": FP32, "2": ADD_SUB}, "models by id")


@rules()
async def without_requests(server: Server) -> None:
    """A stream without requests ends with OK when it is half-closed."""
    async with server.stream() as stream:
        await stream.close()
        expect_equal(await stream.rest(), [], "messages")


@rules()
async def half_close_finishes_what_is_outstanding(server: Server) -> None:
    """After the half-close all outstanding requests are answered, then the status is OK."""
    async with server.stream() as stream:
        await stream.send(*map(_numbered, range(10)))
        await stream.close()
        messages = await stream.rest()
    ids = sorted(int(message.infer_response.id) for message in messages)
    expect_equal(ids, list(range(10)), "ids")


@rules()
async def two_streams_are_apart(server: Server) -> None:
    """Two streams at a time have their own answers."""
    async with server.stream() as one, server.stream() as two:
        await one.send(_numbered(1))
        await two.send(_numbered(2))
        expect_equal((await two.answers(1))[0].id, "2", "id on the second stream")
        expect_equal((await one.answers(1))[0].id, "1", "id on the first stream")


@rules()
async def large_answers(server: Server) -> None:
    """An answer of five megabytes passes."""
    x = np.zeros((1, 1_250_000), np.float32)
    async with server.stream() as stream:
        await stream.send(request(FP32, {"x": x}))
        expect_output((await stream.answers(1))[0], "y", x)


@rules(FP32, SLOW)
async def cancelling_ends_it(server: Server) -> None:
    """After a stream was cancelled with work in flight, the server goes on."""
    async with server.stream() as stream:
        await stream.send(request(SLOW, {"work": np.array([5000])}), _numbered(1))
    expect_output(await server.infer(_numbered(2)), "y", _X * 2)
    await server.infer(request(SLOW, {"work": np.array([1])}), timeout=30)


# ------------------------------------------------------------------ errors
@rules()
async def an_error_leaves_it_open(server: Server) -> None:
    """The error of a request is in error_message, and the stream goes on."""
    async with server.stream() as stream:
        await stream.send(request(UNKNOWN, {"x": _X}, id="bad"))
        _expect_error(await stream.next())
        await stream.send(_numbered(1))
        expect_output((await stream.answers(1))[0], "y", _X)


@rules()
async def an_error_has_the_id(server: Server) -> None:
    """The message of an error has the id of the request in infer_response."""
    async with server.stream() as stream:
        await stream.send(request(FP32, {"none": _X}, id="bad"))
        message = await stream.next()
    _expect_error(message)
    expect_equal(message.infer_response.id, "bad", "id")


@rules()
async def an_error_says_what_is_wrong(server: Server) -> None:
    """error_message has the words of the status of ModelInfer."""
    given = [tensor("x", "FP32", [1, 2])]
    async with server.stream() as stream:
        await stream.send(request(FP32, given, raw=[bytes(7)]))
        message = await stream.next()
    expect("byte size mismatch" in message.error_message, "'byte size mismatch'", message)


@rules()
async def triton_grpc_error_ends_it(server: Server) -> None:
    """On a stream with the metadata triton_grpc_error: true an error ends the stream with its
    status."""
    async with server.stream((("triton_grpc_error", "true"),)) as stream:
        await stream.send(request(UNKNOWN, {"x": _X}, id="bad"))
        try:
            message = await stream.next()
        except Refused as refused:
            expect_equal(refused.code, "NOT_FOUND", "status")
            return
    raise Broken("an end with NOT_FOUND", message)


@rules()
async def triton_grpc_error_false_leaves_it_open(server: Server) -> None:
    """The metadata triton_grpc_error: false change nothing."""
    async with server.stream((("triton_grpc_error", "false"),)) as stream:
        await stream.send(request(UNKNOWN, {"x": _X}))
        _expect_error(await stream.next())
        await stream.send(_numbered(1))
        await stream.answers(1)


# ------------------------------------------------------------------ final responses
@rules()
async def the_answer_is_final(server: Server) -> None:
    """The only answer of a request has the parameter triton_final_response: true."""
    async with server.stream() as stream:
        await stream.send(_numbered(1))
        (answer,) = await stream.answers(1)
    expect(FINAL in answer.parameters, f"the parameter {FINAL}", sorted(answer.parameters))
    expect(answer.parameters[FINAL].bool_param, f"{FINAL}: true", "false")


@rules()
async def no_empty_final_for_one_answer(server: Server) -> None:
    """A model that is not decoupled gives one message even where empty final ones are asked."""
    async with server.stream() as stream:
        await stream.send(request(FP32, {"x": _X}, parameters=_EMPTY_FINAL))
        await stream.close()
        expect_equal(len(await stream.rest()), 1, "messages")


# ------------------------------------------------------------------ decoupled
@decoupled()
async def several_answers(server: Server) -> None:
    """A request may have several answers, in the order in which the model gives them."""
    async with server.stream() as stream:
        await stream.send(repeat(5, id="five"))
        answers = await stream.answers(5)
    expect_equal([_index(answer) for answer in answers], list(range(5)), "index")
    expect_equal({answer.id for answer in answers}, {"five"}, "ids")


@decoupled()
async def no_answer(server: Server) -> None:
    """A request may have no answer, and the stream goes on."""
    async with server.stream() as stream:
        await stream.send(repeat(0, id="none"), repeat(1, id="one"))
        expect_equal((await stream.answers(1))[0].id, "one", "id")


@decoupled()
async def no_answer_but_the_final_one(server: Server) -> None:
    """A request without answers has an empty final response where it asks for one."""
    async with server.stream() as stream:
        await stream.send(repeat(0, id="none", final=True))
        (answer,) = await stream.answers(1)
    expect_equal((answer.id, len(answer.outputs)), ("none", 0), "id and outputs")
    expect(answer.parameters[FINAL].bool_param, f"{FINAL}: true", "false")


@decoupled()
async def the_final_one_is_empty(server: Server) -> None:
    """Where a request asks for it, an empty response with triton_final_response: true ends its
    answers, and those before it say false."""
    async with server.stream() as stream:
        await stream.send(repeat(3, final=True))
        answers = await stream.answers(4)
    finals = [answer.parameters[FINAL].bool_param for answer in answers]
    expect_equal(finals, [False, False, False, True], FINAL)
    expect_equal([len(answer.outputs) for answer in answers], [1, 1, 1, 0], "outputs")


@decoupled()
async def no_final_one_unasked(server: Server) -> None:
    """Without being asked for no empty final response comes."""
    async with server.stream() as stream:
        await stream.send(repeat(3))
        await stream.close()
        expect_equal(len(await stream.rest()), 3, "messages")


@decoupled()
async def requests_are_interleaved(server: Server) -> None:
    """A quick request need not wait for the answers of a slow one that came before."""
    async with server.stream() as stream:
        await stream.send(repeat(4, pause=300, id="slow"))
        await stream.answers(1)
        await stream.send(repeat(1, id="quick"))
        ids = [answer.id for answer in await stream.answers(4)]
    if server.dialect == "triton" and ids[-1] == "quick":
        raise NotOffered("the server runs one request of the model at a time")
    expect(ids.index("quick") < 3, "the quick one before the slow one's last", ids)


@decoupled()
async def half_close_finishes_all_answers(server: Server) -> None:
    """After the half-close all answers of outstanding requests come, then the status is OK."""
    async with server.stream() as stream:
        await stream.send(repeat(3, pause=50, id="a"), repeat(2, pause=50, id="b"))
        await stream.close()
        ids = sorted(message.infer_response.id for message in await stream.rest())
    expect_equal(ids, ["a", "a", "a", "b", "b"], "ids")


@decoupled()
async def an_error_leaves_the_stream_open(server: Server) -> None:
    """The error of a request is in error_message, with its id, and the stream goes on."""
    async with server.stream() as stream:
        await stream.send(repeat(-1, id="bad"))
        message = await stream.next()
        _expect_error(message)
        expect_equal(message.infer_response.id, "bad", "id")
        await stream.send(repeat(1, id="good"))
        while (answer := (await stream.next()).infer_response).id == "bad":
            pass
        expect_equal(answer.id, "good", "id")


@decoupled()
async def many_answers(server: Server) -> None:
    """A request may have a thousand answers, all in order."""
    async with server.stream() as stream:
        await stream.send(repeat(1000))
        indices = [_index(answer) for answer in await stream.answers(1000)]
    expect_equal(indices, list(range(1000)), "index")


@decoupled()
async def cancelling_ends_the_work(server: Server) -> None:
    """After a stream was cancelled amid its answers, the model answers others."""
    async with server.stream() as stream:
        await stream.send(repeat(50, pause=50))
        await stream.answers(1)
    async with server.stream() as stream:
        await stream.send(repeat(1))
        await stream.answers(1)


PARTS = (rules, decoupled)
