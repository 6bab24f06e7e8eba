"""How much memory this process holds, and whether that is too much."""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process that are in memory, what it shares with others included."""
    return int(_STATM.read_text().split()[1]) * _PAGE


def excess(limit: int) -> str:
    """What is wrong with holding more than *limit* bytes, in words; empty where it is not so."""
    held = resident()
    if held <= limit:
        return ""
    return f"it holds {held >> 20} MiB of memory, resources.memory allows {limit >> 20} MiB"
