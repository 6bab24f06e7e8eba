"""Pipelines in a portfolio file: what may be said shortly, and what is said in Python."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter

from fabric.config.names import circle
from fabric.core.errors import FabricError, InvalidRequest
from fabric.pipelines.checking import Callee, Problem
from fabric.pipelines.checking import check as check_pipeline
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.tracing import Traced
from fabric.pipelines.tracing.symbols import ONLY, stated
from fabric.pipelines.wiring import instead

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from fabric.config.document import Document, Location
    from fabric.config.portfolio import Portfolio

Holder = dict[str, Any]


# ------------------------------------------------------------------ short forms
def complete(document: Document) -> None:
    """Says in full what the pipelines of *document* say shortly."""
    for at, entry in document.entries("pipelines"):
        if isinstance(inputs := entry.get("inputs"), list):
            entry["inputs"] = [{"name": i} if isinstance(i, str) else i for i in inputs]
        outputs = entry.get("outputs")
        if isinstance(outputs, str):
            outputs = {ONLY: outputs}
        if isinstance(outputs, dict):
            entry["outputs"] = [{"name": n, "source": source} for n, source in outputs.items()]
        _complete_steps(document, at, entry)


def _complete_steps(document: Document, at: Location, holder: Holder) -> None:
    found = holder.get("steps")
    for number, step in enumerate(found if isinstance(found, list) else ()):
        if not isinstance(step, dict):
            continue
        place: Location = (*at, "steps", number)
        if isinstance(inputs := step.get("inputs"), dict):
            step["inputs"] = {name: _source(given) for name, given in inputs.items()}
        if isinstance(step.get("fallback"), str):
            step["fallback"] = [step["fallback"]]
        if isinstance(constant := step.get("constant"), dict):
            constant.setdefault("name", ONLY)
        if isinstance(arguments := step.get("arguments"), dict):
            natives = document.native((*place, "arguments"))
            for name in [name for name, value in natives.items() if not _is_argument(value)]:
                text = "must be a number, a text, true, false, or a list of these"
                document.refuse((*place, "arguments", name), text)
                arguments.pop(name, None)
            step["arguments"] = _arguments(str(step.get("operation")), arguments, natives)
        for inner, graphs, key in _bodies(place, step):
            if isinstance(body := graphs[key], str):
                graphs[key] = body = {"outputs": body}
            if isinstance(body, dict):
                if isinstance(outputs := body.get("outputs"), str):
                    body["outputs"] = {ONLY: outputs}
                _complete_steps(document, inner, body)


def _source(given: object) -> object:
    if isinstance(given, str):
        return {"values": [given]}
    return {"values": given, "is_list": True} if isinstance(given, list) else given


def _is_argument(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return not any(isinstance(each, dict | list) for each in values)


def _arguments(operation: str, texts: Holder, natives: Holder) -> Holder:
    """Arguments of *operation* as it takes them, from *texts* or from what YAML makes of these."""
    parameters = OPERATIONS[operation].parameters if operation in OPERATIONS else {}
    read = {}
    for name, text in texts.items():
        kind = parameters[name].kind if name in parameters else ""
        read[name] = text if kind in ("str", "tuple[str, ...]") else natives[name]
        if kind == "float" and isinstance(read[name], str):
            with suppress(ValueError):
                read[name] = float(text)  # 1e5, a text for YAML
    return stated(operation, read)


def _bodies(at: Location, step: Holder) -> Iterator[tuple[Location, Any, Any]]:
    """Where the bodies of *step* are: the location, what holds it, and under which key."""
    for kind in ("each", "loop"):
        if isinstance(inner := step.get(kind), dict) and "body" in inner:
            yield (*at, kind, "body"), inner, "body"
    first, branch = step.get("first"), step.get("branch")
    if isinstance(first, dict) and isinstance(bodies := first.get("bodies"), list):
        for place in range(len(bodies)):
            yield (*at, "first", "bodies", place), bodies, place
    if isinstance(branch, dict):
        if isinstance(cases := branch.get("cases"), dict):
            for case in cases:
                yield (*at, "branch", "cases", case), cases, case
        if "otherwise" in branch:
            yield (*at, "branch", "otherwise"), branch, "otherwise"


def steps(at: Location, holder: object) -> Iterator[tuple[Location, Holder]]:
    """The steps of the pipeline or body *holder* at *at* and of all bodies within, and where."""
    found = holder.get("steps") if isinstance(holder, dict) else None
    for place, step in enumerate(found if isinstance(found, list) else ()):
        if isinstance(step, dict):
            yield (*at, "steps", place), step
            for inner, graphs, key in _bodies((*at, "steps", place), step):
                yield from steps(inner, graphs[key])


def lines(document: Document) -> dict[str, Mapping[str, str]]:
    """Of each pipeline of *document*, by name, the lines of its steps, as `Traced` has them."""
    return {
        str(entry.get("name")): {
            "": f"{document.file}:{document.line(at)}",
            **{
                str(step.get("name")): f"{document.file}:{document.line(place)}"
                for place, step in steps(at, entry)
            },
        }
        for at, entry in document.entries("pipelines")
    }


# ------------------------------------------------------------------ in Python
@dataclass(frozen=True, kw_only=True)
class PythonPipeline:
    """A pipeline that is written in Python, with `fabric.pipeline`."""

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    python: str
    """`module:object`; the module is looked for beside this file first."""


def trace(document: Document) -> dict[str, Mapping[str, str]]:
    """Puts the graphs of pipelines that are written in Python in their places in *document*.

    Returns their lines: of each pipeline, by its name, those of its steps, as `Traced` has them.
    """
    lines = {}
    for at, entry in document.entries("pipelines"):
        if "python" not in entry:
            continue
        for key in entry.keys() - {"python"}:
            document.refuse((*at, key), "has no place beside python, which says all")
        try:
            found = _found(str(entry["python"]), document.file.parent.resolve())
        except FabricError as error:
            document.refuse((*at, "python"), error.message)
        except Exception as error:  # noqa: BLE001 - whatever the module does
            document.refuse((*at, "python"), f"{type(error).__name__}: {error}{_where(error)}")
        else:
            document.value["pipelines"][at[-1]] = found.graph
            lines[found.graph.name] = found.lines
    return lines


def is_in_python(document: Document, at: Location) -> bool:
    """Whether *at* is, or is within, a pipeline in Python that could not be traced."""
    for place, entry in document.entries("pipelines"):
        if at[:2] == place and "python" in entry:
            return True
    return False


def _found(text: str, folder: Path) -> Traced:
    if not re.fullmatch(r"[\w.]+:\w+", text):
        raise InvalidRequest(f"python is {text!r}, it must read package.module:object")
    module, _, name = text.partition(":")
    with _first_in_path(folder, module.partition(".")[0]):
        imported = importlib.import_module(module)
    found = getattr(imported, name, None)
    if not isinstance(found, Traced):
        pipelines = [n for n, each in vars(imported).items() if isinstance(each, Traced)]
        what = "has no" if found is None else "is no pipeline:"
        raise InvalidRequest(f"{module} {what} {name}{instead(name, pipelines)}")
    return found


@contextmanager
def _first_in_path(folder: Path, top: str) -> Iterator[None]:
    """Imports look into *folder* first, also for a module *top* that another folder gave."""
    is_there = (folder / f"{top}.py").is_file() or (folder / top).is_dir()
    before = getattr(sys.modules.get(top), "__file__", None)
    if is_there and before and not Path(before).is_relative_to(folder):
        for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
            del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _where(error: Exception) -> str:
    """The line of the user's that raised *error*, if it was one."""
    ours = ("<frozen", __file__, importlib.__file__)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [each for each in frames if not each.filename.startswith(ours)]
    return f", at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""


