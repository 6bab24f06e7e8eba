"""The load generator's own HTTP/2, against h2's."""

from __future__ import annotations

import select
import socket

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from tests.benchmarks.http2 import NO_STATUS, Connection
from tests.benchmarks.processes import Failed

PATH = "/a/B"
BODIES = (b"first", bytes(40_000))


class H2Server:
    """A server by h2 that hears a `Connection` and answers when it is told to."""

    def __init__(self, timeout=""):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            self.client = Connection(address, PATH, BODIES, timeout)
            self._socket, _ = listening.accept()
        self._socket.settimeout(5)
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.headers, self.bodies, self.ended = {}, {}, []
        self.send()

    def send(self):
        self._socket.sendall(self.h2.data_to_send())

    def hear(self, streams):
        """Returns when so many requests have ended."""
        while len(self.ended) < streams:
            self.client.flush()
            for event in self.h2.receive_data(self._socket.recv(1 << 16)):
                if isinstance(event, RequestReceived):
                    self.headers[event.stream_id] = dict(event.headers)
                    self.bodies[event.stream_id] = b""
                elif isinstance(event, DataReceived):
                    self.bodies[event.stream_id] += event.data
                elif isinstance(event, StreamEnded):
                    self.ended.append(event.stream_id)
        self.send()

    def answer(self, stream, status):
        self.h2.send_headers(stream, [(":status", "200")])
        self.h2.send_data(stream, b"answer")
        self.h2.send_headers(stream, [("grpc-status", str(status))], end_stream=True)
        self.send()

    def receive(self):
        """The next calls that end for the client."""
        ended = []
        while not ended:
            select.select([self.client], (), (), 5)
            ended = self.client.receive()
        return ended

    def close(self):
        self.client.close()
        self._socket.close()


@pytest.fixture
def server():
    made = H2Server(timeout="50m")
    yield made
    made.close()


def test_requests_arrive_whole_and_in_turn(server):
    """Bodies take turns, large ones in frames as large as they may be."""
    for call in range(2):
        server.client.begin(call)
    server.hear(2)
    assert [server.bodies[stream] for stream in (1, 3)] == list(BODIES)
    assert server.headers[1][b":path"] == PATH.encode()
    assert server.headers[1][b"grpc-timeout"] == b"50m"


def test_calls_end_with_the_statuses_of_their_trailers(server):
    """In whatever order the answers come."""
    for call in (0, 2):
        server.client.begin(call)
    server.hear(2)
    server.answer(3, 8)
    assert server.receive() == [(2, 8)]
    server.answer(1, 0)
    assert server.receive() == [(0, 0)]


def test_a_call_waits_for_the_window_of_the_server(server):
    """65,535 bytes are open: one large body, and then none until there is room."""
    for call in (1, 3):
        server.client.begin(call)
    server.hear(1)
    assert list(server.bodies) == [1]
    server.h2.increment_flow_control_window(40_000)
    server.answer(1, 0)
    assert server.receive() == [(1, 0)]
    server.hear(2)
    assert len(server.bodies[3]) == len(BODIES[1])


def test_a_stream_that_is_reset_has_ended(server):
    """Without a status of its own."""
    server.client.begin(0)
    server.hear(1)
    server.h2.reset_stream(1)
    server.send()
    assert server.receive() == [(0, NO_STATUS)]


def test_a_server_that_hangs_up_fails_the_run(server):
    """Half a run is none."""
    server.client.begin(0)
    server.hear(1)
    server._socket.close()
    with pytest.raises((Failed, ConnectionResetError)):
        server.receive()
