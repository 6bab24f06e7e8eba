"""fabric serves a portfolio of specialist models and finds the right one for each request.

Every process of a fabric imports this package, replicas included, so it holds plain names only:
what a user of the SDK needs is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabric.client import Answer as Answer
    from fabric.client import AsyncClient as AsyncClient
    from fabric.client import Client as Client
    from fabric.core.decisions import Feedback as Feedback
    from fabric.core.errors import FabricError as FabricError
    from fabric.core.routes import Requirements as Requirements

__version__ = "0.1.0"

_HOME = {
    "Answer": "fabric.client",
    "AsyncClient": "fabric.client",
    "Client": "fabric.client",
    "FabricError": "fabric.core.errors",
    "Feedback": "fabric.core.decisions",
    "Requirements": "fabric.core.routes",
}
__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "FabricError",
    "Feedback",
    "Requirements",
    "__version__",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'fabric' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)
