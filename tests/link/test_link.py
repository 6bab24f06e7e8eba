"""Both ends of a link over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time

import numpy as np
import pytest

from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.link.client import connect
from fabric.link.frames import (
    CREDIT,
    CREDIT_AT_FIRST,
    DEFAULT_LIMITS,
    HEADER,
    HELLO,
    REQUEST,
    Hello,
    Limits,
    encode_hello,
)
from fabric.link.latencies import quantile
from fabric.link.server import Call, LinkServer


class Held:
    """Keeps calls until the test answers them."""

    def statistics(self) -> bytes:
        return b"counted"

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()

    def handle(self, call: Call) -> None:
        self.calls.put_nowait(call)


class Echo:
    """Answers every call with its own payload."""

    def handle(self, call: Call) -> None:
        call.respond(bytes(call.payload))


@contextlib.asynccontextmanager
async def linked(handler, limits=DEFAULT_LIMITS):
    """A server with *handler*, and a link to it."""
    server = LinkServer(Hello(replica="r1", specialist="s", version="1"), handler, limits)
    address = await server.start()
    link = await connect(address, limits)
    try:
        yield server, link
    finally:
        link.close()
        await link.gone
        await server.close()


async def test_the_ends_greet_each_other():
    """A link knows who is at its other end."""
    async with linked(Echo()) as (_, link):
        assert link.peer == Hello(replica="r1", specialist="s", version="1")


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 20_000_000])
async def test_payloads_of_any_size_come_back(size):
    """What is sent arrives whole, below and above the size that is joined with others."""
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with linked(Echo()) as (_, link):
        assert bytes(await link.call(payload, NEVER)) == payload


async def test_many_calls_at_once_find_their_answers():
    """Responses are matched by id whatever their order."""
    handler = Held()
    async with linked(handler) as (_, link):
        tasks = [asyncio.create_task(link.call(b"%d" % i, NEVER)) for i in range(100)]
        calls = [await handler.calls.get() for _ in tasks]
        for call in reversed(calls):
            call.respond(bytes(call.payload) + b"!")

        assert [bytes(await task) for task in tasks] == [b"%d!" % i for i in range(100)]


async def test_deadline_and_trace_context_arrive():
    """The replica knows how long the caller waits and whom it traces."""
    handler = Held()
    async with linked(handler) as (_, link):
        trace = bytes(range(25))
        task = asyncio.create_task(link.call(b"x", Deadline.after(5), trace))
        call = await handler.calls.get()

        assert 4 < call.expires - time.monotonic() <= 5
        assert (call.trace, call.payload) == (trace, b"x")
        call.respond(b"y")
        assert await task == b"y"


async def test_no_deadline_stays_no_deadline():
    """A call without a deadline has none at the replica."""
    handler = Held()
    async with linked(handler) as (_, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.calls.get()
        assert call.expires == math.inf
        call.respond(b"")
        await task


async def test_an_error_keeps_its_class_and_names_the_replica():
    """What a replica raises is what the caller catches."""
    handler = Held()
    async with linked(handler) as (_, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        (await handler.calls.get()).fail(SpecialistFailed("the model saw only zeros"))

        with pytest.raises(SpecialistFailed, match="only zeros") as caught:
            await task
        assert caught.value.replica == "r1"


async def test_a_deadline_ends_the_wait_and_cancels_the_work():
    """A caller whose time is up is answered at once, and the replica is told."""
    handler = Held()
    async with linked(handler) as (_, link):
        task = asyncio.create_task(link.call(b"x", Deadline.after(0.02)))
        call = await handler.calls.get()
        told = asyncio.Event()
        call.on_cancel = told.set

        with pytest.raises(DeadlineExceeded):
            await task
        await told.wait()
        assert call.is_cancelled
        assert link.in_flight == 0


async def test_an_expired_call_is_not_sent():
    """Nothing starts that cannot finish."""
    handler = Held()
    async with linked(handler) as (_, link):
        with pytest.raises(DeadlineExceeded):
            await link.call(b"x", Deadline.after(-1))
        assert handler.calls.empty()


async def test_cancelling_a_call_cancels_the_work_and_nothing_else():
    """The one that left is told to the replica; its neighbours are answered."""
    handler = Held()
    async with linked(handler) as (server, link):
        tasks = [asyncio.create_task(link.call(b"%d" % i, NEVER)) for i in range(3)]
        calls = [await handler.calls.get() for _ in tasks]
        told = asyncio.Event()
        calls[1].on_cancel = told.set
        tasks[1].cancel()
        await told.wait()
        for call in calls:
            call.respond(b"done")

        assert [await tasks[0], await tasks[2]] == [b"done", b"done"]
        assert tasks[1].cancelled()
        assert server.in_flight == link.in_flight == 0


async def test_a_lost_link_fails_its_calls_as_unavailable():
    """Requests on a link that breaks can be tried elsewhere."""
    handler = Held()
    async with linked(handler) as (server, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.calls.get()
        for peer in server.peers:
            peer.abort("the test pulls the plug")

        with pytest.raises(Unavailable):
            await task
        assert not link.can_serve
        link.close()
        await link.gone
        assert call.is_cancelled
        with pytest.raises(Unavailable):
            await link.call(b"x", NEVER)


async def test_the_replica_hears_of_a_caller_that_is_gone():
    """A link that ends cancels the calls that came over it."""
    handler = Held()
    async with linked(handler) as (_, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.calls.get()
        told = asyncio.Event()
        call.on_cancel = told.set
        link.close()

        await told.wait()
        with pytest.raises(Unavailable):
            await task


async def test_what_is_not_answered_in_time_counts_as_slow():
    """A replica that answers nothing would be taken for one that was not asked."""
    async with linked(Held()) as (_, link):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await link.call(b"x", Deadline.after(0.02))
        assert quantile([link.latencies.recent()], 0.9) >= 0.03


async def test_draining_finishes_what_is_in_flight():
    """A draining replica answers what it has, and its peers know that it takes nothing new."""
    handler = Held()
    async with linked(handler) as (server, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.calls.get()
        draining = asyncio.create_task(server.drain(5))
        while not link.is_draining:
            await asyncio.sleep(0)
        assert not link.can_serve
        assert not draining.done()

        call.respond(b"y")
        assert await task == b"y"
        await draining


async def test_more_calls_than_allowed_are_refused_at_once():
    """The number in flight on a link is bounded."""
    handler = Held()
    async with linked(handler, Limits(max_in_flight=2)) as (_, link):
        tasks = [asyncio.create_task(link.call(b"x", NEVER)) for _ in range(2)]
        calls = [await handler.calls.get() for _ in tasks]
        with pytest.raises(Overloaded):
            await link.call(b"x", NEVER)
        for call in calls:
            call.respond(b"y")
        await asyncio.gather(*tasks)


async def test_a_frame_above_the_limit_ends_the_link():
    """A peer that announces too much is cut off before memory is taken for it."""
    handler = Held()
    server = LinkServer(Hello(), handler, Limits(max_frame_bytes=1000))
    host, port = (await server.start()).split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    hello = encode_hello(Hello())
    writer.write(HEADER.pack(len(hello), 0, HELLO, 0, 0) + hello)
    writer.write(HEADER.pack(1001, 1, REQUEST, 0, 0))

    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    assert handler.calls.empty()
    writer.close()
    await server.close()


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 4,
        HEADER.pack(2, 0, HELLO, 0, 0) + b"no",
        HEADER.pack(4, 1, REQUEST, 0, 0) + bytes(4),
        bytes(4096),
    ],
)
async def test_noise_ends_its_own_link_only(noise):
    """What is no link is cut off; the others go on."""
    async with linked(Echo()) as (server, link):
        host, port = server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(noise)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()

        assert await link.call(b"still here", NEVER) == b"still here"


async def test_another_protocol_version_is_refused():
    """Ends that do not speak the same protocol say so."""
    server = LinkServer(Hello(protocol=2), Echo())
    address = await server.start()
    with pytest.raises(InvalidRequest, match="link protocol 2"):
        await connect(address)
    await server.close()


async def test_nobody_there_is_unavailable():
    """A dead address is reported as such, with the address."""
    server = LinkServer(Hello(), Echo())
    address = await server.start()
    await server.close()
    with pytest.raises(Unavailable, match=address):
        await connect(address)


@contextlib.asynccontextmanager
async def linked_to_mute():
    """A link to a peer that greets, reads, and says nothing more."""
    is_over = asyncio.Event()

    async def mute(reader, writer):
        hello = encode_hello(Hello())
        writer.write(HEADER.pack(len(hello), 0, HELLO, 0, 0) + hello)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        is_over.set()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield await connect(f"127.0.0.1:{port}", Limits(ping_interval=0.01, silence=0.05))
        await is_over.wait()


async def test_a_silent_peer_is_taken_for_dead():
    """A peer that answers no ping loses its link, and its calls can go elsewhere."""
    async with linked_to_mute() as link:
        with pytest.raises(Unavailable):
            await link.call(b"x", NEVER)


async def test_a_slow_reader_holds_the_writer_back():
    """What waits to be written is bounded: senders wait, and their deadlines still hold."""
    handler = Held()
    async with linked(handler, Limits(high_water_bytes=1000)) as (server, link):
        (peer,) = server.peers
        peer._transport.pause_reading()
        big = bytes(8_000_000)
        first = asyncio.create_task(link.call(big, NEVER))
        while link._blocked is None:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await link.call(b"late", Deadline.after(0.02))

        second = asyncio.create_task(link.call(b"waits", NEVER))
        await asyncio.sleep(0)
        peer._transport.resume_reading()
        for _ in range(2):
            (await handler.calls.get()).respond(b"ok")
        assert [await first, await second] == [b"ok", b"ok"]


async def test_a_transfer_longer_than_the_silence_is_no_silence():
    """A large frame that makes its way slowly holds back the pings, and the link stays."""
    handler = Held()
    limits = Limits(ping_interval=0.05, silence=0.8, high_water_bytes=1000)
    async with linked(handler, limits) as (server, link):
        (peer,) = server.peers
        peer._transport.pause_reading()
        task = asyncio.create_task(link.call(bytes(60_000_000), NEVER))
        for _ in range(16):  # twice the silence in all, some of it read each time
            peer._transport.resume_reading()
            await asyncio.sleep(0.001)
            if not handler.calls.empty():
                break
            peer._transport.pause_reading()
            await asyncio.sleep(0.1)
        peer._transport.resume_reading()
        (await handler.calls.get()).respond(b"ok")
        assert await task == b"ok"


async def test_an_answered_call_holds_nothing():
    """What was to be called on cancel may hold the call, and is let go with the answer."""
    handler = Held()
    async with linked(handler) as (_, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.calls.get()
        call.on_cancel = lambda: call.payload
        call.respond(b"y")
        await task
        assert call.on_cancel is None


async def test_text_that_is_no_unicode_still_travels():
    """A lone surrogate in a message is replaced; the error arrives."""
    handler = Held()
    async with linked(handler) as (_, link):
        task = asyncio.create_task(link.call(b"x", NEVER))
        (await handler.calls.get()).fail(SpecialistFailed("bad \ud800 text"))
        with pytest.raises(SpecialistFailed, match=r"bad . text"):
            await task


@pytest.mark.parametrize("address", ["nohost", "host:port", "x" * 300 + ":1"])
async def test_what_is_no_address_is_unavailable(address):
    """A wrong address is nobody's failure but its own."""
    with pytest.raises(Unavailable):
        await connect(address)


