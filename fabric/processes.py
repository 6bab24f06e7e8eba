"""What every process of a fabric does the same: settings, the lifeline, a clean end.

A *lifeline* is the reading end of a pipe whose writing end only the supervisor holds. Processes
hand it on to those that they start, so that all of them see it close when the supervisor is gone,
however it went, and none of them when only their parent was.

By its *pulse* a process shows the supervisor that it does not hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

LIFELINE = "FABRIC_LIFELINE"
"""The environment variable with the lifeline's file descriptor."""
PULSE = "FABRIC_PULSE"
"""The environment variable with the file descriptor that `beating` writes to."""
BEAT = 0.5
"""Seconds."""
PYTHON_PATH = "FABRIC_PYTHON_PATH"
"""The environment variable with the folders that replicas look for Python specialists in, last."""

MODELS = "FABRIC_MODELS"
"""The environment variable with the folder that replicas keep copies of far models in."""


def to_environ(settings: Any) -> dict[str, str]:
    """The dataclass *settings* as `FABRIC_<FIELD>` variables, JSON where it is not a text."""
    return {
        f"FABRIC_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in asdict(settings).items()
        if value is not None
    }


def from_environ(cls: type[T], environ: Mapping[str, str] = os.environ) -> T:
    """The settings that `to_environ` wrote, or an operator did; what is unset keeps its default.

    Raises:
        ValueError: a variable has no value of the field's type, or a required one is missing.
    """
    values: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        name = f"FABRIC_{field.name.upper()}"
        if (text := environ.get(name)) is None:
            continue
        try:
            values[field.name] = text if field.type == "str" else json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}={text!r} is not a valid {field.type}") from error
    try:
        return cls(**values)
    except TypeError as error:
        names = ", ".join(f"FABRIC_{field.name.upper()}" for field in fields(cls))  # type: ignore[arg-type]
        raise ValueError(f"{error}; settings are read from {names}") from error


@contextlib.contextmanager
def beating() -> Iterator[None]:
    """Shows whoever started this process, if they look, that its event loop turns."""
    if (given := os.environ.pop(PULSE, None)) is None:
        yield
        return
    loop, descriptor = asyncio.get_running_loop(), int(given)
    timer: asyncio.Handle
    os.set_inheritable(descriptor, False)

    def beat() -> None:
        nonlocal timer
        with contextlib.suppress(OSError):  # nobody has looked for long, or will any more
            os.write(descriptor, b".")
        timer = loop.call_later(BEAT, beat)

    timer = loop.call_soon(beat)
    try:
        yield
    finally:
        timer.cancel()


async def until_told_to_stop() -> None:
    """Returns on SIGTERM, on SIGINT, or when the lifeline closes. A second signal is not caught."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    release = on_lifeline_closed(stopped.set)
    try:
        await stopped.wait()
    finally:
        release()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def on_lifeline_closed(callback: Callable[[], None]) -> Callable[[], None]:
    """Calls *callback* once when the lifeline closes; without one, never. Returns the undoing."""
    if LIFELINE not in os.environ:
        return lambda: None
    loop = asyncio.get_running_loop()
    descriptor = int(os.environ[LIFELINE])

    def closed() -> None:
        loop.remove_reader(descriptor)
        callback()

    def release() -> None:
        loop.remove_reader(descriptor)

    loop.add_reader(descriptor, closed)
    return release


def inherited() -> tuple[int, ...]:
    """The descriptors that a child must inherit: the lifeline, where there is one."""
    return (int(os.environ[LIFELINE]),) if LIFELINE in os.environ else ()


async def stop(process: asyncio.subprocess.Process, patience: float) -> None:
    """Ends *process*: SIGTERM, then after *patience* seconds SIGKILL; returns when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
