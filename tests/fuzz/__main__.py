"""The long run: `python -m tests.fuzz --cases 1000000 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_running import Fuzz, Tally, fabric, processes, resident  # the path is made above


async def run(cases: int, seed: int, step: int, workers: int) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        async with fabric(Path(folder)) as running:
            before = await processes(running)
            memory = [resident(before)]
            tally = Tally()
            fuzzes = [Fuzz(running.server, tally) for _ in range(workers)]
            drawn = [random.Random(seed * 1000 + number) for number in range(workers)]
            began = time.monotonic()
            done = 0
            while done < cases:
                share = -(-min(step, cases - done) // workers)
                async with asyncio.TaskGroup() as tasks:
                    for fuzz, r in zip(fuzzes, drawn, strict=True):
                        tasks.create_task(fuzz.run(share, r))
                done = tally.cases
                memory.append(resident(before))
                rate = done / (time.monotonic() - began)
                total = sum(memory[-1].values()) // 1024
                print(
                    f"{done:>9,} cases {rate:>6,.0f}/s {tally.fault_count} faults {total} MiB",
                    flush=True,
                )
            for fuzz in fuzzes:
                await fuzz.close()
            report(tally, memory)
            if tally.faults:
                print((running.logs / "gateway.log").read_text()[-20_000:])
            after = await processes(running)
    if after != before:
        print(f"processes changed: {before} -> {after}")
    return int(bool(tally.fault_count) or after != before)


def report(tally, memory) -> None:
    print("\nanswers")
    for said, count in sorted(tally.answers.items()):
        print(f"{count:>10,}  {said}")
    print("\nresident MiB at the start, at a tenth, at the half and at the end")
    points = (0, max(1, len(memory) // 10), len(memory) // 2, -1)
    for name in memory[0]:
        print(f"  {name:<24}", *(f"{memory[at][name] / 1024:>8.1f}" for at in points))
    print(f"\n{tally.cases:,} cases, {tally.fault_count} faults")
    seen = set()
    for what, got, of in tally.faults:
        if (what, got[:60]) not in seen:
            seen.add((what, got[:60]))
            print(f"  {what}: {got}\n    {of!r}"[:3000])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int, default=20_000, help="cases between two lines")
    parser.add_argument("--workers", type=int, default=2, help="connections at a time")
    args = parser.parse_args()
    sys.exit(asyncio.run(run(args.cases, args.seed, args.step, args.workers)))


if __name__ == "__main__":
    main()
