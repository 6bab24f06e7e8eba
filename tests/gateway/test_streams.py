"""ModelStreamInfer through the gateway; the replicas answer as each test says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest
from running import SIGNATURE, Failing, Held, Saying, served, unique, until

from fabric.api.inference.v2.extensions_pb2 import ModelStreamInferResponse
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import NotFound, Overloaded, SpecialistFailed
from fabric.core.routes import ChainEntry, Route
from fabric.link.frames import CREDIT_AT_FIRST

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"


@pytest.fixture
def streaming(channel):
    """Opens a stream; what it is sent are fields of requests."""

    def open_stream(metadata=(), response=ModelStreamInferResponse, timeout=None):
        call = channel.stream_stream(
            PATH, ModelInferRequest.SerializeToString, response.FromString
        )(metadata=metadata, timeout=timeout)
        return Stream(call)

    return open_stream


class Stream:
    def __init__(self, call):
        self.call = call

    async def ask(self, model, request_id="", **parameters):
        request = ModelInferRequest(model_name=model, id=request_id)
        for name, value in parameters.items():
            field = "bool_param" if isinstance(value, bool) else "string_param"
            setattr(request.parameters[name], field, value)
        await self.call.write(request)

    async def next(self):
        async with asyncio.timeout(20):
            return await self.call.read()

    async def answer(self):
        """Id, final flag and error of the next answer."""
        answer = await self.next()
        response = answer.infer_response
        final = response.parameters["triton_final_response"].bool_param
        return response.id, final, answer.error_message

    async def ended(self):
        """The status, after nothing else came."""
        assert await self.next() is grpc.aio.EOF
        return await self.call.code()


def response(text):
    return ModelInferResponse(id=text, model_version="1").SerializeToString()


async def told(call):
    await until(lambda: call.is_cancelled)


# ------------------------------------------------------------------ order
async def test_single_answers_come_in_the_order_of_their_requests(running, client, streaming):
    """Whoever is answered first; all are worked on at the same time."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        stream = streaming()
        for number in range(5):
            await stream.ask(name, str(number))
        calls = [await held.next() for _ in range(5)]
        for number, call in reversed([*enumerate(calls)]):
            call.respond(response(str(number)))
        assert [await stream.answer() for _ in range(5)] == [
            (str(number), True, "") for number in range(5)
        ]
        await stream.call.done_writing()
        assert await stream.ended() == grpc.StatusCode.OK


async def test_answers_of_decoupled_models_come_as_they_are_given(running, client, streaming):
    """Between those of others, told apart by id, and nobody waits for their end."""
    held, name, single = Held(), unique("held"), unique("single")
    async with (
        served(running, client, name, held, signature=replace(SIGNATURE, decoupled=True)),
        served(running, client, single, held),
    ):
        assert (await client.get("specialist", name)).specialist.card.signature.decoupled
        stream = streaming()
        for request_id in "abc":
            await stream.ask(name, request_id)
        a, b, c = [await held.next() for _ in range(3)]
        for call, text in ((b, "b"), (a, "a"), (b, "b"), (c, "c"), (a, "a")):
            call.send(response(text))
            assert await stream.answer() == (text, False, "")
        await stream.ask(single, "d")
        (await held.next()).respond(response("d"))
        assert await stream.answer() == ("d", True, "")
        for call in (a, b, c):
            call.respond(b"")
        await stream.call.done_writing()
        assert await stream.ended() == grpc.StatusCode.OK


