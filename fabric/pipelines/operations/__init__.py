"""Tensor operations that need no model, by name. Numpy's semantics, typed.

To rename a value needs none: whoever takes it refers to it under a name of its own.
"""

from __future__ import annotations

from fabric.pipelines.operations import (
    arithmetic,
    combining,
    converting,
    listing,
    reducing,
    shaping,
)
from fabric.pipelines.operations.registry import (
    OPERATIONS,
    Input,
    Operation,
    Parameter,
    Run,
    Takes,
)

__all__ = [
    "OPERATIONS",
    "Input",
    "Operation",
    "Parameter",
    "Run",
    "Takes",
    "arithmetic",
    "combining",
    "converting",
    "listing",
    "reducing",
    "shaping",
]