# ------------------------------------------------------------------ streams
async def streaming(handler, link, deadline=NEVER, trace=b""):
    """A stream over *link*, and the call of it as *handler* has it."""
    stream = link.stream(b"x", deadline, trace)
    first = asyncio.create_task(anext(stream))
    return stream, first, await handler.calls.get()


async def test_a_stream_gives_what_is_sent_in_order():
    """Responses as they come, and the last one as such."""
    handler = Held()
    async with linked(handler) as (server, link):
        stream, first, call = await streaming(handler, link, trace=bytes(range(25)))
        assert (call.payload, call.trace) == (b"x", bytes(range(25)))
        call.send(b"1")
        assert await first == (b"1", False)
        assert (server.in_flight, link.in_flight) == (1, 1)
        call.send(b"2")
        call.respond(b"3")
        assert [each async for each in stream] == [(b"2", False), (b"3", True)]
        assert server.in_flight == link.in_flight == 0


async def test_a_stream_may_end_without_a_last_response():
    """What ends it is empty then, whether anything came before or not."""
    handler = Held()
    async with linked(handler) as (_, link):
        _, first, call = await streaming(handler, link)
        call.respond(b"")
        assert await first == (b"", True)


async def test_an_unary_answer_is_a_stream_of_one():
    """A handler need not know of streams."""
    async with linked(Echo()) as (_, link):
        assert [each async for each in link.stream(b"x", NEVER)] == [(b"x", True)]


