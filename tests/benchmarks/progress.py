"""What the benchmarks say while they run, on stderr."""

from __future__ import annotations

import sys
import time

from rich.console import Console

console = Console(file=sys.stderr, highlight=False)
_began = time.monotonic()


def say(text: str) -> None:
    """One line, behind the seconds since the start."""
    console.print(f"[dim]{time.monotonic() - _began:6.1f} s[/dim]  {text}", soft_wrap=True)
