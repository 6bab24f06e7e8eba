"""A study with a trainer that does as the environment variable STUDY says."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

from fabric.control import study


def trainer():
    return getattr(sys.modules[__name__], os.environ.get("STUDY", "fits"))


def fits(table, **options):
    from fabric.learning.training import fit  # which takes seconds to load

    return fit(table, **options)


def hangs(table, **_):
    time.sleep(600)


def fails(table, **_):
    raise ZeroDivisionError("no labels at all")


def dies(table, **_):
    os._exit(7)


def prints(table, **options):
    print("as libraries do")  # noqa: T201
    return fits(table, **options)


def gives_nonsense(table, **_):
    return SimpleNamespace(report={}, write=lambda: b"nonsense")


def gives_too_much(table, **options):
    learned = replace(fits(table, **options), report={"noise": os.urandom(9 << 20).hex()})
    return SimpleNamespace(report={}, write=learned.write)


if __name__ == "__main__":
    sys.exit(study.run(trainer))