async def test_an_error_ends_a_stream_after_what_came_before():
    """Nothing that was sent is lost."""
    handler = Held()
    async with linked(handler) as (_, link):
        stream, first, call = await streaming(handler, link)
        call.send(b"1")
        call.fail(SpecialistFailed("no more"))
        assert await first == (b"1", False)
        with pytest.raises(SpecialistFailed, match="no more"):
            await anext(stream)
        assert link.in_flight == 0


async def produced(call, count):
    """Sends responses while there is room for them; says how many in *count*."""
    while True:
        await call.has_room()
        call.send(b"%d" % len(count))
        count.append(None)


async def test_a_slow_reader_holds_the_replica_back():
    """A stream without an end takes no more memory than its first credit, and loses nothing."""
    handler = Held()
    async with linked(handler) as (_, link):
        stream, first, call = await streaming(handler, link)
        count = []
        producing = asyncio.create_task(produced(call, count))
        assert await first == (b"0", False)
        while len(count) < CREDIT_AT_FIRST:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(count) == CREDIT_AT_FIRST
        for number in range(1, 1000):
            assert await anext(stream) == (b"%d" % number, False)
            assert len(count) <= number + CREDIT_AT_FIRST
        await stream.aclose()
        while not call.is_cancelled:
            await asyncio.sleep(0)
        producing.cancel()


