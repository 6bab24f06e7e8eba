"""Scores of several servers in the conformance suite, side by side.

`python -m tests.benchmarks.peers NAME=WHERE ...`, where WHERE is `host:port` of gRPC, with
`,host:port` of REST behind it if that is another; or a command that serves the models which
`fabric conformance --models` writes, with {grpc} and {http} in the place of its ports:

    python -m tests.benchmarks.peers fabric=localhost:8080 \\
        "kserve=python kserve_server.py {grpc} {http}"
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from fabric.conformance.checks import Status
from fabric.conformance.report import dialect, failures
from fabric.conformance.suite import run
from fabric.core.errors import Unavailable

PATIENCE = 240.0
"""Seconds until a server that was started must answer."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def started(command: str, log: Path):
    """The addresses of the server that *command* starts; it ends with the block."""
    grpc, http = free_port(), free_port()
    argv = shlex.split(command.format(grpc=grpc, http=http))
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process, f"127.0.0.1:{grpc}", f"127.0.0.1:{http}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def score(address: str, http: str, process: subprocess.Popen | None = None):
    """The report of the server at *address*, once all of it answers."""
    until = time.monotonic() + PATIENCE
    while process is not None:
        with contextlib.suppress(Unavailable):
            if (await run(address, http=http, only="server.ready")).count(Status.PASS):
                break
        if time.monotonic() > until or process.poll() is not None:
            raise Unavailable(f"nobody answers at {address}")
        await asyncio.sleep(1)
    return await run(address, http=http)


def score_of(where: str, log: Path):
    if " " not in where:
        address, _, http = where.partition(",")
        return asyncio.run(score(address, http))
    with started(where, log) as (process, address, http):
        return asyncio.run(score(address, http, process))


def table(reports) -> str:
    """Checks passed of checks counted, by area, as Markdown."""
    areas = dict.fromkeys(area for report in reports.values() for area in report.areas)
    lines = ["| area | " + " | ".join(reports) + " |", "|---" * (len(reports) + 1) + "|"]
    for area in (*areas, ""):
        cells = []
        for report in reports.values():
            passed = report.count(Status.PASS, area)
            counted = passed + report.count(Status.FAIL, area) + report.count(Status.ERROR, area)
            offered = f" ({n} not offered)" if (n := report.count(Status.NOT_OFFERED, area)) else ""
            cells.append(f"{passed}/{counted}{offered}")
        lines.append(f"| {area or '**all**'} | " + " | ".join(cells) + " |")
    rows = {name: dict(dialect(report)[1]) for name, report in reports.items()}
    for what in next(iter(rows.values())):
        lines.append(f"| {what} | " + " | ".join(row.get(what, "") for row in rows.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("servers", nargs="+", metavar="NAME=WHERE")
    parser.add_argument("--logs", type=Path, default=Path.cwd(), help="folder for their logs")
    parser.add_argument("--failures", action="store_true", help="print each failure too")
    args = parser.parse_args()
    reports = {}
    for server in args.servers:
        name, _, where = server.partition("=")
        try:
            reports[name] = score_of(where, args.logs / f"{name}.log")
        except Unavailable as error:
            sys.stderr.write(f"{name}: {error.message}\n")
            continue
        if args.failures:
            for rule, _, _, expected, got in failures(reports[name])[1]:
                print(f"{name}: {rule}: expected {expected[:200]}; got {got[:200]}")
    if reports:
        print(table(reports))


if __name__ == "__main__":
    main()