@pytest.mark.parametrize("count", [0, 2])
async def test_the_end_of_many_answers_is_told_to_who_asks(running, client, streaming, count):
    """By an empty one, which is the only final one."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        for asks in (True, False):
            stream = streaming()
            await stream.ask(name, "a", triton_enable_empty_final_response=asks)
            await stream.call.done_writing()
            call = await held.next()
            for _ in range(count):
                call.send(response("a"))
                assert await stream.answer() == ("a", False, "")
            call.respond(b"")
            if asks:
                last = (await stream.next()).infer_response
                assert (last.id, last.model_name, last.model_version) == ("a", name, "1")
                assert last.parameters["triton_final_response"].bool_param
                assert not last.outputs
            assert await stream.ended() == grpc.StatusCode.OK


async def test_answers_say_who_gave_them(running, client, streaming):
    """As that of a unary call does, and by which route."""
    held, name, route = Held(), unique("held"), unique("route")
    async with served(running, client, name, held) as (server,):
        await client.apply([], [Route(name=route, chain=(ChainEntry(name=name),))])
        await running.until_linked(client, route)
        stream = streaming()
        await stream.ask(route, "a")
        call = await held.next()
        call.send(response("a"))
        call.respond(response("a"))
        for _ in range(2):
            answer = (await stream.next()).infer_response
            assert answer.model_name == route
            parameters = answer.parameters
            assert parameters["fabric_specialist"].string_param == name
            assert parameters["fabric_replica"].string_param == server.hello.replica
            assert parameters["fabric_route"].string_param == route
            assert parameters["fabric_attempts"].int64_param == 1


# ------------------------------------------------------------------ errors
async def test_an_error_of_a_request_leaves_the_stream_open(running, client, streaming):
    """It is in the message, under the request's id, in its turn."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        stream = streaming()
        await stream.ask(name, "1")
        await stream.ask("never-declared", "2")
        await stream.ask(name, "3", fabric_taks="typo")
        await stream.ask(name, "4", triton_enable_empty_final_response="yes")
        await stream.ask(name, "5")
        await stream.ask(name, "6")
        first, second, third = [await held.next() for _ in range(3)]
        third.respond(response("6"))
        second.fail(SpecialistFailed("no idea"))
        first.respond(response("1"))
        assert await stream.answer() == ("1", True, "")
        assert await stream.answer() == (
            "2",
            True,
            "Request for unknown model: 'never-declared' is not found",
        )
        request_id, _, error = await stream.answer()
        assert (request_id, "did you mean 'fabric_task'" in error) == ("3", True)
        text = "invalid value type for 'triton_enable_empty_final_response' parameter"
        assert await stream.answer() == ("4", True, f"{text}, expected bool_param.")
        assert await stream.answer() == ("5", True, "no idea")
        assert await stream.answer() == ("6", True, "")
        await stream.call.done_writing()
        assert await stream.ended() == grpc.StatusCode.OK


