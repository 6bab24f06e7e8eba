"""A graph as the Python that is traced to it."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import fabric
from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Pipeline, PipelineInput, Reference
from fabric.pipelines.code import (
    Group,
    around,
    atom,
    docstring,
    indented,
    is_name,
    lines_of,
    nested,
    scalar,
    text,
)
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.operators import operator
from fabric.pipelines.tracing.graphs import Names
from fabric.pipelines.tracing.steps import step as _step
from fabric.pipelines.tracing.symbols import ONLY
from fabric.pipelines.wiring import begins_with, needs, needs_of, ordered, references
from fabric.pipelines.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fabric.core.pipelines import Body, Source, Step
    from fabric.core.tensors import TensorValue
    from fabric.pipelines.code import Code


_WIDTH = 100
_SIZE = re.compile(r"0|-?[1-9]\d*")
_LONGEST = 60
"""Characters of what is written where it is used, without a line of its own."""
_WORDS = inspect.signature(_step).parameters.keys() - {"call", "inputs", "more"}
"""What cannot be the keyword of an input."""


def source(pipeline: Pipeline) -> str:
    """The text of a module that declares *pipeline*, with its steps in an order in which each
    comes after those that it refers to.

    Raises:
        InvalidRequest: *pipeline* has no such order, or an operation that nobody knows.
    """
    return _Writer(pipeline).module()


class _Writer:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.names = Names(each.name for each in pipeline.inputs)
        """As they will be when what is written is traced."""
        self.words = Words({"fabric": {"Value", "pipeline"}})
        self.inline: dict[str, Code] = {}
        """Steps that are written where they are used, by name."""

    def module(self) -> str:
        pipeline = self.pipeline
        function = self.words.identifier(pipeline.name, of="function")
        parameters = tuple(
            f"{self.words.identifier(each.name)}: {self.annotation(each)}"
            for each in pipeline.inputs
        )
        outputs = {each.name: each.source for each in pipeline.outputs}
        body, result = self.block(pipeline.steps, outputs, ONLY, 1)
        head = Group(f"def {function}(", parameters, f") -> {_kind(outputs, ONLY)}:")
        documented, said = self.said(function)
        decorator: Code = Group("@pipeline(", said, ")") if said else "@pipeline"
        if documented and body[:1] and body[0].startswith("def "):
            documented.append("")
        inner = [*documented, *body, *lines_of(around("return ", result), _WIDTH - 4)]
        lines = [*lines_of(decorator, _WIDTH), *lines_of(head, _WIDTH), *indented(inner)]
        return "\n".join([*self.words.imported(_WIDTH), "", "", *lines, ""])

    def said(self, function: str) -> tuple[list[str], tuple[Code, ...]]:
        """The docstring, and the arguments of the decorator."""
        pipeline = self.pipeline
        documented = docstring(pipeline.description)
        apart = {"inputs", "steps", "outputs"}
        said = {n: v for n, v in _differing(pipeline).items() if n not in apart}
        if documented:
            del said["description"]
        if pipeline.name == function.replace("_", "-"):
            del said["name"]
        if optional := tuple(each.name for each in pipeline.outputs if each.optional):
            said["optional"] = optional
        return documented, tuple(self.keywords(said))

    def annotation(self, given: PipelineInput) -> Code:
        parts: list[Code] = [text(given.datatype)] if given.datatype else []
        parts += [size if _SIZE.fullmatch(size) else text(size) for size in given.shape]
        if given.optional:
            parts.append("optional=True")
        if self.words.identifier(given.name) != given.name:
            parts.append(f"name={text(given.name)}")
        if not parts:
            return "Value"
        annotated = self.words.use("Annotated", "typing")
        return f"{annotated}[Value, {Group(self.words.use('tensor') + '(', tuple(parts), ')')}]"

    # -------------------------------------------------------------- steps
    def block(
        self, steps: Sequence[Step], outputs: Mapping[str, str], only: str, depth: int
    ) -> tuple[list[str], Code]:
        """The lines of a function that has *steps*, and the expression that it returns.

        A step whose only use is in the one behind it is written there: it is traced just before
        that one in any case.
        """
        lines: list[str] = []
        uses = Counter(map(_giver, outputs.values()))
        for step in steps:
            uses.update(map(_giver, references(step)))
            for body in step.bodies.values():
                uses.update(needs_of(body) - begins_with(step).keys())
        order = _ordered(steps)
        for step, taker in zip_longest(order, order[1:]):
            functions, code = self.step(step, depth)
            lines += functions[1:] if not lines or not lines[-1] else functions
            takes = outputs.values() if taker is None else _alone(taker)
            is_short = len(str(code)) <= _LONGEST or (taker is None and len(outputs) == 1)
            if is_short and uses[step.name] == 1 and step.name in map(_giver, takes):
                self.inline[step.name] = code
            else:
                assigned = around(f"{self.words.identifier(step.name)} = ", code)
                lines += lines_of(assigned, _WIDTH - 4 * depth)
        return lines, self.result(outputs, only)

    def step(self, step: Step, depth: int) -> tuple[list[str], Code]:
        """The functions that its bodies are, and the expression that makes it."""
        if step.call:
            return [], self.call(step)
        if step.operation:
            return [], self.operation(step)
        if step.constant is not None:
            return [], self.constant(step, step.constant)
        if step.branch is not None:
            return self.branch(step, depth)
        if step.first is not None:
            return self.first(step, depth)
        return self.again(step, depth)

    def call(self, step: Step) -> Code:
        inputs = {name: self.given(source) for name, source in step.inputs.items()}
        parts: list[Code] = [text(step.call)]
        if any(not is_name(name) or name in _WORDS for name in inputs):
            pairs = (around(f"{text(name)}: ", code) for name, code in inputs.items())
            parts.append(Group("{", tuple(pairs), "}"))
        else:
            parts += [around(f"{name}=", code) for name, code in inputs.items()]
        return self.made("step", step, parts, step.call.partition(":")[0])

    def operation(self, step: Step) -> Code:
        kind, known = step.operation, OPERATIONS.get(step.operation)
        if known is None:
            raise InvalidRequest(f"step '{step.name}': there is no operation '{kind}'")
        if (symbols := self.symbols(step)) is not None:
            return symbols
        given = {name: self.given(source) for name, source in step.inputs.items()}
        said = {name: self.literal(value) for name, value in step.arguments.items()}
        parts: list[Code] = []
        for each in known.inputs:
            code = given.pop(each.name, None) or said.pop(each.name, None)
            if code is None:
                break
            parts.append(code)
        parts += [around(f"{name}=", code) for name, code in {**given, **said}.items()]
        self.words.use("op")
        return self.made(f"op.{kind}", step, parts, kind, imported=False)

    def symbols(self, step: Step) -> str | None:
        """The operation as an operator, if there is one for it."""
        if self.options(step, step.operation) or any(s.is_list for s in step.inputs.values()):
            return None
        values = {name: str(atom(self.value(each.values[0]))) for name, each in step.inputs.items()}
        made = operator(step.operation, values, step.arguments)
        if made is not None:
            self.names.givers.add(step.name)
        return made

    def constant(self, step: Step, value: TensorValue) -> Code:
        elements = [scalar(each) for each in value.texts or value.numbers]
        parts = [nested(elements, value.shape)]
        if value.datatype != "BYTES" or not elements:
            parts.append(text(value.datatype))
        if 0 in value.shape:
            parts.append(around("shape=", self.literal(value.shape)))
        if value.name != ONLY:
            parts.append(f"output={text(value.name)}")
        return self.made("constant", step, parts, "constant")

    # -------------------------------------------------------------- steps with bodies
    def branch(self, step: Step, depth: int) -> tuple[list[str], Code]:
        branch = step.branch
        assert branch is not None  # noqa: S101 - as was looked
        functions, bodies = self.bodies(step, depth, is_called=False)
        parts: list[Code] = [self.value(branch.on)]
        last = bodies.pop("otherwise") if branch.otherwise is not None else None
        is_plain = branch.cases.keys() == {"true"}
        if is_plain:
            parts.append(around("then=", bodies["true"]))
        else:
            cases = (around(f"{text(case)}: ", code) for case, code in bodies.items())
            parts.append(Group("{", tuple(cases), "}"))
        if last is not None:
            parts.append(around("otherwise=", last))
        kind = "branch" if is_plain else "switch"
        return functions, self.made(kind, step, parts, kind)

    def first(self, step: Step, depth: int) -> tuple[list[str], Code]:
        functions, bodies = self.bodies(step, depth, is_called=True)
        sure = step.first.sure if step.first else ""
        parts = [*bodies.values(), *([f"sure={text(sure)}"] if sure else [])]
        kind = "cascade" if sure else "first"
        return functions, self.made(kind, step, parts, kind)

    def again(self, step: Step, depth: int) -> tuple[list[str], Code]:
        items = begins_with(step)
        functions, bodies = self.bodies(step, depth, is_called=True)
        values = tuple(map(self.value, items.values()))
        parts: list[Code] = [values[0] if len(values) == 1 else Group("(", values, ")")]
        if any(self.words.identifier(name) != name for name in items):
            named = (around(f"{text(n)}: ", v) for n, v in zip(items, values, strict=True))
            parts = [Group("{", tuple(named), "}")]
        parts += bodies.values()
        inner = step.each or step.loop
        apart = ("over", "state", "body")
        said = {name: each for name, each in _differing(inner).items() if name not in apart}
        parts += self.keywords(said)
        return functions, self.made(step.kind, step, parts, step.kind)

    def bodies(
        self, step: Step, depth: int, *, is_called: bool
    ) -> tuple[list[str], dict[str, Code]]:
        """The functions that its bodies are, and what stands for each; functions as well where
        they need none, if that *is_called*."""
        functions: list[str] = []
        made: dict[str, Code] = {}
        items = tuple(begins_with(step))
        only = items[0] if step.loop is not None and len(items) == 1 else ONLY
        for key, body in step.bodies.items():
            lines, made[key] = self.body(step, key, body, items, only, depth, is_called)
            functions += lines[1:] if functions else lines
        return functions, made

    def body(
        self,
        step: Step,
        key: str,
        body: Body,
        items: tuple[str, ...],
        only: str,
        depth: int,
        is_called: bool,
    ) -> tuple[list[str], Code]:
        self.names.items.update(items)
        parameters = [self.words.identifier(item) for item in items]
        head = f"lambda {', '.join(parameters)}: " if parameters else "lambda: "
        lines, result = self.block(body.steps, body.outputs, only, depth + 1)
        if not body.steps:
            return [], around(head if is_called else "", result)
        if not lines and len(str(result)) <= _LONGEST:
            return [], around(head, result)
        lines += lines_of(around("return ", result), _WIDTH - 4 * (depth + 1))
        function = self.words.identifier(f"{step.name}_{key}", of="function")
        typed = ", ".join(f"{name}: Value" for name in parameters)
        kind = _kind(body.outputs, only)
        return ["", f"def {function}({typed}) -> {kind}:", *indented(lines), ""], function

    # -------------------------------------------------------------- parts
    def result(self, outputs: Mapping[str, str], only: str) -> Code:
        values = {name: self.value(each) for name, each in outputs.items()}
        if values.keys() == {only}:
            return values[only]
        pairs = (around(f"{text(name)}: ", code) for name, code in values.items())
        return Group("{", tuple(pairs), "}")

    def value(self, reference: str) -> Code:
        """*reference* as an expression."""
        giver, output = Reference.of(reference).giver, Reference.of(reference).output
        behind = ""
        if output:
            behind = f".{output}" if is_name(output) else f"[{text(output)}]"
        code = self.inline.get(giver) or self.words.identifier(giver)
        return around("", atom(code) if behind else code, behind)

    def given(self, source: Source) -> Code:
        values = tuple(map(self.value, source.values))
        return Group("[", values, "]") if source.is_list else values[0]

    def made(
        self, function: str, step: Step, parts: Sequence[Code], derived: str, imported: bool = True
    ) -> Group:
        """The call of *function* that makes *step*, which is then called *derived*."""
        if imported:
            self.words.use(function)
        code = Group(f"{function}(", (*parts, *self.options(step, derived)), ")")
        self.names.givers.add(step.name)
        return code

    def options(self, step: Step, derived: str) -> list[Code]:
        named = ("optional", "timeout", "share", "tries", "fallback", "cache", "requirements")
        differing = _differing(step)
        said = {name: differing[name] for name in named if name in differing}
        parts: list[Code] = []
        if self.names.derived(derived) != step.name:
            parts.append(f"name={text(step.name)}")
        if step.when:
            parts.append(around("when=", self.value(step.when)))
        return [*parts, *self.keywords(said)]

    def keywords(self, said: Mapping[str, object]) -> list[Code]:
        return [around(f"{name}=", self.literal(value)) for name, value in said.items()]

    def literal(self, value: object, brackets: str = "[]") -> Code:
        if is_dataclass(value) and not isinstance(value, type):
            name, module = type(value).__name__, type(value).__module__
            self.words.use(name, "fabric" if name in fabric.__all__ else module)
            said = {n: self.literal(v, "()") for n, v in _differing(value).items()}
            return Group(f"{name}(", tuple(around(f"{n}=", c) for n, c in said.items()), ")")
        if isinstance(value, tuple):
            first, last = brackets[0], brackets[1]
            last = f",{last}" if len(value) == 1 and last == ")" else last
            return Group(first, tuple(self.literal(each, brackets) for each in value), last)
        if isinstance(value, Mapping):
            pairs = (around(f"{text(key)}: ", self.literal(each)) for key, each in value.items())
            return Group("{", tuple(pairs), "}")
        return scalar(value)


def _giver(reference: str) -> str:
    return Reference.of(reference).giver


def _ordered(steps: Sequence[Step]) -> Sequence[Step]:
    """*steps*, each behind those that it needs; as they are, if they are so.

    Raises:
        InvalidRequest: they need one another.
    """
    waits = {step.name: needs(step) & {each.name for each in steps} for step in steps}
    names = list(waits)
    if all(waits[name] <= set(names[:at]) for at, name in enumerate(names)):
        return steps
    names, rest = ordered(waits)
    if rest:
        raise InvalidRequest(f"steps wait for one another: {', '.join(rest)}")
    by_name = {step.name: step for step in steps}
    return [by_name[name] for name in names]


def _alone(step: Step) -> Iterator[str]:
    """What *step* refers to, but for the values of a list, which read best side by side."""
    listed = {each for s in step.inputs.values() if len(s.values) > 1 for each in s.values}
    return (reference for reference in references(step) if reference not in listed)


def _kind(outputs: Mapping[str, str], only: str) -> str:
    return "Value" if outputs.keys() == {only} else "dict[str, Value]"


def _differing(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not what they are unsaid."""

    def default(field: Any) -> Any:
        return field.default if field.default_factory is MISSING else field.default_factory()

    said = ((field, getattr(value, field.name)) for field in fields(value))
    return {field.name: each for field, each in said if each != default(field)}