# ------------------------------------------------------------------ checks
def check(document: Document, portfolio: Portfolio, known: Collection[str]) -> None:
    """Refuses pipelines whose names are taken, that call each other in a circle, or whose values
    do not fit together."""
    places = {
        pipeline.name: ("pipelines", number) for number, pipeline in enumerate(portfolio.pipelines)
    }
    taken = {s.card.name: "specialist" for s in portfolio.specialists}
    taken |= {route.name: "route" for route in portfolio.routes}
    for number, pipeline in enumerate(portfolio.pipelines):
        if places[pipeline.name] != ("pipelines", number):
            at = places[pipeline.name]
            document.refuse((*at, "name"), f"'{pipeline.name}' is declared twice")
        elif pipeline.name in taken:
            text = f"'{pipeline.name}' is a {taken[pipeline.name]} already"
            document.refuse((*places[pipeline.name], "name"), text)
    called = {p.name: [call.partition(":")[0] for call in p.calls] for p in portfolio.pipelines}
    for name, at in places.items():
        if way := circle(name, called):
            document.refuse(at, f"calls itself: {' -> '.join(way)}")
    if not document.mistakes:
        _check_values(document, portfolio, known)


def _check_values(document: Document, portfolio: Portfolio, known: Collection[str]) -> None:
    pipelines = {pipeline.name: pipeline for pipeline in portfolio.pipelines}
    callees = {name.partition(":")[0]: Callee(None) for name in known}
    callees |= {name: Callee(None) for name in known}
    callees |= {route.name: Callee(None) for route in portfolio.routes}
    for specialist in portfolio.specialists:
        is_batched = specialist.hosting.batching.max_size > 1
        callee = Callee(specialist.card.signature, is_batched)
        callees[specialist.key] = callees[specialist.card.name] = callee
    problems: dict[str, tuple[Problem, ...]] = {}

    def find(name: str) -> Callee | None:
        if name in pipelines and name not in problems:
            checked = check_pipeline(pipelines[name], find)
            problems[name] = checked.problems
            callees[name] = Callee(None if checked.problems else checked.signature)
        return callees.get(name)

    for number, name in enumerate(pipelines):
        find(name)
        for problem in problems[name]:
            _refuse(document, ("pipelines", number), portfolio.lines[name], problem)


