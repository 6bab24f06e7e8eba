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
    from fabric.pipelines import op as op
    from fabric.pipelines.flows import branch as branch
    from fabric.pipelines.flows import cascade as cascade
    from fabric.pipelines.flows import each as each
    from fabric.pipelines.flows import first as first
    from fabric.pipelines.flows import loop as loop
    from fabric.pipelines.flows import switch as switch
    from fabric.pipelines.functions import pipeline as pipeline
    from fabric.pipelines.functions import tensor as tensor
    from fabric.pipelines.op import best as best
    from fabric.pipelines.op import mean as mean
    from fabric.pipelines.op import vote as vote
    from fabric.pipelines.op import weighted_mean as weighted_mean
    from fabric.pipelines.steps import constant as constant
    from fabric.pipelines.steps import step as step
    from fabric.pipelines.symbols import Value as Value

__version__ = "0.1.0"

_HOME = {
    "Answer": "fabric.client",
    "AsyncClient": "fabric.client",
    "Client": "fabric.client",
    "FabricError": "fabric.core.errors",
    "Feedback": "fabric.core.decisions",
    "Requirements": "fabric.core.routes",
    "branch": "fabric.pipelines.flows",
    "cascade": "fabric.pipelines.flows",
    "each": "fabric.pipelines.flows",
    "first": "fabric.pipelines.flows",
    "loop": "fabric.pipelines.flows",
    "switch": "fabric.pipelines.flows",
    "pipeline": "fabric.pipelines.functions",
    "tensor": "fabric.pipelines.functions",
    "best": "fabric.pipelines.op",
    "mean": "fabric.pipelines.op",
    "vote": "fabric.pipelines.op",
    "weighted_mean": "fabric.pipelines.op",
    "constant": "fabric.pipelines.steps",
    "step": "fabric.pipelines.steps",
    "Value": "fabric.pipelines.symbols",
    "op": "fabric.pipelines.op",
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
