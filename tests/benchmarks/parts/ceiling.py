"""How close `medium` comes to ONNX Runtime alone, in a loop, at its best batch size.

Both run on one core, the last: the loop by itself, and the replica of the fabric while the gateway,
the load and all else share the others. The loop has the same batch of the same requests in memory,
one thread, and nothing else to do: rows per second of its best size are the ceiling.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from statistics import median

from tests.benchmarks.environments import ROOT
from tests.benchmarks.fabrics import fabric, replica_pids
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C64, run
from tests.benchmarks.measuring import Setup, target
from tests.benchmarks.models import MEDIUM
from tests.benchmarks.processes import Failed, pin
from tests.benchmarks.progress import say

NAME = "ceiling"
SIZES = (1, 2, 4, 8, 16, 32, 64)
_TARGET = 0.85


def measure(setup: Setup) -> Result:
    *others, core = sorted(os.sched_getaffinity(0))
    if not others:
        raise Failed("a core for the model and one for all else are needed, and there is one")
    with fabric([MEDIUM], setup.folder, setup.host) as server:
        replica = replica_pids(server, "medium-first")
        pin(set(server.running.pids()) - set(replica), others)
        pin(replica, [core])
        by_size = _alone(setup, core, SIZES, setup.seconds / 4)
        best = max(by_size, key=by_size.__getitem__)
        say(f"ONNX Runtime alone is best at {best} rows: {by_size[best]:,.0f} rows/s")
        asked = replace(target(server, MEDIUM, setup.folder), cores=frozenset(others))
        ours, alone = [], []
        for _ in range(setup.rounds):
            ours.append(run(asked, C64, setup.seconds).rate)
            alone.append(_alone(setup, core, [best], setup.seconds)[best])
    say(f"medium {C64}: {median(ours):,.0f} req/s, alone {median(alone):,.0f} rows/s")
    ratio = Ratio(
        part=NAME,
        what=f"medium {C64}, requests",
        unit="/s",
        ours=median(ours),
        against="ONNX Runtime alone",
        other=median(alone),
        target=_TARGET,
    )
    return Result([ratio], {"by size": by_size, "best size": best, "ours": ours, "alone": alone})


def _alone(setup: Setup, core: int, sizes: tuple[int, ...] | list[int], seconds: float) -> dict:
    model = str(MEDIUM.write(setup.folder / "models"))
    argv = ["taskset", "-c", str(core), sys.executable, "-m", "tests.benchmarks.alone", model]
    argv += [str(seconds), *map(str, sizes)]
    shown = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if shown.returncode:
        raise Failed(f"ONNX Runtime alone failed: {shown.stderr.strip()[-500:]}")
    return {int(size): rate for size, rate in json.loads(shown.stdout).items()}
