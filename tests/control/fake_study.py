"""A study with a trainer that does as the environment variable STUDY says."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from fabric.control import study
from fabric.routing.learned import STAGES, Learned, Prior


def trainer():
    return getattr(sys.modules[__name__], os.environ.get("STUDY", "knows_means"))


def knows_means(table, **_):
    """As the real one, which takes seconds to load, where it has little to go by."""
    means = np.nan_to_num(np.nanmean(table.quality, axis=0), nan=0.5)
    weights = np.zeros((len(STAGES), 2))
    weights[0] = 1.0
    return Learned(
        candidates=table.candidates,
        best=table.candidates[int(means.argmax())],
        prior=Prior({("", ""): 0}, means[None].astype(np.float32)),
        weights=weights,
        offset=np.zeros(len(means)),
        curve=np.array([[0.0, 1.0], [0.0, 1.0]]),
        margin=float("inf"),
        report={"labels": len(table.queries)},
    )


def hangs(table, **_):
    time.sleep(600)


def fails(table, **_):
    raise ZeroDivisionError("no labels at all")


def dies(table, **_):
    os._exit(7)


def prints(table, **options):
    print("as libraries do")  # noqa: T201
    return knows_means(table, **options)


def gives_nonsense(table, **_):
    return SimpleNamespace(report={}, write=lambda: b"nonsense")


def gives_too_much(table, **options):
    learned = replace(knows_means(table, **options), report={"noise": os.urandom(9 << 20).hex()})
    return SimpleNamespace(report={}, write=learned.write)


if __name__ == "__main__":
    sys.exit(study.run(trainer))
