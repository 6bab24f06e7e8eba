"""A gateway's view with a pool that answers as it is told, for tests of what it decides."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.changes import Changes, Hosted
from fabric.core.deadlines import Deadline
from fabric.core.errors import SpecialistFailed
from fabric.core.policies import Policy
from fabric.core.replicas import Status
from fabric.core.requests import InferRequest
from fabric.core.routes import Content, Preferences, Route
from fabric.gateway.view import View
from fabric.routing.learned import Learned, Prior
from fabric.testing import FakeInvoker
from fabric.wire.tensors import encode_inputs, to_raw


class Pool(FakeInvoker):
    """A `ReplicaPool` of one replica for each specialist but those in `away`."""

    def __init__(self, **answers):
        super().__init__(**answers)
        self.away = set()
        self.on_change = lambda: None
        self.payloads = []
        self.tenants = {}
        """For whom each was asked last."""

    def limit(self, specialists):
        pass

    def sync(self, replicas):
        """There are no links."""

    def linked(self, key):
        return self.count(key)

    def count(self, key):
        return int(key not in self.away)

    def _answer(self, card, request, deadline):
        self.payloads.append((card.name, request.payload))
        self.tenants[card.name] = request.tenant
        return super()._answer(card, request, deadline)


def route(*chain, **said):
    """A route named r, ranked by quality, and by similarity where it has content."""
    weights = {"quality": 1.0, "latency": 0.0, "cost": 0.0}
    if said.get("content"):
        weights["similarity"] = 1.0
    preferences = Preferences(preset="quality", weights=weights)
    return Route(name="r", order="scored", **{"preferences": preferences, **said})


def policy(version=1, /, lost="", data=None, **success):
    """A policy by which candidates succeed with these probabilities, whatever the request is.

    The best of them is the first that is named.
    """
    names = tuple(f"{name}:1" for name in success)
    curve = np.array([[0.0, 1.0], [0.0, 1.0]])
    prior = Prior({("", ""): 0}, np.array([list(success.values())], np.float32))
    made = Learned(
        candidates=names,
        best=names[0] if names else "",
        prior=prior,
        weights=np.array([[1.0, 1.0]] + [[0.0, 0.0]] * 3),
        offset=np.zeros(len(names)),
        curve=curve,
        margin=0.1,
    )
    return Policy(route="r", version=version, data=data or made.write(), lost=lost)


def view_of(*resources, pool=None, policies=()):
    """A view of a catalog with *resources* and *policies*."""
    view = View(pool or Pool())
    change(view, *resources, policies=policies)
    return view


def change(view, *resources, policies=()):
    view.catalog.update(
        Changes(
            revision=view.catalog.revision + 1,
            specialists=tuple(Hosted(r, Status()) for r in resources if hasattr(r, "hosting")),
            routes=tuple(r for r in resources if hasattr(r, "chain")),
            policies=tuple(policies),
        )
    )
    view.changed()


@contextlib.asynccontextmanager
async def kept(view):
    """*view* keeps up with its catalog; what there is has been read."""
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(view.decisions.keep())
        try:
            yield
        finally:
            keeping.cancel()


def request(text="", name="x", **tensors):
    """Of the route r, with *text* as the input *name*, and other *tensors*."""
    message = ModelInferRequest(model_name="r")
    texts = {} if text is None else {name: np.array([text.encode()], np.object_)}
    encode_inputs(message, texts | tensors)
    return InferRequest("r", "", message.SerializeToString())


def embedded(*numbers, name="y"):
    """The answer of an encoder."""
    array = np.array([numbers], np.float32)
    message = ModelInferResponse()
    message.outputs.add(name=name, datatype="FP32", shape=array.shape)
    message.raw_output_contents.append(to_raw(array, "FP32"))
    return message.SerializeToString()


async def ask(view, asked=None, seconds=5.0):
    """The answer and the record of one request."""
    asked = asked or request("hello")
    deadline = Deadline.after(seconds)
    view.dispatcher.admit(asked, deadline)
    answer = await view.decisions.infer(asked, deadline)
    return answer, view.records.find(asked.request)


CONTENT = Content(input="x")
BY_ENCODER = Content(input="x", encoder="e")
ILL = SpecialistFailed("it is ill", replica="e/0")
