"""What telemetry costs: two fabrics, one of which sends spans at the default sampling."""

from __future__ import annotations

from tests.benchmarks.fabrics import fabric
from tests.benchmarks.figures import Ratio, Result
from tests.benchmarks.h2load import C64, run
from tests.benchmarks.measuring import Setup, alternating, summary, target, told
from tests.benchmarks.models import SMALL
from tests.benchmarks.progress import say

NAME = "telemetry"


def measure(setup: Setup) -> Result:
    with (
        fabric([SMALL], setup.folder, "local", name="on") as on,
        fabric([SMALL], setup.folder, "local", name="off", telemetry=False) as off,
    ):
        runs = alternating(
            setup.rounds,
            [on, off],
            lambda server: run(target(server, SMALL, setup.folder), C64, setup.seconds),
        )
    figures = {name: summary(each) for name, each in runs.items()}
    for name, each in figures.items():
        say(f"telemetry {name}: {told(each)}")
    taken = (setup.folder / "on" / "sink.log").read_text().strip()
    say(f"the collector {taken}")
    ratio = Ratio(
        part=NAME,
        what=f"small {C64} with telemetry, requests",
        unit="/s",
        ours=figures["on"]["rate"],
        against="without",
        other=figures["off"]["rate"],
    )
    return Result([ratio], {**figures, "collector": taken})
