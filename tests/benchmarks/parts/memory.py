"""The gateway's memory over ten million requests.

Resident bytes of all its processes, measured fifty times. It is flat when the last is no more than
a twentieth above that after a tenth of the requests, when buffers and caches have been filled.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.fabrics import GATEWAY, fabric
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C64, send
from tests.benchmarks.measuring import Setup, target
from tests.benchmarks.models import MEBI, SMALL
from tests.benchmarks.processes import resident
from tests.benchmarks.progress import say

NAME = "memory"
SAMPLES = 50
_FLAT = 1.05


def measure(setup: Setup) -> Result:
    each = setup.requests // SAMPLES
    with fabric([SMALL], setup.folder, setup.host) as server:
        asked = target(server, SMALL, setup.folder)
        gateway = server.running.pids(GATEWAY)
        sizes = []
        for number in range(1, SAMPLES + 1):
            send(asked, C64, each)
            if server.running.pids(GATEWAY) != gateway:
                raise server.running.failed("the gateway was started again under load")
            sizes.append(resident(gateway) / MEBI)
            if number % (SAMPLES // 10) == 0:
                say(f"{number * each:,} requests: {sizes[-1]:.1f} MiB")
    counts = [number * each for number in range(1, SAMPLES + 1)]
    half = SAMPLES // 2
    slope = float(np.polyfit(np.array(counts[half:]) / 1e6, sizes[half:], 1)[0])
    say(f"in the second half {slope:+.2f} MiB per million requests")
    ratio = Ratio(
        part=NAME,
        what=f"resident after {counts[-1]:,} requests",
        unit="MiB",
        ours=sizes[-1],
        against="after a tenth",
        other=sizes[SAMPLES // 10 - 1],
        target=_FLAT,
        is_limited=True,
    )
    return Result([ratio], {"requests": counts, "MiB": sizes, "slope": slope})
