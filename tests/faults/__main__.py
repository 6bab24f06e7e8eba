"""Breaks everything there is, and writes down what became of the requests.

python -m tests.faults            all faults, and the tables in README.md
python -m tests.faults ARGS…      what pytest makes of ARGS; README.md stays as it is
python -m tests.faults --soak     half an hour of faults at random; --soak=MINUTES
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- latest -->\n", "<!-- /latest -->\n"
ALONE = "FAULTS_ALONE"
OWN_NETWORK = (
    shutil.which("unshare") or "unshare",
    *("--net", "--mount", *(("--map-root-user",) if os.geteuid() else ())),
    *("sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
)
"""The command of a process whose loopback may lose packets and whose disks may be full, and nobody
else's."""
ANSWERS = (
    "| fault | right | degraded | refused | lost | longest gap |",
    "|---|---:|---:|---:|---:|---:|",
)
STOPS = ("| who leaves | at work | stopped | the last after |", "|---|---:|---:|---:|")


class Told:
    """What tests have recorded, by fault."""

    def __init__(self) -> None:
        self.rows: dict[str, object] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.rows.update(report.user_properties)


def table(rows: Mapping[str, object]) -> str:
    """Both tables, in the order in which faults were told."""
    answers, stops = list(ANSWERS), list(STOPS)
    for fault, what in rows.items():
        (answers if hasattr(what, "right") else stops).append(f"| {fault} | {what.cells} |")
    cores = f"On {os.cpu_count()} cores, 64 requests in flight.\n"
    return "\n".join((cores, *answers, "", *stops, ""))


def main(arguments: list[str]) -> int:
    told = Told()
    if arguments and arguments[0].startswith("--soak"):
        os.environ["FAULTS_SOAK"] = arguments[0].partition("=")[2] or "30"
        return pytest.main(["-q", str(HERE / "soak.py")])
    if arguments:
        return pytest.main(arguments, plugins=[told])
    if os.environ.get(ALONE) != "yes":
        os.environ[ALONE] = "yes"
        return subprocess.run([*OWN_NETWORK, sys.executable, "-m", "tests.faults"]).returncode
    all_files = "python_files=test_*.py longer.py"
    status = pytest.main(["-q", "-o", all_files, str(HERE)], plugins=[told])
    if status == 0:
        before, _, rest = README.read_text().partition(BEGIN)
        README.write_text(before + BEGIN + table(told.rows) + END + rest.partition(END)[2])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
