"""Every call that a client can make, as data: what is sent, and how the response is read.

Both clients are made of these functions, so each call is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from google.protobuf.message import Message

from fabric.api.catalog.v1 import card_pb2
from fabric.api.catalog.v1 import catalog_service_pb2 as catalog_pb2
from fabric.api.inference.v2 import extensions_pb2
from fabric.api.inference.v2 import open_inference_pb2 as oip
from fabric.api.pipelines.v1 import pipeline_pb2, pipelines_service_pb2
from fabric.api.routing.v1 import learning_service_pb2 as learning_pb2
from fabric.api.routing.v1 import route_pb2, routing_service_pb2
from fabric.catalog.declaring import Action, Change
from fabric.client.results import (
    Answer,
    Applied,
    Explanation,
    Metadata,
    Resource,
    Trained,
)
from fabric.core.changes import Changes, Key, Kind
from fabric.core.decisions import Feedback, Record
from fabric.core.errors import InvalidRequest
from fabric.core.health import SpecialistHealth
from fabric.core.routes import Requirements, Route
from fabric.core.runs import PipelineRun, Profile
from fabric.core.tensors import TensorSpec
from fabric.wire import parameters as names
from fabric.wire.cards import from_message, to_message
from fabric.wire.changes import from_key, from_resource, from_watch, to_key
from fabric.wire.reserved import SEQUENCE_ID
from fabric.wire.tensors import decode_outputs, encode_inputs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fabric.core.cards import Specialist
    from fabric.core.pipelines import Pipeline
    from fabric.core.requests import Parameter

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_OIP = "/inference.GRPCInferenceService/"
_CATALOG = "/fabric.api.catalog.v1.CatalogService/"
_ROUTING = "/fabric.api.routing.v1.RoutingService/"
_PIPELINES = "/fabric.api.pipelines.v1.PipelinesService/"
_LEARNING = "/fabric.api.routing.v1.LearningService/"
_TOGETHER = 1_000
_WHO_ANSWERED = (
    names.SPECIALIST,
    names.VERSION,
    names.ROUTE,
    names.REPLICA,
    names.CONFIDENCE,
    names.MIXTURE,
    names.PIPELINE,
    names.STEPS,
    names.ATTEMPTS,
    names.FALLBACK,
    names.CACHED,
    names.AGE,
    names.FAILED,
    names.REQUEST,
)


@dataclass(frozen=True)
class Call(Generic[M, T]):
    """One call: `read` makes its result of the `response`, or of each one of a stream."""

    method: str
    request: Message
    response: type[M]
    read: Callable[[M], T]
    timeout: float | None = 30.0
    again: bool = False
    """Whether it may be made again where it is not known what became of it."""


# ------------------------------------------------------------------ inference
def infer(
    name: str,
    inputs: Mapping[str, ArrayLike],
    *,
    version: str = "",
    requirements: Requirements | Mapping[str, Parameter] | None = None,
    timeout: float | None = None,
    substitute: bool = True,
    idempotent: bool = True,
    parameters: Mapping[str, Parameter] | None = None,
    id: str = "",
    outputs: Iterable[str] = (),
) -> Call[oip.ModelInferResponse, Answer]:
    """The answer of a specialist or a route to *inputs*, arrays by name.

    Args:
        version: Of the specialist; empty for the latest.
        requirements: What an answer must come from, beyond the route's own requirements; a mapping
            has the keys task, domain, language, modality, owner, region, data_classes, versions,
            max_cost, max_latency, min_quality ("accuracy>=0.9"), expression and label.<key>.
        timeout: Seconds; without one the route's or the specialist's own holds.
        substitute: Whether another candidate than the first may answer.
        idempotent: Whether nothing is lost if it is answered twice; if not, it is not asked again
            where a model may have begun, nor sent again where the gateway was lost. Requests of
            sequences are not sent again either.
        parameters: Passed on to the specialist.
        outputs: Names of those wanted; none for all.

    Raises:
        FabricError: of the class that says why there is no answer.
    """
    request = oip.ModelInferRequest(model_name=name, model_version=version, id=id)
    asked = names.to_parameters(_requirements(requirements))
    for key, value in {**(parameters or {}), **asked}.items():
        names.set_value(request.parameters[key], value)
    for parameter, allowed in ((names.SUBSTITUTE, substitute), (names.IDEMPOTENT, idempotent)):
        if not allowed:
            names.set_value(request.parameters[parameter], False)
    for output in outputs:
        request.outputs.add(name=output)
    encode_inputs(request, {key: np.asarray(value) for key, value in inputs.items()})
    again = not {names.IDEMPOTENT, SEQUENCE_ID} & request.parameters.keys()
    return Call(_OIP + "ModelInfer", request, oip.ModelInferResponse, _answer, timeout, again)


def _answer(response: oip.ModelInferResponse) -> Answer:
    said = {name: names.value_of(value) for name, value in response.parameters.items()}
    who: dict[str, Any] = {
        name.removeprefix(names.PREFIX): said.pop(name) for name in _WHO_ANSWERED if name in said
    }
    if "steps" in who:
        who["steps"] = dict(each.split("=", 1) for each in who["steps"].split(",") if "=" in each)
    if "mixture" in who:
        who["mixture"] = tuple(who["mixture"].split(","))
    return Answer(
        outputs=decode_outputs(response),
        model=response.model_name,
        id=response.id,
        parameters=said,
        **who,
    )


def _requirements(asked: Requirements | Mapping[str, Parameter] | None) -> Requirements:
    if isinstance(asked, Requirements):
        return asked
    parameters: dict[str, oip.InferParameter] = {}
    for key, value in (asked or {}).items():
        names.set_value(parameters.setdefault(names.PREFIX + key, oip.InferParameter()), value)
    return names.asked(parameters).requirements or Requirements()


def metadata(name: str, *, version: str = "") -> Call[oip.ModelMetadataResponse, Metadata]:
    """What a specialist or a route takes and gives."""

    def read(response: oip.ModelMetadataResponse) -> Metadata:
        return Metadata(
            name=response.name,
            versions=tuple(response.versions),
            platform=response.platform,
            inputs=tuple(map(spec, response.inputs)),
            outputs=tuple(map(spec, response.outputs)),
            properties=dict(response.properties),
        )

    def spec(tensor: oip.ModelMetadataResponse.TensorMetadata) -> TensorSpec:
        return TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape))

    request = oip.ModelMetadataRequest(name=name, version=version)
    return Call(_OIP + "ModelMetadata", request, oip.ModelMetadataResponse, read)


def live() -> Call[oip.ServerLiveResponse, bool]:
    """Whether the gateway can answer at all."""
    request = oip.ServerLiveRequest()
    return Call(_OIP + "ServerLive", request, oip.ServerLiveResponse, lambda r: r.live)


def ready(
    name: str = "", *, version: str = ""
) -> Call[oip.ModelReadyResponse | oip.ServerReadyResponse, bool]:
    """Whether a specialist or a route would answer; without a name, whether all would."""
    if name:
        model = oip.ModelReadyRequest(name=name, version=version)
        return Call(_OIP + "ModelReady", model, oip.ModelReadyResponse, lambda r: r.ready)
    server = oip.ServerReadyRequest()
    return Call(_OIP + "ServerReady", server, oip.ServerReadyResponse, lambda r: r.ready)


def explain(
    name: str = "",
    *,
    version: str = "",
    requirements: Requirements | Mapping[str, Parameter] | None = None,
    request: str = "",
) -> Call[routing_service_pb2.ExplainResponse, Explanation]:
    """The plan that such a request would get now, or the one that a request got.

    Args:
        request: `Answer.request` of an answer; then the others say nothing.

    Raises:
        NotFound: there is no such model, or nobody remembers the request.
    """
    asked = routing_service_pb2.ExplainRequest(
        model=name,
        version=version,
        requirements=to_message(_requirements(requirements), route_pb2.Requirements),
        request_id=request,
    )
    response = routing_service_pb2.ExplainResponse
    return Call(_ROUTING + "Explain", asked, response, lambda r: from_message(r, Explanation))


def run_of(request: str) -> Call[pipelines_service_pb2.GetRunResponse, PipelineRun]:
    """How the run of a pipeline went, if the gateway that is asked remembers it.

    Args:
        request: `Answer.request` of its answer.

    Raises:
        NotFound: nothing is remembered under that id.
    """
    asked = pipelines_service_pb2.GetRunRequest(request_id=request)
    response = pipelines_service_pb2.GetRunResponse
    return Call(_PIPELINES + "GetRun", asked, response, lambda r: from_message(r.run, PipelineRun))


def profile(name: str) -> Call[pipelines_service_pb2.GetProfileResponse, Profile]:
    """Where the time of a pipeline goes, as the gateway that is asked has run it.

    Raises:
        NotFound: there is no such pipeline.
    """
    asked = pipelines_service_pb2.GetProfileRequest(name=name)
    response = pipelines_service_pb2.GetProfileResponse
    return Call(
        _PIPELINES + "GetProfile", asked, response, lambda r: from_message(r.profile, Profile)
    )


def health(
    name: str = "",
) -> Call[routing_service_pb2.HealthResponse, tuple[SpecialistHealth, ...]]:
    """How specialists and their replicas fare, as the gateway that answers sees them; of several
    gateways at one port that is any.

    Args:
        name: Of one specialist; empty for all.

    Raises:
        NotFound: there is no such specialist.
    """
    asked = routing_service_pb2.HealthRequest(name=name)

    def read(response: routing_service_pb2.HealthResponse) -> tuple[SpecialistHealth, ...]:
        return tuple(from_message(each, SpecialistHealth) for each in response.specialists)

    return Call(_ROUTING + "Health", asked, routing_service_pb2.HealthResponse, read)


# ------------------------------------------------------------------ learning
def feedback(
    request: str,
    *,
    label: str = "",
    score: float | None = None,
    preferred: str = "",
    specialist: str = "",
    id: str = "",
) -> Call[learning_pb2.SubmitFeedbackResponse, int]:
    """Says how right the answer to a request was; it is kept when this returns.

    It may be said late, before anything else is known of the request, and again: under the same
    *id*, or without one of the same request and specialist, it takes the place of what was said
    before. Returns 1 where the request is not known yet, else 0.

    Args:
        request: The request's id, as its answer gave it.
        label: The right class: whoever answered it was right.
        score: From 0 (wrong) to 1 (right).
        preferred: `name:version` of who did better than *specialist*.
        specialist: `name:version` of whose answer it is about; empty for who answered.

    Raises:
        InvalidRequest: other than one of *label*, *score* and *preferred* is given.
    """
    said = Feedback(
        request=request,
        label=label,
        score=score,
        preferred=preferred,
        specialist=specialist,
        id=id,
    )
    (call,) = feedback_many((said,))
    return call


def feedback_many(
    feedback: Iterable[Feedback],
) -> Iterator[Call[learning_pb2.SubmitFeedbackResponse, int]]:
    """Says many things; returns how many of them are about requests that are not known yet."""
    left = iter(feedback)
    while said := tuple(islice(left, _TOGETHER)):
        messages = [to_message(each, learning_pb2.Feedback) for each in said]
        request = learning_pb2.SubmitFeedbackRequest(feedback=messages)
        response = learning_pb2.SubmitFeedbackResponse
        yield Call(_LEARNING + "SubmitFeedback", request, response, lambda r: int(r.unmatched))


def decisions(
    route: str = "", *, request: str = "", limit: int = 0
) -> Call[learning_pb2.ListDecisionsResponse, tuple[Record, ...]]:
    """What was decided, how it went and what was said of it, the latest first; a log as
    `fabric.learning.replay` takes it.

    Args:
        route: Of this route; empty for all.
        request: For this request; empty for all.
        limit: At most so many; 0 for a thousand.

    Raises:
        NotFound: there is no such route, or nothing is known of the request.
    """
    asked = learning_pb2.ListDecisionsRequest(route=route, request=request, limit=limit)

    def read(response: learning_pb2.ListDecisionsResponse) -> tuple[Record, ...]:
        return tuple(from_message(each, Record) for each in response.records)

    return Call(_LEARNING + "ListDecisions", asked, learning_pb2.ListDecisionsResponse, read)


def train(route: str) -> Call[learning_pb2.TrainResponse, Trained]:
    """Trains a policy for a route now, from all that is known; returns when that is done.

    Raises:
        NotFound: there is no such route.
        Conflict: it does not learn.
        Unimplemented: the control plane lacks what learning needs.
    """
    request, response = learning_pb2.TrainRequest(route=route), learning_pb2.TrainResponse
    return Call(_LEARNING + "Train", request, response, lambda r: from_message(r, Trained), None)


# ------------------------------------------------------------------ the catalog
def apply(
    specialists: Iterable[Specialist] = (),
    routes: Iterable[Route] = (),
    pipelines: Iterable[Pipeline] = (),
    *,
    prune: bool = False,
    dry_run: bool = False,
) -> Call[catalog_pb2.ApplyResponse, Applied]:
    """Declares specialists, routes and pipelines, all of them or, when one is refused, none.

    Args:
        prune: Also take out what is not among them.
        dry_run: Say what would change, and change nothing.

    Raises:
        InvalidRequest: they contradict each other or what runs.
    """
    request = catalog_pb2.ApplyRequest(
        specialists=[to_message(s, card_pb2.Specialist) for s in specialists],
        routes=[to_message(r, route_pb2.Route) for r in routes],
        pipelines=[to_message(p, pipeline_pb2.Pipeline) for p in pipelines],
        prune=prune,
        dry_run=dry_run,
    )
    return Call(_CATALOG + "Apply", request, catalog_pb2.ApplyResponse, _applied)


def get(kind: str, name: str) -> Call[catalog_pb2.GetResponse, Resource]:
    """One specialist or policy (the latest, unless `name:version`), route, pipeline, or replica (by
    id).

    Raises:
        NotFound: there is none of that name.
    """
    request = catalog_pb2.GetRequest(key=to_key(_key(kind, name)))
    response = catalog_pb2.GetResponse
    return Call(_CATALOG + "Get", request, response, lambda r: from_resource(r.resource))


def list_(kind: str) -> Call[catalog_pb2.ListResponse, tuple[Resource, ...]]:
    """All specialists, routes, pipelines, replicas or policies, by name; policies without their
    data."""
    request = catalog_pb2.ListRequest(kind=to_key(_key(kind)).kind)
    response = catalog_pb2.ListResponse
    return Call(_CATALOG + "List", request, response, _resources)


def delete(kind: str, name: str) -> Call[catalog_pb2.DeleteResponse, Applied]:
    """Takes a specialist (all its versions, unless `name:version`), a route or a pipeline out.

    Raises:
        NotFound: there is none of that name.
        Conflict: a route still leads to it, or a pipeline.
    """
    request = catalog_pb2.DeleteRequest(key=to_key(_key(kind, name)))
    return Call(_CATALOG + "Delete", request, catalog_pb2.DeleteResponse, _applied)


def load(
    name: str, *, config: str = "", models: Mapping[str, bytes] | None = None
) -> Call[extensions_pb2.RepositoryModelLoadResponse, None]:
    """Loads a specialist, or a route or a pipeline with all that it leads to; returns when it can
    be asked.

    Args:
        config: What is to be otherwise than declared, a model configuration in Triton's JSON.
        models: ONNX models to run instead of those declared, by version.

    Raises:
        NotFound: there is none of that name.
        SpecialistFailed: a replica cannot start.
    """
    request = extensions_pb2.RepositoryModelLoadRequest(model_name=name)
    if config:
        request.parameters["config"].string_param = config
    for version, content in (models or {}).items():
        request.parameters[f"file:{version}/model.onnx"].bytes_param = content
    response = extensions_pb2.RepositoryModelLoadResponse
    return Call(_OIP + "RepositoryModelLoad", request, response, _nothing, None)


def unload(
    name: str, *, dependents: bool = False
) -> Call[extensions_pb2.RepositoryModelUnloadResponse, None]:
    """Unloads a specialist, a route or a pipeline, which stays declared; its replicas finish what
    they have.

    Args:
        dependents: Of a route or a pipeline: also all that it leads to.

    Raises:
        NotFound: there is none of that name.
    """
    request = extensions_pb2.RepositoryModelUnloadRequest(model_name=name)
    request.parameters["unload_dependents"].bool_param = dependents
    response = extensions_pb2.RepositoryModelUnloadResponse
    return Call(_OIP + "RepositoryModelUnload", request, response, _nothing)


def _nothing(response: Message) -> None:
    return None


def watch(*, after: int = 0) -> Call[catalog_pb2.WatchResponse, Changes]:
    """A snapshot, then what changes, for as long as the control plane is there.

    Args:
        after: The last revision seen: only what is newer is sent, where that is still known.
    """
    request = catalog_pb2.WatchRequest(after_revision=after)
    return Call(_CATALOG + "Watch", request, catalog_pb2.WatchResponse, from_watch, None)


def _resources(response: catalog_pb2.ListResponse) -> tuple[Resource, ...]:
    return tuple(map(from_resource, response.resources))


def _applied(response: catalog_pb2.ApplyResponse | catalog_pb2.DeleteResponse) -> Applied:
    def change(message: catalog_pb2.Change) -> Change:
        action = catalog_pb2.Change.Action.Name(message.action).removeprefix("ACTION_").lower()
        return Change(from_key(message.key), Action(action), tuple(message.fields))

    return Applied(tuple(map(change, response.changes)), response.revision)


def _key(kind: str, name: str = "") -> Key:
    if kind not in set(Kind):
        raise InvalidRequest(f"{kind!r} is no kind of resource; use one of {', '.join(Kind)}")
    return Key(Kind(kind), name)
