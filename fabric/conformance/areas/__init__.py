"""The checks, one module for each area."""

from __future__ import annotations

from fabric.conformance.areas import (
    binary,
    data,
    errors,
    health,
    inputs,
    models,
    outputs,
    parameters,
    repository,
    rest,
    rest_errors,
    rest_triton,
    sequences,
    server,
    settings,
    shapes,
    shared_memory,
    statistics,
    streams,
    transport,
    triton,
    versions,
)
from fabric.conformance.checks import gathered

_AREAS = (
    server,
    models,
    data,
    shapes,
    inputs,
    outputs,
    versions,
    parameters,
    errors,
    triton,
    streams,
    sequences,
    repository,
    statistics,
    shared_memory,
    health,
    settings,
    transport,
    rest,
    rest_errors,
    rest_triton,
    binary,
)
CHECKS = gathered(part for area in _AREAS for part in area.PARTS)
