"""ONNX Runtime alone in a loop: `python -m … FILE SECONDS SIZE…` prints rows per second by size."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime

from tests.benchmarks.models import MEDIUM


def rows_per_second(session: onnxruntime.InferenceSession, size: int, seconds: float) -> float:
    inputs = {"x": np.concatenate([sample["x"] for sample in MEDIUM.samples(size)])}
    session.run(["y"], inputs)
    start, runs = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        session.run(["y"], inputs)
        runs += 1
    return runs * size / elapsed


def main(file: str, seconds: str, *sizes: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    rates = {size: rows_per_second(session, int(size), float(seconds)) for size in sizes}
    sys.stdout.write(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
