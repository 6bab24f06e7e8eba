"""A collector of telemetry that takes everything and keeps nothing: `python -m … PORT`."""

from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc


class Sink(grpc.GenericRpcHandler):
    """Answers every call with an empty message, which is what a collector says that took all."""

    def __init__(self) -> None:
        self.calls = 0
        self.size = 0

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._take)

    def _take(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        self.size += len(message)
        return b""


def main(port: str) -> None:
    sink, told = Sink(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((sink,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    told.wait()
    server.stop(None).wait()
    sys.stderr.write(f"took {sink.calls} exports of {sink.size} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1])
