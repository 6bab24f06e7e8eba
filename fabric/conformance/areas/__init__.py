"""The checks, one module for each area."""

from __future__ import annotations

from fabric.conformance.areas import (
    data,
    errors,
    inputs,
    models,
    outputs,
    parameters,
    sequences,
    server,
    streams,
    triton,
    versions,
)
from fabric.conformance.checks import gathered

_AREAS = (
    server,
    models,
    data,
    inputs,
    outputs,
    versions,
    parameters,
    errors,
    triton,
    streams,
    sequences,
)
CHECKS = gathered(part for area in _AREAS for part in area.PARTS)
