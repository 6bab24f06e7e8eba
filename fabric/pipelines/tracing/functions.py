"""`@pipeline`: a function becomes a graph."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from fabric.core.pipelines import Pipeline, PipelineInput, PipelineOutput, Reference
from fabric.pipelines.tracing.bodies import named
from fabric.pipelines.tracing.graphs import Names, Scope, refuse, start_of, user_frame
from fabric.pipelines.tracing.symbols import Named, Result, Value

if TYPE_CHECKING:
    from collections.abc import Collection

Function: TypeAlias = Callable[..., Result]


@dataclass(frozen=True)
class Traced:
    """A pipeline that was written in Python."""

    graph: Pipeline
    lines: Mapping[str, str]
    """Of each step, by its name, as `file:line`; of the function, under an empty one."""


def tensor(
    datatype: str = "", *shape: int | str, optional: bool = False, name: str = ""
) -> PipelineInput:
    """What an input of a pipeline takes: `image: Annotated[Value, tensor("UINT8", "h", "w", 3)]`.

    Args:
        datatype: By the Open Inference Protocol's name; without one it takes what those take that
            it is given to.
        shape: Sizes of the dimensions: numbers, -1 for any, or names; equal names, equal sizes.
        optional: Requests may leave it out; then it is missing.
        name: In requests; that of the parameter without.
    """
    sizes = tuple(map(str, shape))
    return PipelineInput(name=name, datatype=datatype, shape=sizes, optional=optional)


@overload
def pipeline(function: Function, /) -> Traced: ...
@overload
def pipeline(
    *,
    name: str = ...,
    description: str = ...,
    timeout: float = ...,
    parallel: int = ...,
    max_bytes: int = ...,
    streams: bool = ...,
    loaded: bool = ...,
    optional: Collection[str] = ...,
) -> Callable[[Function], Traced]: ...
def pipeline(
    function: Function | None = None,
    /,
    *,
    optional: Collection[str] = (),
    **said: Any,
) -> Traced | Callable[[Function], Traced]:
    """The graph of what the function does, called once, with values for its parameters.

    It returns a value, which is the output `value`, or several by name, in a dict.

    Args:
        name: That of the function without, with `-` for `_`.
        description: What it says of itself without.
        timeout: Seconds for all of it where the caller sets none, and at most.
        parallel: Calls under way for one request, at most.
        max_bytes: Of values of one request that are held at the same time, at most.
        streams: A stream is given each output as soon as it is there.
        loaded: False keeps it declared, and unanswered until it is loaded.
        optional: Names of outputs that answers may lack.

    Raises:
        TracingError: it is no pipeline, with the line that is wrong.
    """

    def traced(function: Function) -> Traced:
        return _traced(function, optional, said)

    return traced if function is None else traced(function)


def _traced(function: Function, optional: Collection[str], said: dict[str, Any]) -> Traced:
    where = start_of(function)
    parameters = _inputs(function, where)
    inputs = {each.name: each for each in parameters}
    if len(inputs) < len(parameters):
        refuse("two inputs have the same name", where)
    lines = {"": where}
    scope = Scope(Names(inputs), lines)
    with scope.traced():
        result = function(*(Named(Reference(name), scope) for name in inputs))
        sources = named(result, f"pipeline '{function.__name__}'", where)
    if unknown := [name for name in optional if name not in sources]:
        refuse(f"optional names '{unknown[0]}', but it gives {' and '.join(sources)}", where)
    said.setdefault("name", function.__name__.replace("_", "-"))
    said.setdefault("description", inspect.getdoc(function) or "")
    outputs = tuple(
        PipelineOutput(name=name, source=source, optional=name in optional)
        for name, source in sources.items()
    )
    try:
        graph = Pipeline(inputs=parameters, steps=tuple(scope.steps), outputs=outputs, **said)
    except (TypeError, ValueError) as error:
        refuse(str(error), where)
    return Traced(graph, lines)


def _inputs(function: Function, where: str) -> tuple[PipelineInput, ...]:
    frame = user_frame()
    try:
        seen = {"Value": Value, **frame.f_locals}
        hints = typing.get_type_hints(function, localns=seen, include_extras=True)
    except NameError as error:
        refuse(f"an annotation cannot be read, {error}: import it where it runs, too", where)
    except (TypeError, ValueError) as error:
        refuse(f"an annotation cannot be read: {error}", where)
    made = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            refuse(f"'{parameter}' is no input: inputs are parameters, one each", where)
        if parameter.default is not parameter.empty:
            refuse(
                f"input '{name}' has a default: what requests may leave out is "
                "Annotated[Value, tensor(…, optional=True)]",
                where,
            )
        stated = getattr(hints.get(name), "__metadata__", ())
        found = next(
            (each for each in stated if isinstance(each, PipelineInput)), PipelineInput(name="")
        )
        made.append(replace(found, name=found.name or name))
    return tuple(made)
