"""Settings of a gateway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GatewaySettings:
    """Read from `FABRIC_LISTEN` and so on, see `fabric.processes`."""

    listen: str = "127.0.0.1:8080"
    """`host:port` for everything public."""
    control: str = "127.0.0.1:9090"
    """`host:port` of the control plane."""
    shares_port: bool = False
    """Whether several gateways listen there, each for some of the connections; a new one does once
    it can answer."""
    name: str = "fabric"
    """What the server calls itself."""
    region: str = ""
    """Where it runs: specialists of the same region are near to it."""
    strict: bool = False
    """Whether the server is ready only while every model that is to be loaded is; else it is from
    when each could be asked, or has failed, for the first time."""
    dialect: str = "triton"
    """Where a call names none by the metadata `fabric-dialect`: `triton`, or `mlserver`, in which
    typed requests have typed answers, and ModelStreamInfer sends answers bare and ends with the
    first error."""
    max_message_bytes: int = 2**31 - 1
    """Larger requests are refused."""
    max_held_bytes: int = 4 << 30
    """Of large requests, all together; while there is no room for one its sender is held back."""
    patience: float = 60.0
    """Seconds without a byte after which a request that has begun is given up."""
    max_inflated_bytes: int = 1 << 28
    """Of what comes out of a compressed request, which may be a thousand times as large."""
    cache: int = 1 << 26
    """Bytes of answers that are kept, of specialists whose cards allow it; 0 for none."""
    shared_memory: bool = False
    """Whether clients on this machine may pass tensors in its shared memory."""
    cors_origins: tuple[str, ...] = ()
    """Whose pages browsers let call, such as `https://example.org`; `*` for everybody's."""
    drain: float = 10.0
    """Seconds for finishing what is in flight on SIGTERM."""

    def __post_init__(self) -> None:
        check_dialect(self.dialect)


def check_dialect(dialect: str) -> None:
    """Raises ValueError unless there is such a dialect."""
    if dialect not in ("triton", "mlserver"):
        raise ValueError(f"dialect is {dialect!r}; use triton or mlserver")