async def test_a_peer_that_sends_more_than_there_is_room_for_is_cut_off():
    """Its caller's memory is bounded whatever it does."""
    handler = Held()
    async with linked(handler) as (_, link):
        stream, first, call = await streaming(handler, link)
        for _ in range(CREDIT_AT_FIRST + 2):
            call.send(b"x")
        await first
        with pytest.raises(Unavailable):
            async for _ in stream:
                pass


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_or_cancelling_a_stream_cancels_the_work(read):
    """While the first response is awaited, and between two."""
    handler = Held()
    async with linked(handler) as (server, link):
        stream, first, call = await streaming(handler, link)
        if read:
            call.send(b"1")
            await first
            await stream.aclose()
        else:
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        while not call.is_cancelled:
            await asyncio.sleep(0)
        assert server.in_flight == link.in_flight == 0
        call.send(b"nobody reads this")
        call.respond(b"nor this")
        assert await link.ask_statistics(NEVER) == b"counted"


async def test_a_deadline_ends_a_stream():
    """It holds for all of its responses."""
    handler = Held()
    async with linked(handler) as (_, link):
        stream, first, call = await streaming(handler, link, Deadline.after(0.05))
        call.send(b"1")
        assert await first == (b"1", False)
        with pytest.raises(DeadlineExceeded):
            await anext(stream)
        while not call.is_cancelled:
            await asyncio.sleep(0)


async def test_a_lost_link_ends_its_streams():
    """As unavailable, after what had arrived."""
    handler = Held()
    async with linked(handler) as (_, link):
        stream, first, call = await streaming(handler, link)
        call.send(b"1")
        assert await first == (b"1", False)
        link.abort("the test pulls the plug")
        with pytest.raises(Unavailable):
            await anext(stream)
        while not call.is_cancelled:
            await asyncio.sleep(0)
        await call.has_room()  # and sending goes nowhere


async def test_a_stream_that_is_read_late_counts_as_answered():
    """What has arrived is its reader's; the link may end."""
    handler = Held()
    async with linked(handler) as (_, link):
        stream, first, call = await streaming(handler, link)
        call.send(b"1")
        call.respond(b"2")
        await first
        while link.in_flight:
            await asyncio.sleep(0)
        link.close()
        await link.gone
        assert await anext(stream) == (b"2", True)


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\0\0"])
async def test_a_malformed_credit_ends_the_link(payload):
    """As any other noise."""
    handler = Held()
    async with linked(handler) as (_, link):
        _, first, _ = await streaming(handler, link)
        link.send(CREDIT, 1, 0, payload)
        with pytest.raises(Unavailable):
            await first


