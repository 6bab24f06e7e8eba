"""The one request path: plan, attempts, answer."""

from fabric.dispatch.dispatcher import Dispatcher, Tally
from fabric.dispatch.invoking import Invoker, Observe

__all__ = ["Dispatcher", "Invoker", "Observe", "Tally"]
