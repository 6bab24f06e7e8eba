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
    from fabric.pipelines.tracing import op as op
    from fabric.pipelines.tracing.bodies import branch as branch
    from fabric.pipelines.tracing.bodies import cascade as cascade
    from fabric.pipelines.tracing.bodies import each as each
    from fabric.pipelines.tracing.bodies import first as first
    from fabric.pipelines.tracing.bodies import loop as loop
    from fabric.pipelines.tracing.bodies import switch as switch
    from fabric.pipelines.tracing.functions import pipeline as pipeline
    from fabric.pipelines.tracing.functions import tensor as tensor
    from fabric.pipelines.tracing.op import best as best
    from fabric.pipelines.tracing.op import mean as mean
    from fabric.pipelines.tracing.op import vote as vote
    from fabric.pipelines.tracing.op import weighted_mean as weighted_mean
    from fabric.pipelines.tracing.steps import constant as constant
    from fabric.pipelines.tracing.steps import step as step
    from fabric.pipelines.tracing.symbols import Value as Value

__version__ = "0.1.0"

_HOME = {
    "Answer": "fabric.client",
    "AsyncClient": "fabric.client",
    "Client": "fabric.client",
    "FabricError": "fabric.core.errors",
    "Feedback": "fabric.core.decisions",
    "Requirements": "fabric.core.routes",
    "branch": "fabric.pipelines.tracing.bodies",
    "cascade": "fabric.pipelines.tracing.bodies",
    "each": "fabric.pipelines.tracing.bodies",
    "first": "fabric.pipelines.tracing.bodies",
    "loop": "fabric.pipelines.tracing.bodies",
    "switch": "fabric.pipelines.tracing.bodies",
    "pipeline": "fabric.pipelines.tracing.functions",
    "tensor": "fabric.pipelines.tracing.functions",
    "best": "fabric.pipelines.tracing.op",
    "mean": "fabric.pipelines.tracing.op",
    "vote": "fabric.pipelines.tracing.op",
    "weighted_mean": "fabric.pipelines.tracing.op",
    "constant": "fabric.pipelines.tracing.steps",
    "step": "fabric.pipelines.tracing.steps",
    "Value": "fabric.pipelines.tracing.symbols",
    "op": "fabric.pipelines.tracing.op",
}
__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "FabricError",
    "Feedback",
    "Requirements",
    "Value",
    "__version__",
    "best",
    "branch",
    "cascade",
    "constant",
    "each",
    "first",
    "loop",
    "mean",
    "op",
    "pipeline",
    "step",
    "switch",
    "tensor",
    "vote",
    "weighted_mean",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'fabric' has no attribute {name!r}")
        home = import_module(_HOME[name])
        return home if name == "op" else getattr(home, name)