async def test_a_link_that_is_full_makes_its_streams_wait():
    """They wait to be sent, and their deadlines still hold."""
    handler = Held()
    async with linked(handler, Limits(high_water_bytes=1000)) as (server, link):
        (peer,) = server.peers
        peer._transport.pause_reading()
        first = asyncio.create_task(link.call(bytes(8_000_000), NEVER))
        while link._blocked is None:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await anext(link.stream(b"late", Deadline.after(0.02)))
        second = asyncio.create_task(anext(link.stream(b"waits", NEVER)))
        await asyncio.sleep(0)
        peer._transport.resume_reading()
        for _ in range(2):
            (await handler.calls.get()).respond(b"ok")
        assert [await first, await second] == [b"ok", (b"ok", True)]


async def test_a_replica_says_what_it_has_done():
    """Its handler knows."""
    async with linked(Held()) as (_, link):
        assert await link.ask_statistics(Deadline.after(5)) == b"counted"
        assert link.in_flight == 0


async def test_a_loop_that_was_busy_blames_nobody():
    """While nothing could be heard, nothing counts as silence."""
    limits = Limits(ping_interval=0.01, silence=0.05)
    handler = Held()
    async with linked(handler, limits) as (_server, link):
        call = asyncio.create_task(link.call(b"x", NEVER))
        held = await handler.calls.get()
        time.sleep(0.2)
        await asyncio.sleep(0.05)
        held.respond(b"ok")
        assert await call == b"ok"


@pytest.mark.parametrize(("size", "is_open"), [(1 << 25, True), (1 << 10, False)])
async def test_a_peer_that_was_sent_much_may_take_its_time(size, is_open):
    """It cannot answer pings while it takes a large frame in."""
    async with linked_to_mute() as link:
        call = asyncio.create_task(link.call(bytes(size), NEVER))
        await asyncio.sleep(0.2)
        assert link.is_open is is_open
        link.close()
        with pytest.raises(Unavailable):
            await call


async def test_nothing_is_promised_that_the_pace_so_far_does_not_allow():
    """What is promised counts at once, until the next turn of the loop, when it is in flight."""
    handler = Held()
    async with linked(handler) as (_, link):
        link._pace.answered(2.0, 19)
        tasks = [asyncio.create_task(link.call(b"x", NEVER)) for _ in range(20)]
        calls = [await handler.calls.get() for _ in tasks]
        assert not link.promises(2.0)
        assert link.promises(3.7)  # 1.75 times the mean of 2.1 s
        assert not link.promises(3.7)
        assert link.promises(math.inf)
        await asyncio.sleep(0)
        assert link.promises(3.7)
        for call in calls:
            call.respond(b"y")
        assert {bytes(await task) for task in tasks} == {b"y"}


async def test_ends_on_one_machine_are_linked_by_a_unix_socket():
    """Which who listens at a port has beside it; who has none is reached by the port."""
    async with linked(Echo()) as (server, link):
        assert link._transport.get_extra_info("socket").family == socket.AF_UNIX
        server._local.close()
        other = await connect(server.address)
        assert other._transport.get_extra_info("socket").family == socket.AF_INET
        assert bytes(await other.call(b"x", NEVER)) == b"x"
        other.close()


async def test_a_server_that_is_closed_is_found_by_neither_way():
    """Nor does its name stay behind."""
    async with linked(Echo()) as (server, _):
        address = server.address
    with pytest.raises(Unavailable):
        await connect(address)
    again = LinkServer(Hello(), Echo())
    host, _, port = address.rpartition(":")
    await again.start(host, int(port))
    (await connect(address)).close()
    await again.close()


async def test_the_end_of_a_large_message_is_aligned():
    """So that elements which end it are, whatever stands before them."""
    handler = Held()
    async with linked(handler) as (_, link):
        for size in (300_000, 300_001, 4_000_003):
            task = asyncio.create_task(link.call(bytes(size), NEVER))
            call = await handler.calls.get()
            array = np.frombuffer(call.payload, np.uint8)
            assert (array.ctypes.data + array.size) % 64 == 0
            assert not array.flags.writeable
            call.respond(b"y")
            await task