async def test_an_error_between_answers_is_the_requests_end(running, client, streaming):
    """Behind what was given, and only of that request."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        stream = streaming()
        await stream.ask(name, "a")
        call = await held.next()
        call.send(response("a"))
        call.fail(SpecialistFailed("lost it"))
        assert await stream.answer() == ("a", False, "")
        assert await stream.answer() == ("a", True, "lost it")
        await stream.ask(name, "b")
        (await held.next()).respond(response("b"))
        assert await stream.answer() == ("b", True, "")
        stream.call.cancel()


@pytest.mark.parametrize(
    "metadata", [("triton_grpc_error", "true"), ("fabric-dialect", "mlserver")]
)
async def test_an_error_may_be_the_status_of_the_stream(running, client, streaming, metadata):
    """Where the client asks for it; what else is in flight is cancelled."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        stream = streaming([metadata])
        await stream.ask(name, "1")
        await stream.ask(name, "2")
        first, second = [await held.next() for _ in range(2)]
        first.fail(NotFound("not here"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.next()
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.NOT_FOUND,
            "not here",
        )
        await told(second)


async def test_what_is_no_request_ends_the_stream(running, client, channel):
    """Nobody knows which request it is."""
    call = channel.stream_stream(PATH)()
    await call.write(b"\xff" * 40)
    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "the request is no" in await call.details()


async def test_streams_fall_back_until_the_first_answer(running, client, streaming):
    """As unary calls do."""
    full, second, route = unique("full"), unique("held"), unique("route")
    held = Held()
    async with (
        served(running, client, full, Failing(Overloaded("full"))),
        served(running, client, second, held),
    ):
        chain = (ChainEntry(name=full), ChainEntry(name=second))
        await client.apply([], [Route(name=route, chain=chain)])
        await running.until_linked(client, route)
        stream = streaming()
        await stream.ask(route, "a")
        call = await held.next()
        call.send(response("a"))
        parameters = (await stream.next()).infer_response.parameters
        assert parameters["fabric_specialist"].string_param == second
        assert parameters["fabric_fallback"].bool_param
        call.fail(Overloaded("full as well"))
        assert await stream.answer() == ("a", True, "full as well")
        stream.call.cancel()


# ------------------------------------------------------------------ MLServer's dialect
async def test_in_mlservers_dialect_answers_are_bare(running, client, streaming):
    """As its generated stubs read them."""
    name = unique("said")
    async with served(running, client, name, Saying(response("a"))):
        stream = streaming([("fabric-dialect", "mlserver")], ModelInferResponse)
        await stream.ask(name, "a")
        answer = await stream.next()
        assert (answer.id, answer.model_name, answer.model_version) == ("a", name, "1")
        await stream.call.done_writing()
        assert await stream.ended() == grpc.StatusCode.OK


async def test_an_unknown_dialect_is_refused(streaming):
    """With those that there are."""
    stream = streaming([("fabric-dialect", "klingon")])
    assert await stream.call.code() == grpc.StatusCode.INVALID_ARGUMENT
    text = "fabric-dialect is 'klingon'; use triton or mlserver"
    assert await stream.call.details() == text


# ------------------------------------------------------------------ ends and limits
async def test_closing_ones_half_waits_for_what_is_outstanding(running, client, streaming):
    """Then the stream is OK."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        stream = streaming()
        await stream.ask(name, "a")
        await stream.ask(name, "b")
        await stream.call.done_writing()
        a, b = [await held.next() for _ in range(2)]
        b.send(response("b"))
        assert await stream.answer() == ("b", False, "")
        b.respond(response("b"))
        a.respond(response("a"))
        assert await stream.answer() == ("a", True, "")
        assert await stream.answer() == ("b", True, "")
        assert await stream.ended() == grpc.StatusCode.OK


@pytest.mark.parametrize("half_closed", [False, True])
async def test_cancelling_a_stream_cancels_all_of_it(running, client, streaming, half_closed):
    """On the replicas: those that were not answered, and those between two answers."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held) as (server,):
        stream = streaming()
        for request_id in "abc":
            await stream.ask(name, request_id)
        if half_closed:
            await stream.call.done_writing()
        calls = [await held.next() for _ in range(3)]
        calls[1].send(response("b"))
        await stream.answer()
        stream.call.cancel()
        for call in calls:
            await told(call)
        assert server.in_flight == 0


async def test_the_deadline_of_a_stream_holds_for_all_of_it(running, client, streaming):
    """The replica knows it as well."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        stream = streaming(timeout=0.3)
        await stream.ask(name, "a")
        call = await held.next()
        call.send(response("a"))
        assert await stream.answer() == ("a", False, "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.next()
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await told(call)


async def test_a_stream_works_on_so_many_requests_at_a_time(running, client, streaming):
    """Further ones are not read before others are answered."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held) as (server,):
        stream = streaming()
        for number in range(100):
            await stream.ask(name, str(number))
        calls = [await held.next() for _ in range(64)]
        unary = asyncio.create_task(client.metadata(name))  # a whole way through the gateway
        await unary
        assert server.in_flight == 64
        for number, call in enumerate(calls):
            call.respond(response(str(number)))
        for number in range(64, 100):
            (await held.next()).respond(response(str(number)))
        answers = [await stream.answer() for _ in range(100)]
        assert [request_id for request_id, *_ in answers] == [str(number) for number in range(100)]
        stream.call.cancel()


class Endless:
    """Sends large answers without an end, as long as there is room for them."""

    def __init__(self):
        self.produced = 0
        self.tasks = []
        self.calls = []

    def handle(self, call):
        self.calls.append(call)
        self.tasks.append(asyncio.create_task(self._send(call)))

    async def _send(self, call):
        payload = ModelInferResponse(raw_output_contents=[bytes(1_000_000)]).SerializeToString()
        while not call.is_cancelled:
            await call.has_room()
            call.send(payload)
            self.produced += 1


async def test_a_slow_reader_of_an_endless_model_holds_the_replica_back(running, client, streaming):
    """Through the gateway, whose memory stays bounded: windows, queues and credit are all there
    is between the client and the generator."""
    endless, name = Endless(), unique("endless")
    async with served(running, client, name, endless):
        stream = streaming()
        await stream.ask(name, "a")
        for _ in range(3):
            await stream.next()

        async def stands():
            before = endless.produced
            await asyncio.sleep(0.3)
            return endless.produced == before

        await until(stands)
        bound = 16 + 2 * CREDIT_AT_FIRST + 40  # queue, credit, and what sockets and windows hold
        assert endless.produced < bound
        for _ in range(60):
            await stream.next()
        assert 60 < endless.produced < 60 + bound
        stream.call.cancel()
        await told(endless.calls[0])
        await asyncio.gather(*endless.tasks)