def _refuse(document: Document, at: Location, lines: Mapping[str, str], problem: Problem) -> None:
    entry = document.value["pipelines"][at[-1]]
    if not isinstance(entry, dict):
        document.refuse((*at, "python"), f"{lines[problem.step]}: {problem}")
        return
    places = {str(step.get("name")): place for place, step in steps(at, entry)}
    keys = problem.key.split(".")
    parts = (
        int(key) if key.isdigit() and last == "bodies" else key
        for last, key in zip(["", *keys], keys, strict=False)
    )
    document.refuse((*places.get(problem.step, at), *parts), problem.message)


# ------------------------------------------------------------------ the schema
def describe(schema: dict[str, Any]) -> None:
    """Adds the short forms to *schema*, the JSON Schema of portfolio files."""
    definitions = schema["$defs"]
    text = {"type": "string"}

    def shortened(properties: dict[str, Any], name: str, *short: dict[str, Any]) -> None:
        full = properties[name]
        kept = {key: full.pop(key) for key in ("description", "title", "default") if key in full}
        properties[name] = {**kept, "anyOf": [*short, full]}

    texts = {"type": "array", "items": text}
    named = {"type": "object", "additionalProperties": text}
    for name, short in (("Source", (text, texts)), ("Body", (text,)), ("PipelineInput", (text,))):
        shortened(definitions, name, *short)
    shortened(definitions["Body"]["anyOf"][-1]["properties"], "outputs", text)
    sizes = definitions["PipelineInput"]["anyOf"][-1]["properties"]["shape"]
    sizes["items"] = {"type": ["string", "integer"]}
    shortened(definitions["Pipeline"]["properties"], "outputs", text, named)
    step = definitions["Step"]["properties"]
    shortened(step, "fallback", text)
    constant = {**definitions["TensorValue"], "required": ["datatype", "shape"]}
    step["constant"] = {"anyOf": [constant, {"type": "null"}], "default": None}
    definitions["PythonPipeline"] = TypeAdapter(PythonPipeline).json_schema()
    pipelines = schema["properties"]["pipelines"]["items"]
    either = [pipelines.copy(), {"$ref": "#/$defs/PythonPipeline"}]
    schema["properties"]["pipelines"]["items"] = {"anyOf": either}
