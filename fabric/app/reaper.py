"""`python -m fabric.app.reaper DIRECTORY`: ends what a killed supervisor leaves behind.

Children see the lifeline close and end by themselves; Ray's processes do not watch it, and nobody
else clears the scratch folder and the record away.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from fabric.app.family import LEAVING
from fabric.app.state import State, read
from fabric.core.errors import Conflict
from fabric.processes import on_lifeline_closed

_PAUSE = 0.02
"""Seconds between looks at whether the supervisor is gone."""


async def main(directory: Path) -> None:
    """Returns when the lifeline has closed, and nothing of its fabric is left if it was killed."""
    closed = asyncio.Event()
    on_lifeline_closed(closed.set)
    await closed.wait()
    while (record := read(directory)) is not None and record.supervisor.is_alive:
        await asyncio.sleep(_PAUSE)  # a process that is killed closes its files before it is gone
    if record is None:
        return
    await record.family.gone(LEAVING)
    with contextlib.suppress(Conflict):  # another supervisor has come and does it
        State(directory).release(keep_logs=False)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
