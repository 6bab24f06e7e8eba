"""What a host of processes does next: decided from what is wanted and what runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

PATIENCE = 30.0


@dataclass(frozen=True)
class Running:
    """A process that is not on its way out."""

    pid: int
    key: str
    is_current: bool
    """It was started with what is declared now."""
    is_ready: bool


@dataclass(frozen=True)
class Steps:
    starts: tuple[str, ...]
    """Keys of the specialists to start a replica of, one for each."""
    stops: tuple[int, ...]
    """Processes to stop."""


def next_steps(
    wanted: Mapping[str, int], running: Iterable[Running], held: Collection[str] = ()
) -> Steps:
    """Brings the processes of every specialist to the number wanted; those *held* do not start.

    Where the declaration has changed, one more than wanted runs, and an older one goes for every
    new one that is ready: with a new one that never gets ready, the older ones stay.
    """
    by_key: dict[str, list[Running]] = {key: [] for key in wanted}
    for process in running:
        by_key.setdefault(process.key, []).append(process)
    starts: list[str] = []
    stops: list[int] = []
    for key, processes in by_key.items():
        count = wanted.get(key, 0)
        processes.sort(key=lambda process: not process.is_ready)
        current = [process for process in processes if process.is_current]
        older = [process for process in processes if not process.is_current]
        ready = sum(process.is_ready for process in current)
        stops += [process.pid for process in current[count:]]
        stops += [process.pid for process in older[max(0, count - ready) :]]
        room = count + bool(older) - len(processes)
        if key not in held:
            starts += [key] * max(0, min(count - len(current), room))
    return Steps(tuple(starts), tuple(stops))


def pause(failures: int) -> float:
    """Seconds from the last of so many failures in a row to the next start."""
    return 0.0 if failures <= 1 else min(PATIENCE, 0.5 * 2.0 ** min(failures - 2, 16))
