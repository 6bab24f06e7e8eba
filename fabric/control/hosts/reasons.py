"""Why a replica failed, in one line, from what it or Ray Serve said at length."""

from __future__ import annotations

import json
import re
from typing import Any

LIMIT = 600
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:: (?!Traceback \(most recent call last\)).*)?")
_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')


def reason_of(text: str) -> str:
    """What was raised last, and where; without a traceback, the last line. Empty for nothing."""
    lines = [line for each in _ANSI.sub("", text).splitlines() for line in _plain(each)]
    where = ""
    raised = ""
    for line in lines:
        if frame := _FRAME.match(line):
            where = f" ({frame['file'].rpartition('/')[2]}:{frame['line']} in {frame['function']})"
        elif where and _RAISED.fullmatch(line):
            raised = line + where
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return (raised or last)[:LIMIT]


def _plain(line: str) -> list[str]:
    """The lines that a line of a JSON log stands for; any other line as it is."""
    try:
        entry: Any = json.loads(line) if line.startswith("{") else None
    except json.JSONDecodeError:
        entry = None
    if not isinstance(entry, dict) or "message" not in entry:
        return [line.rstrip()]
    return f"{entry.get('exception', '')}\n{entry['message']}".strip().splitlines()
