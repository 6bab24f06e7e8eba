"""A pipeline as a Python function: it is called once, with values that stand for what there will
be, and the graph is what it did with them.
"""

from fabric.pipelines.tracing.functions import Traced
from fabric.pipelines.tracing.graphs import TracingError

__all__ = ["Traced", "TracingError"]
