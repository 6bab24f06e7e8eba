"""`python -m fabric.control.study ROUTE`: what there is to learn of a route, written to stdout.

A process of its own, so that the control plane's loop goes on. It reads the store that FABRIC_STORE
names and changes nothing; it ends when its input closes, which the control plane holds open.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from fabric.control.rows import labelled
from fabric.control.settings import ControlSettings
from fabric.control.store import opened
from fabric.core.decisions import Record
from fabric.core.errors import FabricError, NotFound
from fabric.learning.studying import TIME, Studied, study
from fabric.processes import from_environ
from fabric.wire.cards import from_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.api.routing.v1 import learning_service_pb2 as pb
    from fabric.control.store import Stored
    from fabric.learning.studying import Trainer

_NICENESS = 10
_MOST = 20_000
"""Requests that are learned from, the latest of those of which something was said."""


async def _read(url: str, name: str) -> tuple[Stored, list[pb.Record]]:
    async with opened(url) as store:
        stored = await store.read()
        async with store.transaction() as connection:
            return stored, await labelled(connection, name, _MOST)


def studied(url: str, name: str, train: Trainer) -> Studied:
    """What *train* makes of the records of the route *name* in the store at *url*.

    Raises:
        NotFound: there is no such route that learns.
        Unavailable: the database does not answer.
    """
    now = time.strftime(TIME, time.gmtime())
    stored, found = asyncio.run(_read(url, name))
    route = next((route for route in stored.routes if route.name == name), None)
    if route is None or route.learning is None:
        raise NotFound(f"there is no route {name!r} that learns")
    cards = {e.specialist.key: e.specialist.card for e in stored.specialists if e.declared}
    policies = sorted((p for p in stored.policies if p.route == name), key=lambda p: -p.version)
    records = [from_message(each, Record) for each in found]
    return study(route, policies, records, cards, train, now)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def run(trainer: Callable[[], Trainer]) -> int:
    """Writes what the trainer that *trainer* loads makes of the route on the command line."""
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no part of the result
    try:
        result = studied(from_environ(ControlSettings).store, sys.argv[1], trainer())
    except (FabricError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with output:
        output.write(result.write())
    return 0


def _ours() -> Trainer:
    from fabric.learning.training import fit

    return fit


if __name__ == "__main__":
    sys.exit(run(_ours))
